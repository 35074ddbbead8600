"""robots.txt (RFC 9309): asked for once per origin and part, before anything else there is.

Takes a way to ask for a URL. Gives, per URL, the answer that stands in its place where it may not be fetched, and how
many seconds its host wants between two requests (Crawl-delay, Request-rate). A 4xx means that there are no rules, as
does a redirect that leads nowhere; 429, 5xx and no answer at all mean that nothing may be fetched, and the rows get
that trouble as their status, since another day may be better. Files over 500 KiB are not read, and forbid.
"""

from __future__ import annotations

import asyncio
import functools
import math
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from protego import Protego
from yarl import URL

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.record import RETRYABLE, Status

MAX_BYTES = 500 * 1024
"""What RFC 9309 (2.5) wants a crawler to read at least."""
_NO_RULES = frozenset(
    {Status.HTTP_403, Status.HTTP_404, Status.HTTP_410, Status.HTTP_4XX, Status.TOO_MANY_REDIRECTS, Status.EMPTY_BODY}
)
_OWN_REFUSALS = frozenset(
    {Status.INVALID_URL, Status.REFUSED_SCHEME, Status.REFUSED_ADDRESS, Status.REFUSED_PORT, Status.BLOCKLISTED}
)
_TROUBLE = RETRYABLE | {Status.TLS_ERROR}
_PARSED = 256


@dataclass(frozen=True, slots=True)
class _File:
    """What an origin's robots.txt came to: its packed text, or why it is not known."""

    packed: bytes = b""
    trouble: Answer | None = None


class Robots:
    """The robots.txt files of one part. `ask` tries a URL once, as `Client.try_once` does."""

    def __init__(self, config: FetchConfig, agent: str, ask: Callable[[str], Awaitable[Answer]]) -> None:
        self._config, self._agent, self._ask = config, agent, ask
        self._files: dict[URL, asyncio.Task[_File]] = {}

    @staticmethod
    def settings_of(config: FetchConfig) -> FetchConfig:
        """The settings by which robots.txt itself is asked for."""
        return config.model_copy(update={"max_bytes": MAX_BYTES, "max_redirects": 5, "policy": "ignore"})

    async def refusal(self, url: URL) -> Answer | None:
        """The answer that stands for `url` where it may not be fetched; None where it may."""
        file = await self._file(url)
        if file is None or file.trouble is not None:
            return None if file is None else file.trouble
        if not file.packed or _parse(file.packed).can_fetch(str(url), self._agent):
            return None
        return Answer(Status.OPTED_OUT, "robots.txt", final=True)

    async def interval_s(self, url: URL) -> float:
        """Seconds that the host wants between two requests; 0 where it does not say."""
        file = await self._file(url)
        if file is None or not file.packed:
            return 0.0
        rules = _parse(file.packed)
        rate = rules.request_rate(self._agent)
        by_rate_s = 0.0 if rate is None or rate.requests < 1 else rate.seconds / rate.requests
        delay_s = rules.crawl_delay(self._agent) or 0.0
        return max(0.0, by_rate_s, delay_s if math.isfinite(delay_s) else 0.0)

    async def _file(self, url: URL) -> _File | None:
        """The file that speaks for `url`; None for what the guard refuses anyway."""
        if url.scheme not in ("http", "https") or not url.host or url.user is not None or url.password is not None:
            return None
        origin = url.origin()
        task = self._files.get(origin)
        if task is None:
            task = self._files[origin] = asyncio.create_task(self._fetch(origin))
        if task.done():
            return task.result()
        return await asyncio.shield(task)  # a row that is out of time does not take the file from the others

    async def _fetch(self, origin: URL) -> _File:
        config = self._config
        for tries in range(config.retries + 1):
            answer = await self._ask(str(origin / "robots.txt"))
            wait_s = max(config.backoff_s * 2**tries, answer.wait_s or 0.0)
            if answer.status not in RETRYABLE or tries == config.retries or wait_s > config.max_wait_s:
                break
            await asyncio.sleep(wait_s)
        if answer.status == Status.SUCCESS:
            packed = zlib.compress(answer.body, 1)
            await asyncio.to_thread(_parse, packed)
            return _File(packed)
        if answer.status in _NO_RULES or answer.status in _OWN_REFUSALS:
            return _File()  # what we refuse ourselves is told better by the row's own URL
        status = answer.status if answer.status in _TROUBLE else Status.OPTED_OUT
        return _File(trouble=replace(answer, status=status, detail=f"robots.txt: {answer.detail}", final=True))


@functools.lru_cache(_PARSED)
def _parse(packed: bytes) -> Protego:
    """The rules in a packed file; most hosts of a list occur once, so few stay parsed."""
    text = zlib.decompress(packed).decode("utf-8", "replace")
    return Protego.parse(text.removeprefix("\ufeff"))
