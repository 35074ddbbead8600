"""What rows say of their rights: the licence they state, and what kept them from being taken.

A licence lies in a row's `meta`, under a name such as `license` (COCO) or `LICENSE` (LAION).
"""

from __future__ import annotations

import json
import re

from pipeline.record import Status
from pipeline.words import plain

LICENCE = r'(?i)"licen[cs]e(?:_url|_name)?"\s*:\s*(?P<licence>"(?:[^"\\]|\\.)*"|[0-9]+)'
"""Where `meta` states one: the group `licence` is its value as JSON."""
_REGISTERS = ("creativecommons.org", "www.creativecommons.org", "opensource.org", "www.flickr.com", "flickr.com",
              "www.gnu.org", "spdx.org", "rightsstatements.org")  # fmt: skip
"""Hosts whose paths are names of licences."""
_CAUSES = (
    ("x-robots-tag", "X-Robots-Tag header"),
    ("tdm-reservation", "TDM-Reservation header or tag"),
    ("tdmrep.json", "/.well-known/tdmrep.json of the host"),
    ("robots.txt", "robots.txt of the host"),
    ("robots meta", "robots meta tag of the page"),
)


def cause_of(outcome: Status, detail: str | None) -> str:
    """The cause of a refusal in words that are ours; details come from servers and are not shown."""
    if outcome != Status.OPTED_OUT:
        return "named by a block list" if outcome == Status.BLOCKLISTED else "its host's turn was too far off"
    text = (detail or "").lower()
    if text.startswith("robots.txt:"):
        return "robots.txt of the host could not be had"
    return next((cause for mark, cause in _CAUSES if mark in text), "another statement")


def licence_name(text: str) -> str:
    """The name of a licence as it may be shown: of a URL the host, with its path where that is a licence's name."""
    try:
        name = str(json.loads(text)).encode("utf-8", "replace").decode()
    except ValueError:
        name = text
    url = re.fullmatch(r"(?i)https?://([a-z0-9.-]+)(/[^?#\s]*)?(?:[?#]\S*)?", name.strip())
    if url is not None and url[1].lower() in _REGISTERS:
        return f"{url[1].lower()}{(url[2] or '').rstrip('/')}"[:120]
    return plain(name, 120) or "(empty)"
