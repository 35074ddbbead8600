"""JPEG by libjpeg-turbo: sizes from the header, decoding at a reduced scale, and no tolerance for cut-off files.

libjpeg only warns when a file ends early and fills the rest with grey. Warnings are errors here where data is
missing; the harmless ones (bytes between segments, say) are left to Pillow, which refuses truncated files itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from pipeline.ingest.media.geometry import Pixels

_ORIENTATION = 0x0112


class Damaged(ValueError):
    """The body is no whole, decodable image."""


class NotForTurbo(ValueError):
    """An unusual JPEG (CMYK, odd sampling, harmless damage) that Pillow decodes."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size as stored, before orientation; `color` as simplejpeg names it."""

    width: int
    height: int
    color: str
    orientation: int


def read_header(body: bytes) -> JpegHeader:
    """What the header says. Raises: NotForTurbo: Pillow must read it."""
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(body, strict=False)
    except (ValueError, KeyError) as error:  # KeyError: a header without a known colour space
        raise NotForTurbo(str(error)) from None
    if color not in ("YCbCr", "Gray", "RGB"):
        raise NotForTurbo(color)
    return JpegHeader(width, height, color, exif_orientation(body))


def decode(body: bytes, header: JpegHeader, min_width: int, min_height: int) -> Pixels:
    """The image at the smallest scale (n/8) that still has `min_width` x `min_height` pixels, as stored.

    Raises: Damaged: data is missing. NotForTurbo: Pillow must judge.
    """
    color = "GRAY" if header.color == "Gray" else "RGB"
    try:
        return simplejpeg.decode_jpeg(body, color, min_height=min_height, min_width=min_width, strict=True)
    except (ValueError, KeyError) as error:
        if "premature end" in str(error).lower():
            raise Damaged(str(error)) from None
        raise NotForTurbo(str(error)) from None


def encode(pixels: Pixels, quality: int) -> bytes:
    """A baseline JPEG, 4:2:0 or grey; the same pixels give the same bytes."""
    pixels = np.ascontiguousarray(pixels)
    if pixels.shape[2] == 1:
        return simplejpeg.encode_jpeg(pixels, quality, "GRAY", "Gray")
    return simplejpeg.encode_jpeg(pixels, quality, "RGB", "420")


def exif_orientation(body: bytes) -> int:
    """The orientation 1..8 in a JPEG's EXIF segment; 1 where there is none, or none that makes sense."""
    at = 2
    while at + 4 <= len(body) and body[at] == 0xFF:
        marker, size = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA or size < 2:  # start of scan: what follows is image data
            return 1
        if marker == 0xE1 and body[at + 4 : at + 10] == b"Exif\0\0":
            return _orientation_of(body[at + 4 : at + 2 + size])
        at += 2 + size
    return 1


def _orientation_of(segment: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(segment)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # Pillow raises whatever the damage leads to; a broken tag is no reason to lose a whole image
        return 1
    return valid_orientation(value)


def valid_orientation(value: object) -> int:
    """`value` where it is an orientation 1..8, else 1."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
