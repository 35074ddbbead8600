"""tdmrep.json: what an origin reserves from text and data mining, in one file (W3C TDMRep, final report of 2024).

Takes a way to ask for a URL. Says of a URL whether /.well-known/tdmrep.json of its origin reserves it; a
`TDM-Reservation` header of the answer itself overrides the file, either way (optout.py). The file is an array of rules
{location, tdm-reservation, tdm-policy}; the first whose location matches counts. A location is the beginning of a path,
in which `*` stands for anything and a last `$` for the end, as in robots.txt. A file that is missing, unreadable, too
long or not to be had reserves nothing, as the report has it, so it is tried once only. Policies offer licences, which
nobody here can take: what is reserved stays so.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import string
import zlib
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.origin_file import Ask, OriginFiles
from pipeline.record import Status

NAME = "tdmrep.json"
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_KEPT = ":/?#[]@!$&'()*+,;=%"
_PARSED = 256


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a file: the pieces of its location between the stars, whether it ends there, and what it says."""

    pieces: tuple[str, ...]
    to_the_end: bool
    is_reserved: bool

    def matches(self, path: str) -> bool:
        """Whether the location covers `path`, which is `plain`; takes time in proportion to its length, not more."""
        first, *others = self.pieces
        if not path.startswith(first):
            return False
        at = len(first)
        if self.to_the_end:
            if not others:
                return at == len(path)
            last = others.pop()
            if len(path) < at + len(last) or not path.endswith(last):
                return False
            path = path[: len(path) - len(last)]
        for piece in others:
            at = path.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return True


class Tdmrep:
    """The tdmrep.json files of one part. `ask` tries a URL once, as `Client.try_once` does."""

    def __init__(self, config: FetchConfig, ask: Ask) -> None:
        once = config.model_copy(update={"retries": 0})
        self._files = OriginFiles(f"/.well-known/{NAME}", once, ask, _read)

    async def reserves(self, url: URL) -> bool:
        """Whether the file of its origin reserves `url`."""
        packed = await self._files.of(url)
        if not packed:
            return False
        path = plain(url.raw_path_qs).replace("$", "%24").replace("*", "%2A")
        return next((rule.is_reserved for rule in _parse(packed) if rule.matches(path)), False)


def plain(path: str) -> str:
    """A path with one spelling per octet: escaped where it has to be, and nowhere else."""

    def one_spelling(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if character in _UNRESERVED else escape[0].upper()

    return _ESCAPE.sub(one_spelling, quote(path, safe=_KEPT, errors="replace"))


def parse_rules(text: bytes) -> tuple[Rule, ...]:
    """The rules of a file, in its order; none where it is not a file of this kind. What is no rule is left out."""
    try:
        listed = json.loads(text.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return ()
    if not isinstance(listed, list):
        return ()
    rules = []
    for item in listed:
        location = item.get("location") if isinstance(item, dict) else None
        said = item.get("tdm-reservation") if isinstance(item, dict) else None
        if isinstance(location, str) and location and said in (0, 1, "0", "1"):
            rules.append(_rule(location, is_reserved=said in (1, "1")))
    return tuple(rules)


def _rule(location: str, *, is_reserved: bool) -> Rule:
    location = location.strip()
    to_the_end = location.endswith("$")
    pattern = plain(location.removesuffix("$")).replace("$", "%24")
    return Rule(tuple(pattern.split("*")), to_the_end, is_reserved)


async def _read(answer: Answer) -> bytes:
    """The packed file where it has rules, else nothing."""
    if answer.status != Status.SUCCESS:
        return b""
    packed = zlib.compress(answer.body, 1)
    return packed if await asyncio.to_thread(_parse, packed) else b""


@functools.lru_cache(_PARSED)
def _parse(packed: bytes) -> tuple[Rule, ...]:
    return parse_rules(zlib.decompress(packed))
