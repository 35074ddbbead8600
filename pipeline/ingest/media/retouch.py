"""What is done to an image's pixels beside scaling: colours into sRGB, and faces of the list made unrecognisable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from pipeline.ingest.media import color
from pipeline.ingest.media.geometry import Geometry, Pixels

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the upright original."""
_MARGIN = 0.1
"""Share of a box's sides that is blurred beyond them: detectors cut chins and hair."""
_PASSES = 3


@dataclass(frozen=True, slots=True)
class Retouch:
    """The changes of one image. `profile` is its ICC profile, `boxes` what to blur."""

    profile: bytes | None = None
    boxes: tuple[Box, ...] = ()

    def changes_pixels(self, channels: int) -> bool:
        """Whether an image of so many channels (1 or 3) cannot keep its bytes."""
        return bool(self.boxes) or color.needs_conversion(self.profile, channels)

    def apply(self, pixels: Pixels, geometry: Geometry, width: int, height: int) -> Pixels:
        """`pixels` as they came out of `geometry`, from an upright original of `width` x `height` pixels."""
        if self.profile is not None and color.needs_conversion(self.profile, pixels.shape[2]):
            pixels = color.to_srgb(pixels, self.profile)
        if self.boxes:
            pixels = pixels.copy()
        for box in self.boxes:
            _blur(pixels, _placed(box, geometry, width, height))
        return pixels


def face_boxes(regions: Iterable[Mapping[str, Any]] | None) -> tuple[Box, ...]:
    """The boxes of the regions of a row that are called `face`."""
    found = []
    for region in regions or ():
        if (region["text"] or "").strip().casefold() != "face":
            continue
        x, y, width, height, *more = [*(region["box"] or ()), math.nan, math.nan, math.nan, math.nan]
        if len(more) == 4 and all(value is not None and math.isfinite(value) for value in (x, y, width, height)):
            found.append((x, y, width, height))
    return tuple(found)


def _placed(box: Box, geometry: Geometry, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a box in the stored image, margin included and cut to it."""
    x_scale, y_scale = geometry.width / width, geometry.height / height
    x_cut, y_cut = (geometry.width - geometry.out_width) / 2, (geometry.height - geometry.out_height) / 2
    x, y, box_width, box_height = box
    x_margin, y_margin = box_width * _MARGIN, box_height * _MARGIN
    left, right = (x - x_margin) * x_scale - x_cut, (x + box_width + x_margin) * x_scale - x_cut
    top, bottom = (y - y_margin) * y_scale - y_cut, (y + box_height + y_margin) * y_scale - y_cut
    return (
        max(0, math.floor(left) - 1), max(0, math.floor(top) - 1),
        min(geometry.out_width, math.ceil(right) + 1), min(geometry.out_height, math.ceil(bottom) + 1),
    )  # fmt: skip


def _blur(pixels: Pixels, place: tuple[int, int, int, int]) -> None:
    """Average a part of `pixels` three times over half its longer side, in place."""
    left, top, right, bottom = place
    if right <= left or bottom <= top:
        return
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    size = max(right - left, bottom - top) // 2 | 1
    for _ in range(_PASSES):
        part = cv2.blur(part, (size, size), borderType=cv2.BORDER_REPLICATE)
    pixels[top:bottom, left:right] = part.reshape(bottom - top, right - left, pixels.shape[2])
