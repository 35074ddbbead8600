"""Media in local folders by `file://` URL, for lists whose images are already on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.ingest.fetch.answer import Answer
from pipeline.record import Status


def read_local(url: str, folders: Sequence[str], max_bytes: int) -> Answer:
    """The file behind `url`, if it really lies (links followed) in one of `folders`."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        return Answer(Status.REFUSED_SCHEME, "a file of another machine")
    try:
        path = Path(os.path.realpath(unquote(parts.path)))
        if not any(path.is_relative_to(os.path.realpath(folder)) for folder in folders):
            return Answer(Status.REFUSED_SCHEME, "scheme 'file' outside of fetch.allow_folders")
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            return Answer(Status.HTTP_404, "no such file")
        if facts.st_size > max_bytes:
            return Answer(Status.TOO_LARGE, f"{facts.st_size} bytes")
        body = path.read_bytes()
    except FileNotFoundError:
        return Answer(Status.HTTP_404, "no such file")
    except (OSError, ValueError) as error:
        return Answer(Status.HTTP_403, type(error).__name__)
    return Answer(Status.SUCCESS, None, body) if body else Answer(Status.EMPTY_BODY, "0 bytes")
