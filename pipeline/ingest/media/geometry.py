"""From the size of an image to the size it is stored in, and the array operations that get it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

ResizeMode = Literal["keep_ratio", "center_crop", "border", "no"]
Upscale = Literal["lanczos", "cubic"]
_UPSCALE = {"lanczos": cv2.INTER_LANCZOS4, "cubic": cv2.INTER_CUBIC}
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


def shape(pixels: Pixels, geometry: Geometry, orientation: int, upscale: Upscale) -> Pixels:
    """`pixels` (as decoded, perhaps at a reduced scale) scaled, turned upright, and cropped or bordered."""
    width, height = geometry.width, geometry.height
    if orientation >= 5:
        width, height = height, width
    pixels = _scale(pixels, width, height, upscale)
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


def _scale(pixels: Pixels, width: int, height: int, upscale: Upscale) -> Pixels:
    old_height, old_width, channels = pixels.shape
    if (old_width, old_height) == (width, height):
        return pixels
    shrinks = width <= old_width and height <= old_height
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else _UPSCALE[upscale])
    return scaled.reshape(height, width, channels)  # cv2 drops a single channel's axis


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
