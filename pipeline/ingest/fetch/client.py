"""One try of one URL: asked for under a hard deadline, redirects followed by hand, ends in exactly one status.

What went wrong is said in `detail` without the URL: queries may be signed, and logs are read by others.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import re
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType

import aiohttp
from yarl import URL

from pipeline.errors import StageError
from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.body import READ_AHEAD, read_body
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.guard import Guard, refused
from pipeline.ingest.fetch.local import read_local
from pipeline.ingest.fetch.names import Names
from pipeline.ingest.fetch.optout import opt_out, product_token
from pipeline.record import Status

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OWN_STATUS = {
    403: Status.HTTP_403,
    404: Status.HTTP_404,
    410: Status.HTTP_410,
    429: Status.HTTP_429,
}
_PLAIN = re.compile(
    r"https?://[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?/(?!\.|%2[Ee]|[^?]*/(?:\.|%2[Ee]))"
    r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
_MAX_DETAIL = 120
_CLOSE = {"Connection": "close"}
_OUR_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What says nothing about a URL; recorded as its status it would be a lie that no retry undoes."""


class Client:
    """An HTTP client for the open web. Use as `async with Client(config) as client`."""

    def __init__(self, config: FetchConfig, resolver: aiohttp.abc.AbstractResolver | None = None) -> None:
        self._config = config
        self._guard = Guard(config.ports, config.allow_private)
        self._agent = product_token(config.user_agent)
        self.names = Names(config.dns_cache_s, resolver)
        self._session: aiohttp.ClientSession | None = None
        self.permit: Callable[[URL], Awaitable[Answer | None]] | None = None
        """Asked about every URL that another redirects to; an answer stands in its place."""

    async def __aenter__(self) -> Client:
        config = self._config
        connector = aiohttp.TCPConnector(
            limit=0,  # the schedule bounds how many there are
            ssl=tls_context(config.tls, config.ca_file),
            resolver=self.names,
            use_dns_cache=False,  # the names keep their answers themselves
            keepalive_timeout=15,
            socket_factory=self._guard.make_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout_s),
            headers={"User-Agent": config.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"},
            auto_decompress=False,
            read_bufsize=READ_AHEAD,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            await self.names.close()

    def with_settings(self, config: FetchConfig) -> Client:
        """A client of other settings on the connections of this one, inside whose block it may be used."""
        client = Client(config)
        client.names, client._session = self.names, self._session
        return client

    async def try_once(self, url: str, keep_alive: bool = True) -> Answer:
        """Ask for `url` once; `keep_alive` says whether its connection will be wanted again.

        Raises: StageError: this machine, not the web, is in trouble. Nothing else, but for being cancelled.
        """
        if url.startswith("file:"):
            return await asyncio.to_thread(read_local, url, self._config.allow_folders, self._config.max_bytes)
        notes: list[str] = []
        token = refused.set(notes)
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await self._follow(url, keep_alive)
        except TimeoutError as error:
            in_connecting = isinstance(error, aiohttp.ServerTimeoutError)
            within = self._config.connect_timeout_s if in_connecting else self._config.timeout_s
            return Answer(Status.TIMEOUT, f"no {'connection' if in_connecting else 'whole answer'} in {within:g} s")
        except Exception as error:
            if notes:
                return Answer(Status.REFUSED_ADDRESS, f"resolves to {notes[0]}")
            if getattr(getattr(error, "os_error", error), "errno", None) in _OUR_TROUBLE:
                raise StageError(
                    f"fetch: cannot open a socket: {_cause(error)}. Raise `ulimit -n`, or lower fetch.concurrency."
                ) from error
            return Answer(*explain(error))
        finally:
            refused.reset(token)

    async def _follow(self, url: str, keep_alive: bool) -> Answer:
        try:
            here = parse_url(url)
        except (ValueError, TypeError) as error:
            return Answer(Status.INVALID_URL, _brief(error))
        for hop in range(self._config.max_redirects + 1):
            refusal = self._guard.refusal(here)
            if refusal is not None:
                status, detail = refusal
                return Answer(status, detail if hop == 0 else f"{detail}, after {hop} redirects")
            if hop and self.permit is not None and (held := await self.permit(here)) is not None:
                return held
            step = await self._get(here, keep_alive and hop == 0)
            if isinstance(step, Answer):
                return step
            here = step
        return Answer(Status.TOO_MANY_REDIRECTS, f"more than {self._config.max_redirects}")

    async def _get(self, url: URL, keep_alive: bool) -> Answer | URL:
        """One request: an answer, or where it redirects to."""
        assert self._session is not None
        headers = None if keep_alive else _CLOSE
        async with self._session.get(url, allow_redirects=False, headers=headers) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                try:
                    return url.join(parse_url(response.headers["Location"])).with_fragment(None)
                except ValueError as error:
                    return Answer(Status.INVALID_URL, f"redirect: {_brief(error)}")
            if response.status not in (200, 203):
                return Answer(*http_status(response.status), wait_s=retry_after_s(response.headers.get("Retry-After")))
            forbidden = self._opt_out(response)
            if forbidden is not None:
                return Answer(Status.OPTED_OUT, forbidden)
            body = await read_body(response, self._config.max_bytes)
            return Answer(body.status, body.detail or None, body.data)

    def _opt_out(self, response: aiohttp.ClientResponse) -> str | None:
        if self._config.policy == "ignore":
            return None
        tags = response.headers.getall("X-Robots-Tag", [])
        return opt_out(tags, response.headers.get("TDM-Reservation"), self._agent, datetime.now(UTC))


def parse_url(text: str) -> URL:
    """`text` as a URL that is asked for as it is written, where it can be: a server may have signed how it is quoted.

    Anything unusual is quoted and made canonical by yarl: other characters, other hosts, steps upwards, fragments.

    Raises: ValueError: it is none.
    """
    return URL(text, encoded=_PLAIN.fullmatch(text) is not None)


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


@functools.cache
def tls_context(tls: str, ca_file: str | None) -> ssl.SSLContext:
    """The TLS settings of a process: made once, since loading the authorities takes 20 ms and more."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    if tls == "accept_any":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def explain(error: Exception) -> tuple[Status, str]:
    """The status of what a request raised, in the order from the particular to the general."""
    for kinds, status, say in _ERRORS:
        if isinstance(error, kinds):
            return status, say(error)
    return Status.PROTOCOL_ERROR, type(error).__name__


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MAX_DETAIL]


def _name(error: BaseException) -> str:
    return type(error).__name__


def _cause(error: BaseException) -> str:
    cause = getattr(error, "os_error", error)
    return getattr(cause, "strerror", None) or type(cause).__name__


def _tls_reason(error: BaseException) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    return getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or type(cause).__name__


_ERRORS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Status, Callable[..., str]], ...] = (
    (aiohttp.InvalidURL, Status.INVALID_URL, lambda error: "cannot be asked for"),
    ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError), Status.TLS_ERROR, _tls_reason),
    (aiohttp.ClientConnectorDNSError, Status.DNS_ERROR, lambda error: "the name does not resolve"),
    (aiohttp.ClientConnectorError, Status.CONNECT_ERROR, _cause),
    (aiohttp.ClientPayloadError, Status.PROTOCOL_ERROR, lambda error: "the body ends early"),
    (aiohttp.ServerDisconnectedError, Status.PROTOCOL_ERROR, lambda error: "the server hung up"),
    (aiohttp.ClientResponseError, Status.PROTOCOL_ERROR, lambda error: "not a valid HTTP answer"),
    (aiohttp.ClientOSError, Status.PROTOCOL_ERROR, _cause),
    (ValueError, Status.INVALID_URL, _name),
)
