"""Stored bytes to pixels, for scorers: a small plane of luma and two of chroma, or the whole image as RGB.

Takes the bytes of a stored image. Gives arrays, or raises `Undecodable`, which scorers turn into a null on the row.
Small planes of a baseline JPEG come from pairmill's own decoder in one pass; everything else is decoded whole, by
libjpeg-turbo where it is a JPEG and by Pillow where not: its first frame, on white.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from pipeline.jpeg import native
from pipeline.jpeg.native import Plane, Planes, Window

MAX_PIXELS = 64_000_000
"""An image whose header announces more is not decoded."""
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_JPEG = b"\xff\xd8"
# Pillow warns from inside its decoders about oddities that end in a null here.
warnings.filterwarnings("ignore", module=r"PIL\..*")

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""[height, width, 3], RGB, 0..255."""


class Undecodable(ValueError):
    """The bytes are no image that can be decoded here."""


def small_planes(body: bytes, longest_px: int) -> Planes:
    """Luma and half-size chroma of an image whose longer side is brought down to `longest_px`, never up.

    Raises: Undecodable.
    """
    planes = native_planes(body, lambda width, height: fitted(width, height, longest_px))
    return _planes_of(rgb(body), longest_px) if planes is None else planes


def native_planes(body: bytes, fit: Callable[[int, int], tuple[int, int]]) -> Planes | None:
    """A JPEG brought to the size that `fit` makes of its width and height, by pairmill's own decoder.

    Returns: None where another decoder must judge, or the own one was never compiled.
    Raises: Undecodable: its header is broken.
    """
    if body[:2] != _JPEG or not native.is_built():
        return None
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(body)
    except ValueError as error:
        raise Undecodable(str(error)) from None
    if color not in ("Gray", "YCbCr"):
        return None
    return native.shrink(body, (width, height), Window(0, 0, width, height, *fit(width, height)), color == "Gray")


def rgb(body: bytes) -> Pixels:
    """The whole image. Raises: Undecodable."""
    if body[:2] == _JPEG:
        try:
            height, width, color, _ = simplejpeg.decode_jpeg_header(body)
            if height * width > MAX_PIXELS:
                raise Undecodable(f"{width} x {height} pixels")
            if color in ("Gray", "YCbCr", "RGB"):
                return simplejpeg.decode_jpeg(body, colorspace="RGB")
        except Undecodable:
            raise
        except ValueError as error:
            raise Undecodable(str(error)) from None
    with opened(body) as image:
        return np.asarray(_on_white(image))


def opened(body: bytes) -> Image.Image:
    """The image behind its header, for Pillow's own formats. Raises: Undecodable."""
    try:
        image = Image.open(io.BytesIO(body), formats=_formats())
    except Exception as error:  # decoders raise whatever the damage leads to
        raise Undecodable(f"{type(error).__name__}: {error}") from None
    if image.width * image.height > MAX_PIXELS:
        raise Undecodable(f"{image.width} x {image.height} pixels")
    return image


def num_frames(body: bytes) -> int:
    """Frames of the stored file; 1 for what does not move. Raises: Undecodable."""
    if body[:2] == _JPEG:
        return 1
    with opened(body) as image:
        try:
            return int(getattr(image, "n_frames", 1))
        except Exception as error:
            raise Undecodable(f"{type(error).__name__}: {error}") from None


def fitted(width: int, height: int, longest_px: int) -> tuple[int, int]:
    """The size with its longer side brought down to `longest_px`, the other in proportion; never larger."""
    scale = min(1.0, longest_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _planes_of(image: Pixels, longest_px: int) -> Planes:
    size = fitted(image.shape[1], image.shape[0], longest_px)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if size != image.shape[1::-1] else image
    luma, red, blue = cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb))
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return Planes(luma, *(_halved(plane, half) for plane in (blue, red)))


def _halved(plane: Plane, size: tuple[int, int]) -> Plane:
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA)


def _on_white(image: Image.Image) -> Image.Image:
    try:
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")
    except Exception as error:
        raise Undecodable(f"{type(error).__name__}: {error}") from None


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)
