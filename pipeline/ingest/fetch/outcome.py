"""What became of a row: the status, and the medium with what is known of it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.errors import PairmillError
from pipeline.ingest.fetch.blocklist import NO_BLOCKS, BlockList
from pipeline.ingest.media.exact import exact_image
from pipeline.ingest.media.exif import exif_json
from pipeline.ingest.media.image import ImageConfig, Media, Refusal, treat_image
from pipeline.ingest.media.probe import MediaConfig, Probed, probe
from pipeline.ingest.media.retouch import Box
from pipeline.record import Status

log = logging.getLogger(__name__)


COMPANION = "companion"
"""The medium of a promise whose body is kept as received, once it has proven to be a whole image."""

Place = int | tuple[int, int]
"""Whose outcome it is: a row's, or (row, n), that of its companion number n from 0."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a row. `media`, `sha256` and `num_bytes` (of the body as received) only where it is a success."""

    status: Status
    detail: str | None = None
    media: Media | None = None
    sha256: str | None = None
    num_bytes: int | None = None
    fetched_at: datetime | None = None
    duration_s: float | None = None
    exif: str | None = None
    companions: tuple[Outcome, ...] = ()
    """What became of the row's companions, in their order."""


def outcome_of_fault(fault: str) -> Outcome:
    """The end of a row that is not fetched because of what it is."""
    return Outcome(Status.FORGOTTEN) if fault == Status.FORGOTTEN else Outcome(Status.BAD_ROW, fault)


@dataclass(frozen=True, slots=True)
class Treated:
    """A body after its treatment: an outcome, and the digests (`md5:<hex>`) that rows may have promised."""

    outcome: Outcome
    digests: dict[str, str] = field(default_factory=dict)

    def for_row(self, promised: str | None) -> Outcome:
        """The outcome of a row that promises this hash."""
        if promised is None or not self.digests:
            return self.outcome
        kind, _, _ = promised.partition(":")
        if self.digests[kind] == promised:
            return self.outcome
        return Outcome(Status.HASH_MISMATCH, f"{kind} differs from the list's")


@dataclass(frozen=True, slots=True)
class Treatment:
    """What decides about bodies."""

    image: ImageConfig
    media: MediaConfig
    max_image_bytes: int
    block: BlockList = NO_BLOCKS


@dataclass(frozen=True, slots=True)
class Promise:
    """What the list says of a URL: the medium, the hash of each row that wants it, and the boxes to blur."""

    medium: str
    hashes: tuple[str | None, ...]
    boxes: tuple[Box, ...] = ()


def treat_body(body: bytes, promise: Promise, treatment: Treatment) -> Treated:
    """Hash and treat a body; runs in a thread.

    A body whose hash is blocked, or that no row's promised hash fits, is never decoded.
    """
    wanted, medium = set(promise.hashes), promise.medium
    digests = {"sha256": f"sha256:{hashlib.sha256(body).hexdigest()}"}
    if treatment.block.wants_md5 or any(item is not None and item.startswith("md5:") for item in wanted):
        digests["md5"] = f"md5:{hashlib.md5(body, usedforsecurity=False).hexdigest()}"
    reason = treatment.block.of_hashes(digests.values())
    if reason is not None:
        return Treated(Outcome(Status.BLOCKLISTED, reason))
    if None not in wanted and wanted.isdisjoint(digests.values()):
        return Treated(Outcome(Status.HASH_MISMATCH, "differs from the list's"), digests)
    media: Media | Probed | Refusal
    try:
        if medium not in ("image", COMPANION):
            media = probe(body, medium, treatment.media)
        elif len(body) > treatment.max_image_bytes:
            media = Refusal(Status.TOO_LARGE, f"over {treatment.max_image_bytes} bytes")
        elif medium == COMPANION:
            media = exact_image(body, treatment.image.max_pixels)
        else:
            media = treat_image(body, treatment.image, promise.boxes)
    except PairmillError:
        raise
    except Exception as error:  # one medium must never cost the whole part
        log.exception("treatment failed medium=%s kind=%s bytes=%d", medium, type(error).__name__, len(body))
        media = Refusal(Status.DECODE_ERROR, f"unexpected {type(error).__name__}")
    if isinstance(media, Refusal):
        return Treated(Outcome(media.status, media.detail), digests)
    duration_s = None
    if isinstance(media, Probed):
        duration_s, size = media.duration_s, (media.width, media.height)
        media = Media(media.data, media.mime, media.extension, *size, *size, 1)
    sha256 = digests["sha256"].removeprefix("sha256:")
    exif = exif_json(body) if medium == "image" and treatment.image.exif == "keep" else None
    facts = (sha256, len(body), datetime.now(UTC), duration_s, exif)
    return Treated(Outcome(Status.SUCCESS, media.detail, media, *facts), digests)
