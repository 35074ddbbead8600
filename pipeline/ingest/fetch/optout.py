"""Opt-outs that a server states in its answer: X-Robots-Tag directives and the TDM reservation header.

Sources: developers.google.com/search/docs/crawling-indexing/robots-meta-tag (syntax, agent prefixes, `none`,
`unavailable_after`), noml.info, W3C TDMRep (tdm-reservation). A directive after an agent's name is for that agent,
and so are those that follow in the same header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BLOCKING = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none", "noml"})
"""Directives that forbid keeping an image. `none` is short for noindex, nofollow."""

_WITH_VALUE = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
_AGENT = re.compile(r"[a-z*][a-z0-9_.*/-]*\Z")


def opt_out(
    robots_tags: Iterable[str], tdm_reservation: str | None, agent: str, now: datetime, *, is_reserved: bool = False
) -> str | None:
    """The statement that forbids keeping this answer, or None.

    Args:
        robots_tags: the values of all X-Robots-Tag headers. tdm_reservation: that of the header of this name.
        agent: our product token, such as `pairmill`. now: for `unavailable_after`, with a time zone.
        is_reserved: what tdmrep.json says, which a header of 0 or 1 overrides.
    """
    for value in robots_tags:
        directive = _blocking(value, agent.lower(), now)
        if directive is not None:
            return f"X-Robots-Tag: {directive}"
    said = None if tdm_reservation is None else tdm_reservation.strip()
    if said == "1":
        return "TDM-Reservation: 1"
    return "tdmrep.json" if is_reserved and said != "0" else None


def product_token(user_agent: str) -> str:
    """The name by which an opt-out may address this user agent: its first word, without the version."""
    return re.split(r"[/\s(]", user_agent.strip(), maxsplit=1)[0].lower()


def _blocking(value: str, agent: str, now: datetime) -> str | None:
    for_us = True
    pieces = value.lower().split(",")
    for i, piece in enumerate(pieces):
        directive = piece.strip()
        name, colon, rest = directive.partition(":")
        name = name.strip()
        if colon and name == "unavailable_after":
            if for_us and _is_past([rest, *pieces[i + 1 : i + 2]], now):
                return "unavailable_after"
            continue
        if colon and name not in _WITH_VALUE and _AGENT.match(name):
            for_us = name.split("/")[0] in ("*", agent)
            directive = rest.strip()
        if for_us and directive in BLOCKING:
            return directive
    return None


def _is_past(parts: list[str], now: datetime) -> bool:
    """Whether the date in the first part, or in both where it holds a comma, lies before `now`."""
    for text in (",".join(parts), parts[0]):
        when = _parse_date(text.strip())
        if when is not None:
            return when < now
    return False


def _parse_date(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text.upper())
            return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None
