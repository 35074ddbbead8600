"""The EXIF tags of an image as JSON, the way img2dataset writes them: {"Image Make": "Canon", ...}.

Takes the bytes of an image as received. Gives text, for the record's `exif` column. An image without EXIF costs a
look at its headers. What is read is hostile, so the reader's work is bounded; where it ends early there is no EXIF.

Source: Exif 2.32; names and forms of the values are those of the library exifread, which img2dataset uses.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import logging
from typing import Any

from pipeline.ingest.media import metadata

NO_TAGS = "{}"
_PREFIX = len(b"Exif\0\0")
_MAX_READS = 50_000
_MAX_READ_BYTES = 1 << 20
_MAX_CHARACTERS = 1 << 16
_WEBP_HAS_EXIF = 0x08


def exif_json(body: bytes) -> str | None:
    """The tags of an image; `{}` where it has none, None where they cannot be read."""
    tiff = _tiff_in(body)
    if tiff is None:
        return NO_TAGS
    try:
        tags = _reader().process_file(_Bounded(tiff), details=False)
        text = json.dumps({name: str(value).strip() for name, value in tags.items() if value is not None})
    except Exception:  # exifread raises whatever the damage leads to
        return None
    return text if len(text) <= _MAX_CHARACTERS else None


def _tiff_in(body: bytes) -> bytes | None:
    """What exifread finds tags in: the segment of a JPEG, or the whole of a TIFF or of a WebP that says it has some."""
    if body.startswith(b"\xff\xd8"):
        segment = metadata.exif_of(body)
        return None if segment is None else segment[_PREFIX:]
    if body.startswith((b"II*\0", b"MM\0*")):
        return body
    is_webp = body.startswith(b"RIFF") and body[8:16] == b"WEBPVP8X" and len(body) > 20
    return body if is_webp and body[20] & _WEBP_HAS_EXIF else None


class _Bounded(io.BytesIO):
    """Bytes that may be read so often and so much, and no more."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._bytes = 0, 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._reads += 1
        self._bytes += len(data)
        if self._reads > _MAX_READS or self._bytes > _MAX_READ_BYTES:
            raise ValueError("EXIF: refers to more data than tags have")
        return data


@functools.cache
def _reader() -> Any:
    logging.getLogger("exifread").setLevel(logging.CRITICAL)  # it tells of every oddity of every photo
    return importlib.import_module("exifread")
