"""From the size of an image to the size it is stored in, and the array operations that get it there."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

ResizeMode = Literal["keep_ratio", "center_crop", "border", "no"]
Upscale = Literal["lanczos", "cubic"]
_UPSCALE = {"lanczos": cv2.INTER_LANCZOS4, "cubic": cv2.INTER_CUBIC}
_SMOOTHING = 0.07
"""Fitted to the PSNR against a Lanczos filter over photos and factors; a recipe has no use for it."""
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""[height, width, channels], 1 or 3 channels, 0..255."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of the upright image in pixels: `width`, `height` after scaling, `out_*` after crop or border."""

    width: int
    height: int
    out_width: int
    out_height: int

    def changes(self, width: int, height: int) -> bool:
        """Whether an image of this size does not stay as it is."""
        return (width, height) != (self.width, self.height) or (width, height) != (self.out_width, self.out_height)


def plan_geometry(width: int, height: int, mode: ResizeMode, size_px: int, only_if_bigger: bool) -> Geometry:
    """Where an upright image of `width` x `height` pixels goes.

    keep_ratio: the shorter side becomes `size_px`. center_crop: so too, then the middle square is cut out. border:
    the longer side becomes `size_px`, then white fills a square. `only_if_bigger`: that side is never scaled up.
    """
    if mode == "no":
        return Geometry(width, height, width, height)
    side = max(width, height) if mode == "border" else min(width, height)
    scale = size_px / side
    if only_if_bigger:
        scale = min(scale, 1.0)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if mode == "keep_ratio":
        return Geometry(new_width, new_height, new_width, new_height)
    if mode == "border":
        return Geometry(new_width, new_height, size_px, size_px)
    return Geometry(new_width, new_height, min(new_width, size_px), min(new_height, size_px))


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels as decoded, and how many of them the image covers: at 4/8, 683 rows become 342 for 341.5."""

    pixels: Pixels
    width: float
    height: float


def whole(pixels: Pixels) -> Decoded:
    """An image that covers all of its pixels."""
    return Decoded(pixels, pixels.shape[1], pixels.shape[0])


def shape(decoded: Decoded, geometry: Geometry, orientation: int, upscale: Upscale) -> Pixels:
    """The image (perhaps at a reduced scale) scaled, turned upright, and cropped or bordered."""
    width, height = geometry.width, geometry.height
    if orientation >= 5:
        width, height = height, width
    pixels = _scale(decoded, width, height, upscale)
    pixels = turn_upright(pixels, orientation)
    return _crop_or_pad(pixels, geometry.out_width, geometry.out_height)


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation 1..8 (TIFF 6.0, tag 274)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _scale(decoded: Decoded, width: int, height: int, upscale: Upscale) -> Pixels:
    pixels = decoded.pixels
    if (decoded.width, decoded.height) == (width, height):
        return pixels
    if width <= decoded.width and height <= decoded.height:
        scaled = _shrink(decoded, width, height)
    else:
        scaled = cv2.resize(pixels, (width, height), interpolation=_UPSCALE[upscale])
    return scaled.reshape(height, width, pixels.shape[2])  # cv2 drops a single channel's axis


def _shrink(decoded: Decoded, width: int, height: int) -> Pixels:
    """What comes as close to a Lanczos filter as averaging areas does, in a third of the time.

    cv2 averages areas fast by whole factors alone. So an image is halved while it is three times its target and more;
    then it is smoothed as the factor asks, and sampled bicubically. The factors given to cv2 are those of the part of
    the pixels that the image covers; by the sizes of the arrays alone it would be stretched by up to half a pixel.
    """
    pixels, across, down = decoded.pixels, decoded.width / width, decoded.height / height
    while min(across, down) >= 3:
        half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
        pixels = cv2.resize(pixels[: half[1] * 2, : half[0] * 2], half, interpolation=cv2.INTER_AREA)
        # an odd image loses a row or column; what is left must still fill the target
        across = min(across / 2, half[0] / (width - 0.49))
        down = min(down / 2, half[1] / (height - 0.49))
    if max(across, down) >= 3:  # thin images, whose sides shrink by different factors
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    smooth = cv2.sepFilter2D(pixels, -1, _smoothing(across), _smoothing(down))
    scaled = cv2.resize(smooth, None, fx=1 / across, fy=1 / down, interpolation=cv2.INTER_CUBIC)
    return scaled[:height, :width]


@functools.lru_cache(1024)
def _smoothing(factor: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Three or five weights whose variance grows as that of the filter that shrinking by `factor` asks for."""
    variance = 2 * _SMOOTHING * (factor * factor - 1)
    if factor < 2:
        return np.array([variance / 2, 1 - variance, variance / 2], np.float32)
    return cv2.getGaussianKernel(5, math.sqrt(variance)).astype(np.float32)


def _crop_or_pad(pixels: Pixels, width: int, height: int) -> Pixels:
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    if top > 0 or left > 0:
        top, left = max(top, 0), max(left, 0)
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])
    if pixels.shape[0] == height and pixels.shape[1] == width:
        return pixels
    canvas = np.full((height, width, pixels.shape[2]), 255, np.uint8)
    top, left = (height - pixels.shape[0]) // 2, (width - pixels.shape[1]) // 2
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas
