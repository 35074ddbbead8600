"""One try of one URL: asked for under a hard deadline, redirects followed by hand, ends in exactly one status.

What went wrong is said in `detail` without the URL: queries may be signed, and logs are read by others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TypeVar

from yarl import URL

from pipeline.errors import RecipeError, StageError
from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.body import decoded, unwanted
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.connect import Connector, tls_context
from pipeline.ingest.fetch.guard import Guard
from pipeline.ingest.fetch.head import Head
from pipeline.ingest.fetch.http1 import Ask, Reply
from pipeline.ingest.fetch.local import read_local
from pipeline.ingest.fetch.names import Names, Resolver
from pipeline.ingest.fetch.optout import opt_out, product_token
from pipeline.ingest.fetch.pool import Pool
from pipeline.ingest.fetch.target import Origin, Place, Places, parse_url
from pipeline.ingest.fetch.trouble import Stale, Unanswered, brief, cause, explain, is_ours
from pipeline.record import Status

T = TypeVar("T")

_MEDIA = frozenset({200, 203})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OWN_STATUS = {
    403: Status.HTTP_403,
    404: Status.HTTP_404,
    410: Status.HTTP_410,
    429: Status.HTTP_429,
}


class Client:
    """An HTTP client for the open web. Use as `async with Client(config) as client`."""

    def __init__(self, config: FetchConfig, resolver: Resolver | None = None) -> None:
        self._config = config
        self._guard = Guard(config.ports, config.allow_private)
        self._agent = product_token(config.user_agent)
        self._places = Places(self._guard, _headers(config.user_agent))
        self._pool = Pool()
        self.names = Names(config.dns_cache_s, resolver)
        self.permit: Callable[[URL], Awaitable[Answer | None]] | None = None
        """Asked about every URL that another redirects to; an answer stands in its place."""
        self.reserves: Callable[[URL], Awaitable[bool]] | None = None
        """Says of every URL whether a file of its origin reserves it; a header of the answer overrides that."""

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        await self.names.close()
        await asyncio.sleep(0)  # the loop closes sockets in its next turn

    def with_settings(self, config: FetchConfig) -> Client:
        """A client of other settings on the connections of this one, inside whose block it may be used."""
        client = Client(config)
        client.names, client._pool = self.names, self._pool
        return client

    async def try_once(self, url: str, keep_alive: bool = True) -> Answer:
        """Ask for `url` once; `keep_alive` says whether its connection will be wanted again.

        Raises: StageError: this machine, not the web, is in trouble. Nothing else, but for being cancelled.
        """
        if url.startswith("file:"):
            return await asyncio.to_thread(read_local, url, self._config.allow_folders, self._config.max_bytes)
        try:
            return await self._follow(url, keep_alive)
        except Unanswered as error:
            return Answer(error.status, error.detail)
        except StageError:
            raise
        except Exception as error:
            if is_ours(error):
                raise StageError(f"fetch: a connection failed: {cause(error)}. Lower fetch.concurrency.") from error
            return Answer(*explain(error))

    async def _follow(self, url: str, keep_alive: bool) -> Answer:
        config = self._config
        deadline = asyncio.get_running_loop().time() + config.timeout_s
        try:
            here = self._places.of(url)
        except (ValueError, TypeError) as error:
            return Answer(Status.INVALID_URL, brief(error))
        for hop in range(config.max_redirects + 1):
            if here.origin.refusal is not None:
                status, detail = here.origin.refusal
                return Answer(status, detail if hop == 0 else f"{detail}, after {hop} redirects")
            if hop and self.permit is not None:
                held = await self._in_time(self.permit(here.url), deadline)
                if held is not None:
                    return held
            step = await self._get(here, keep_alive and hop == 0, deadline)
            if isinstance(step, Answer):
                return step
            here = step
        return Answer(Status.TOO_MANY_REDIRECTS, f"more than {config.max_redirects}")

    async def _get(self, place: Place, keep_alive: bool, deadline: float) -> Answer | Place:
        """One request: an answer, or where it redirects to."""
        config, origin = self._config, place.origin
        request = origin.request(place.target, keep_alive)
        is_reserved = self.reserves is not None and await self._in_time(self.reserves(place.url), deadline)
        judge = self._judge_reserved if is_reserved else self._judge
        ask = Ask(request, judge, config.max_bytes, deadline, config.timeout_s, keep_alive)
        reply = await self._ask(origin, ask)
        head = reply.head
        if head.status in _REDIRECTS and (location := head.get(b"location")) is not None:
            try:
                return self._places.of_url(place.url.join(parse_url(location)).with_fragment(None))
            except ValueError as error:
                return Answer(Status.INVALID_URL, f"redirect: {brief(error)}")
        if reply.answer is not None:
            return reply.answer
        body = decoded(reply.data, _encoding(head), config.max_bytes)
        return Answer(body.status, body.detail or None, body.data)

    async def _ask(self, origin: Origin, ask: Ask) -> Reply:
        """Send a request on a kept connection, or on a fresh one where there is none or it turns out to be dead."""
        pool = self._pool
        connection = pool.take(origin.key)
        while True:
            if connection is None:
                opening = self._connector.open(origin, lambda: pool.make(origin.key))
                connection = await self._in_time(opening, ask.deadline)
            try:
                reply = await connection.ask(ask)
            except Stale:
                connection = None
            except BaseException:
                connection.abort()
                raise
            else:
                pool.give_back(connection)
                return reply

    @property
    def _connector(self) -> Connector:
        config = self._config
        tls = tls_context(config.tls, config.ca_file)
        return Connector(self._guard, self.names, tls, config.connect_timeout_s)

    async def _in_time(self, work: Awaitable[T], deadline: float) -> T:
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except TimeoutError:
            raise Unanswered(Status.TIMEOUT, f"no whole answer in {self._config.timeout_s:g} s") from None

    def _judge_reserved(self, head: Head) -> Answer | None:
        return self._judge(head, is_reserved=True)

    def _judge(self, head: Head, *, is_reserved: bool = False) -> Answer | None:
        """What a head alone comes to; None where the body is wanted."""
        if head.status not in _MEDIA:
            return Answer(*http_status(head.status), wait_s=retry_after_s(head.get(b"retry-after")))
        if self._config.policy != "ignore":
            tags, reservation = head.get_all(b"x-robots-tag"), head.get(b"tdm-reservation")
            if tags or reservation is not None or is_reserved:
                forbidden = opt_out(tags, reservation, self._agent, datetime.now(UTC), is_reserved=is_reserved)
                if forbidden is not None:
                    return Answer(Status.OPTED_OUT, forbidden)
        body = unwanted(_encoding(head), head.length, self._config.max_bytes)
        return None if body is None else Answer(body.status, body.detail)


def http_status(code: int) -> tuple[Status, str]:
    """The status of an HTTP code that brings no medium, and its detail."""
    if code in _OWN_STATUS:
        return _OWN_STATUS[code], f"HTTP {code}"
    family = {4: Status.HTTP_4XX, 5: Status.HTTP_5XX}
    return family.get(code // 100, Status.HTTP_OTHER), f"HTTP {code}"


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, a number or a date; None where it says nothing readable."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _encoding(head: Head) -> str:
    return (head.get(b"content-encoding") or "identity").strip().lower()


def _headers(user_agent: str) -> bytes:
    """The lines sent with every request. Raises: RecipeError: the user agent would be more than one."""
    if not user_agent.isprintable():
        raise RecipeError("fetch.user_agent: holds a control character; wanted one line of text. Remove it.")
    lines = (f"User-Agent: {user_agent}", "Accept: image/*,*/*;q=0.5", "Accept-Encoding: identity")
    return "".join(f"{line}\r\n" for line in lines).encode()
