"""All other image formats by Pillow, from a closed list, as 8-bit grey or RGB: first frame, on white, upright later."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.ingest.media.color import cmyk_to_srgb
from pipeline.ingest.media.geometry import Pixels
from pipeline.ingest.media.jpeg import Damaged, valid_orientation

FORMATS = {
    "image/jpeg": ("JPEG", "MPO"),
    "image/png": ("PNG",),
    "image/gif": ("GIF",),
    "image/webp": ("WEBP",),
    "image/bmp": ("BMP",),
    "image/tiff": ("TIFF",),
    "image/avif": ("AVIF",),
}
"""MIME type -> Pillow's decoders that may see such a body. EPS, for one, would start Ghostscript."""

_ORIENTATION = 0x0112

# Pillow warns from inside its decoders about oddities that end in a status here.
warnings.filterwarnings("ignore", module=r"PIL\..*")


class TooManyPixels(ValueError):
    """The header announces more pixels than are allowed."""


@dataclass(frozen=True, slots=True)
class Raster:
    """Pixels as stored, and the orientation that they still need and that the file stated."""

    pixels: Pixels
    turn: int
    orientation: int


def open_image(body: bytes, mime: str, max_pixels: int) -> Image.Image:
    """The image behind its header, not decoded. Raises: Damaged, TooManyPixels."""
    try:
        image = Image.open(io.BytesIO(body), formats=FORMATS[mime])
        width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(str(error)) from None
    except UnidentifiedImageError:  # its message holds a memory address
        raise Damaged(f"begins as {mime}, but is none") from None
    except Exception as error:  # decoders raise whatever the damage leads to
        raise Damaged(f"{type(error).__name__}: {error}") from None
    if width * height > max_pixels:
        raise TooManyPixels(f"{width} x {height}")
    if width < 1 or height < 1:
        raise Damaged(f"{width} x {height} pixels")
    return image


def load(image: Image.Image, profile: bytes | None = None) -> Raster:
    """Decode the first frame; CMYK by its ICC `profile`. Raises: Damaged: it cannot be, or not to the end."""
    try:
        if image.format == "PNG":
            image.load()  # to read EXIF decodes it too, and only the first try says that it cannot be
        stated = _orientation(image)
        image.load()
        turn = _orientation(image)  # the TIFF decoder turns images upright itself, and then says so
        if image.mode == "CMYK":
            image = cmyk_to_srgb(image, profile)
        pixels = np.asarray(_to_8_bit(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(str(error)) from None
    except Exception as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None
    return Raster(pixels.reshape(*pixels.shape[:2], -1), turn, stated)


def check_whole(image: Image.Image) -> None:
    """Decode the first frame, whatever its samples are. Raises: Damaged, TooManyPixels."""
    try:
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(str(error)) from None
    except MemoryError:
        raise
    except Exception as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None


def _to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, in one of Pillow's ways to hold them
        samples = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((samples >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point samples have no defined white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return valid_orientation(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as in jpeg.py: a broken tag is no reason to lose a whole image
        return 1
