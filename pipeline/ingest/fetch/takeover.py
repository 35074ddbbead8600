"""Takes media that another tool has stored in a tar into a raw part, each under the rows that want it.

Takes the tar, and by the tool's key the rows and what the tool recorded of them, under img2dataset's names. Gives an
outcome per row: the media keep the bytes that were stored.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.fetch.outcome import Outcome
from pipeline.ingest.fetch.raw import RawWriter
from pipeline.ingest.media.image import Media, Refusal, stored_as_it_is
from pipeline.ingest.sources.files import open_list
from pipeline.ingest.sources.tar_members import STORED_ENDINGS, split_member
from pipeline.record import Status

_MAX_MEMBER_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows that want one medium, and what was recorded of it."""

    rows: list[int]
    facts: Mapping[str, Any] = field(default_factory=dict)


def take_over(tar: str, wanted: dict[str, Wanted], writer: RawWriter, *, exif: bool = False) -> dict[str, Wanted]:
    """Put the outcome of what the tar holds; returns what it does not hold. `exif`: the recorded tags are kept.

    Raises: SourceError: the tar cannot be read at all.
    """
    left = dict(wanted)
    for key, data in _media(tar, wanted):
        item = left.pop(key)
        outcome = _outcome(data, item.facts, exif)
        for row in item.rows:
            writer.put(row, outcome)
    return left


def _media(tar: str, wanted: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """(key, bytes) of the wanted media in a tar, once each, in its order; a tar that is cut off just ends."""
    seen: set[str] = set()
    try:
        with open_list(tar) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                key, ending = split_member(member.name)
                if not member.isreg() or ending not in STORED_ENDINGS or key not in wanted or key in seen:
                    continue
                if member.size > _MAX_MEMBER_BYTES:
                    continue
                data = archive.extractfile(member)
                if data is not None:
                    seen.add(key)
                    yield key, data.read()
    except (tarfile.ReadError, EOFError):
        if not seen:
            raise SourceError(f"{tar}: not a readable tar. Restore it, or take its rows from the list.") from None


def _outcome(data: bytes, facts: Mapping[str, Any], exif: bool) -> Outcome:
    media = stored_as_it_is(data)
    if isinstance(media, Refusal):
        return Outcome(media.status, media.detail)
    width, height = facts.get("original_width"), facts.get("original_height")
    if isinstance(width, int) and isinstance(height, int):
        media = Media(data, media.mime, media.extension, media.width, media.height, width, height, 1)
    sha256 = facts.get("sha256") or hashlib.sha256(data).hexdigest()
    tags = facts.get("exif") if exif else None
    return Outcome(Status.SUCCESS, None, media, sha256, None, datetime.now(UTC), None, tags)
