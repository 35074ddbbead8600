"""For lists that name their media by file: where the files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.ingest.sources.source import SourceConfig


class MediaConfig(SourceConfig):
    """Settings of a list whose media have public addresses, and may lie elsewhere too."""

    media: str | None = None
    """Where the media are: a URL, or a local folder (which `fetch.allow_folders` must name too), to which each
    file name is added. None takes the addresses of the list, or of its publisher."""


class OwnMediaConfig(SourceConfig):
    """Settings of a list whose media have no public address."""

    media: str
    """Where the media are: a URL, or a local folder (which `fetch.allow_folders` must name too), to which each
    file name is added."""


def media_url(base: str | None, name: Any) -> str | None:
    """The URL of the file `name` under `base`; None where there is none, so that the row gets a fault."""
    if base is None or not isinstance(name, str) or not name:
        return None
    base = base.rstrip("/")
    if "://" not in base:
        base = f"file://{quote(str(Path(base).expanduser().absolute()), errors='surrogateescape')}"
    try:
        return f"{base}/{quote(name.lstrip('/'), errors='surrogateescape')}"
    except UnicodeEncodeError:  # half a character, out of JSON
        return None
