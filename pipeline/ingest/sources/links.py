"""Which address a picture of a page has: links made absolute, srcsets read, the largest chosen.

Source: html.spec.whatwg.org, "Images" (srcset, picture) and "URLs" (white space in links).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urljoin, urlsplit

MAX_CANDIDATES = 64
"""Further candidates of a srcset are not looked at."""

_DESCRIPTOR = re.compile(r"(\d{1,9}|\d{1,6}\.\d{1,6})([wx])\Z")
_GAP = re.compile(r"[\s,]*+")
_LINK = re.compile(r"\S*+")
_DESCRIPTORS = re.compile(r"(?:[^,(]++|\([^)]*+\)?)*+")


def join(base_url: str, link: str) -> str | None:
    """`link` as an absolute http or https address; None where it is none."""
    link = link.strip().replace("\n", "").replace("\t", "").replace("\r", "")
    if not link or link[:5].lower() == "data:":
        return None
    try:
        url = urljoin(base_url, link)
        parts = urlsplit(url)
    except ValueError:
        return None
    return url.replace(" ", "%20") if parts.scheme in ("http", "https") and parts.netloc else None


def srcset(value: str) -> Iterator[tuple[str, float, str]]:
    """The candidates of a srcset as (link, number, `w` or `x`), 1x where none is given; malformed ones left out."""
    at = 0
    for _ in range(MAX_CANDIDATES):
        at = _match_end(_GAP, value, at)
        start, at = at, _match_end(_LINK, value, at)
        link = value[start:at]
        if not link:
            return
        words: list[str] = []
        if not link.endswith(","):
            start, at = at, _match_end(_DESCRIPTORS, value, at)
            words = value[start:at].split()
        found = [match for word in words[:4] if (match := _DESCRIPTOR.match(word)) is not None]
        if not words:
            yield link.rstrip(","), 1.0, "x"
        elif found and len(found) == len(words):
            yield link, float(found[0][1]), found[0][2]


def _match_end(pattern: re.Pattern[str], value: str, at: int) -> int:
    found = pattern.match(value, at)
    return at if found is None else found.end()


def best_url(srcsets: Sequence[str], lazy: Sequence[str], src: str | None, base_url: str) -> str | None:
    """The largest picture: by width, by density over 1, the lazy link, `src`, then whatever a srcset names."""
    sized = [(unit == "w", number, link) for value in srcsets for link, number, unit in srcset(value)]
    sized.sort(key=lambda item: item[:2], reverse=True)  # stable: of equals, the first
    links = [link for is_width, number, link in sized if is_width or number > 1]
    links += [*lazy, *([] if src is None else [src])]
    links += [link for is_width, number, link in sized if not is_width and number <= 1]
    return next((url for link in links if (url := join(base_url, link)) is not None), None)
