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
from dataclasses import dataclass, replace

from protego import Protego
from yarl import URL

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.origin_file import Ask, OriginFiles
from pipeline.record import RETRYABLE, Status

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

    def __init__(self, config: FetchConfig, agent: str, ask: Ask) -> None:
        self._agent = agent
        self._files = OriginFiles("/robots.txt", config, ask, _read)

    async def refusal(self, url: URL) -> Answer | None:
        """The answer that stands for `url` where it may not be fetched; None where it may."""
        file = await self._files.of(url)
        if file is None or file.trouble is not None:
            return None if file is None else file.trouble
        if not file.packed or _parse(file.packed).can_fetch(str(url), self._agent):
            return None
        return Answer(Status.OPTED_OUT, "robots.txt", final=True)

    async def interval_s(self, url: URL) -> float:
        """Seconds that the host wants between two requests; 0 where it does not say."""
        file = await self._files.of(url)
        if file is None or not file.packed:
            return 0.0
        rules = _parse(file.packed)
        rate = rules.request_rate(self._agent)
        by_rate_s = 0.0 if rate is None or rate.requests < 1 else rate.seconds / rate.requests
        delay_s = rules.crawl_delay(self._agent) or 0.0
        return max(0.0, by_rate_s, delay_s if math.isfinite(delay_s) else 0.0)


async def _read(answer: Answer) -> _File:
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
