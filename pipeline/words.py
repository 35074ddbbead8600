"""Foreign words on their way to people: cut, without controls, with URLs shown by their host alone.

Captions, names and settings come from lists that anybody wrote. A URL may carry a name, a password or a signature, so
`https://me:secret@host/path?sig=...` becomes `https://host/...` wherever it stands.
"""

from __future__ import annotations

import re
from typing import Any

CAPTION_CHARS = 300
NAME_CHARS = 120
_URL = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]{0,30}:)?[/\\]{2}([^\s<>\"'`]+)")
_LOCATION = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\S+)")
_FILE_NAME = re.compile(r"[\w.-]{1,60}\.[A-Za-z0-9]{1,10}|[*?]\S{0,20}")
_SECRET_KEY = re.compile(r"(?i)secret|token|passw|authorization|cookie|credential|api_?key")
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\ufeff]+")
"""Controls, and marks that turn the direction of what follows: `dir="auto"` does that without reaching further."""


def plain(text: str | None, most: int = CAPTION_CHARS) -> str:
    """`text` as it may be read: one line, of at most `most` characters."""
    text = text or ""
    window = text[: 8 * most]
    if len(text) > len(window):  # a URL that the window cuts in two might show what its host is not
        window = window.rpartition(" ")[0] or "(one word of many characters)"
    window = _URL.sub(lambda found: host_only(found[1], found[2]), window.encode("utf-8", "replace").decode())
    window = " ".join(_NOT_SHOWN.sub(" ", window).split())
    return window if len(window) <= most and len(text) <= 8 * most else window[: most - 1].rstrip() + "…"


def host_only(scheme: str | None, rest: str) -> str:
    """What is shown of the URL `scheme//rest`."""
    authority = re.split(r"[/\\?#]", rest.lstrip("/\\"), maxsplit=1)[0]
    more = "/…" if len(authority) < len(rest.rstrip("/")) else ""
    return f"{scheme or ''}//{authority.rpartition('@')[2]}{more}"


def location(text: str) -> str:
    """Where a list or a folder lies: a path as it is, of a bucket without credentials, of a URL the
    host and the file's name."""
    found = _LOCATION.fullmatch(text)
    if found is None:
        return plain(text, 200)
    scheme, rest = found.groups()
    authority, _, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    authority = authority.rpartition("@")[2]
    if scheme.lower() in ("http", "https", "ftp"):
        name = path.rpartition("/")[2]  # other than a file's name, the end of a path may be what lets one in
        path = f"{'…/' if '/' in path else ''}{name if _FILE_NAME.fullmatch(name) else '…'}"
    return _NOT_SHOWN.sub(" ", f"{scheme}://{authority}/{path}")[:200]


def without_secrets(value: Any, key: str = "") -> Any:
    """Settings as they may be shown: the same structure, with locations cut and what is named as a secret left out."""
    if isinstance(value, dict):
        return {name: without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, key) for item in value]
    if not isinstance(value, str):
        return value
    if _SECRET_KEY.search(key):
        return "(not shown)"
    return location(value) if _LOCATION.fullmatch(value) else plain(value, 2_000)
