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
    """The candidates of a srcset as (link, number, `w` or `x`); without a descriptor, or a wrong one, 1x."""
    at = 0
    for _ in range(MAX_CANDIDATES):
        while at < len(value) and (value[at].isspace() or value[at] == ","):
            at += 1
        start = at
        while at < len(value) and not value[at].isspace():
            at += 1
        link = value[start:at]
        if not link:
            return
        words: list[str] = []
        if not link.endswith(","):
            end = value.find(",", at)
            end = len(value) if end < 0 else end
            words = value[at:end].split()
            at = end
        found = [match for word in words[:4] if (match := _DESCRIPTOR.match(word)) is not None]
        yield (link.rstrip(","), float(found[0][1]), found[0][2]) if found else (link.rstrip(","), 1.0, "x")


def best_url(srcsets: Sequence[str], lazy: Sequence[str], src: str | None, base_url: str) -> str | None:
    """The largest picture: by width, by density over 1, the lazy link, `src`, then whatever a srcset names."""
    sized: list[tuple[int, float, str]] = []
    for value in srcsets:
        for link, number, unit in srcset(value):
            url = join(base_url, link)
            if url is not None:
                sized.append((1 if unit == "w" else 0, number, url))
    if sized:
        is_width, number, url = max(sized, key=lambda item: item[:2])  # of equals, the first
        if is_width or number > 1:
            return url
    for link in [*lazy, *([] if src is None else [src])]:
        url = join(base_url, link)
        if url is not None:
            return url
    return sized[0][2] if sized else None
