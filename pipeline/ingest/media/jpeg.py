"""JPEG by libjpeg-turbo: sizes from the header, decoding at a reduced scale, and no tolerance for cut-off files.

libjpeg only warns when a file ends early and fills the rest with grey. Warnings are errors here where data is
missing; the harmless ones (bytes between segments, say) are left to Pillow, which refuses truncated files itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from pipeline.ingest.media.geometry import Decoded, Geometry, Pixels
from pipeline.jpeg import native

_ORIENTATION = 0x0112
_LEAST_RATIO = 1.5
_LEAST_RATIO_DENSE = 3.0
_DENSE_BITS_PER_PIXEL = 2.5
"""Measured on COCO photos as they are (dense) and scaled up with grain; see docs/benchmarks.md."""


class Damaged(ValueError):
    """The body is no whole, decodable image."""


class NotForTurbo(ValueError):
    """An unusual JPEG (CMYK, odd sampling, harmless damage) that Pillow decodes."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size as stored, before orientation; `color` as simplejpeg names it; `num_bytes` of the whole file.

    `one_scan`: a first scan of all components, not progressive, after which libjpeg takes no further one.
    """

    width: int
    height: int
    color: str
    orientation: int
    one_scan: bool
    num_bytes: int


def read_header(body: bytes) -> JpegHeader:
    """What the header says. Raises: NotForTurbo: Pillow must read it."""
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(body, strict=False)
    except (ValueError, KeyError) as error:  # KeyError: a header without a known colour space
        raise NotForTurbo(str(error)) from None
    if color not in ("YCbCr", "Gray", "RGB"):
        raise NotForTurbo(color)
    orientation, one_scan = _walk(body)
    return JpegHeader(width, height, color, orientation, one_scan, len(body))


def shrink(body: bytes, header: JpegHeader, geometry: Geometry, quality: int) -> bytes | None:
    """The image as `geometry` wants it, encoded, by pairmill's own decoder; None where that is not for it to do."""
    sides = [(geometry.out_width, geometry.width, header.width), (geometry.out_height, geometry.height, header.height)]
    fits = all(out <= scaled <= stored for out, scaled, stored in sides)
    if not fits or header.orientation != 1 or not header.one_scan or header.color == "RGB":
        return None
    across, down = header.width / geometry.width, header.height / geometry.height
    left, top = (geometry.width - geometry.out_width) // 2, (geometry.height - geometry.out_height) // 2
    out = (geometry.out_width, geometry.out_height)
    window = native.Window(left * across, top * down, out[0] * across, out[1] * down, *out)
    planes = native.shrink(body, (header.width, header.height), window, is_grey=header.color == "Gray")
    return None if planes is None else simplejpeg.encode_jpeg_yuv_planes(planes.luma, planes.blue, planes.red, quality)


def least_scale(header: JpegHeader, width: int, height: int) -> int:
    """Eighths of its size to decode an image at, of which `width` x `height` pixels as stored will be kept.

    Only halves are taken: libjpeg-turbo has fast code for them, and 3/8 takes longer than 4/8. A photo loses nothing
    at 1.5 times its target and more. An image that is dense, with detail down to each pixel, does, and keeps 3 times.
    """
    bits_per_pixel = 8 * header.num_bytes / (header.width * header.height)
    least = _LEAST_RATIO if bits_per_pixel < _DENSE_BITS_PER_PIXEL else _LEAST_RATIO_DENSE
    ratio = min(header.width / width, header.height / height)
    return next((eighths for eighths in (1, 2, 4) if ratio * eighths / 8 >= least), 8)


def decode(body: bytes, header: JpegHeader, eighths: int = 8, fast_color: bool = False) -> Decoded:
    """The image at `eighths` of its size, as stored.

    `fast_color` repeats colours instead of blending them, which is as good, or better, where the image will shrink.

    Raises: Damaged: data is missing. NotForTurbo: Pillow must judge.
    """
    color = "GRAY" if header.color == "Gray" else "RGB"
    options = {"fastupsample": fast_color}
    if eighths < 8:
        options |= {"min_width": -(-header.width * eighths // 8), "min_height": -(-header.height * eighths // 8)}
    try:
        pixels = simplejpeg.decode_jpeg(body, color, strict=True, **options)
    except (ValueError, KeyError) as error:
        if "premature end" in str(error).lower():
            raise Damaged(str(error)) from None
        raise NotForTurbo(str(error)) from None
    return Decoded(pixels, header.width * eighths / 8, header.height * eighths / 8)


def encode(pixels: Pixels, quality: int) -> bytes:
    """A baseline JPEG, 4:2:0 or grey; the same pixels give the same bytes."""
    pixels = np.ascontiguousarray(pixels)
    if pixels.shape[2] == 1:
        return simplejpeg.encode_jpeg(pixels, quality, "GRAY", "Gray")
    return simplejpeg.encode_jpeg(pixels, quality, "RGB", "420")


def _walk(body: bytes) -> tuple[int, bool]:
    """The orientation 1..8 in the EXIF segment, 1 where there is none that makes sense; and `JpegHeader.one_scan`.

    Wherever this walk could part from libjpeg's own, it ends without a claim.
    """
    at, orientation, components = 2, 1, 0
    while at + 4 <= len(body) and body[at] == 0xFF:
        marker, size = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA:  # start of scan: what follows is image data
            return orientation, components > 0 and body[at + 4 : at + 5] == bytes([components])
        if size < 2 or marker < 0xC0 or 0xD0 <= marker <= 0xD9:  # no segment has these
            break
        if marker in (0xC0, 0xC1):
            components = body[at + 9] if at + 9 < len(body) else 0
        if marker == 0xE1 and body[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _orientation_of(body[at + 4 : at + 2 + size])
        at += 2 + size
    return orientation, False


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
