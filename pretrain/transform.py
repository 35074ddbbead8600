"""From the bytes of an image to a square of uint8 RGB: a random crop for training, a fixed one for evaluation.

The random crop follows the law of torchvision's RandomResizedCrop, with random numbers of ours. The fixed crop does
what transformers' CLIPImageProcessor does, with the same library, so that an exported model sees in other hands what it
saw here.
"""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image
from pydantic import Field

from pipeline.jpeg import native
from pipeline.recipe import RecipeTable
from pretrain.data.picks import Draws

TRIES = 10
"""Crops that are drawn, as in torchvision, before the middle of the image is taken."""
_FLIP_DRAW, _FIRST_CROP_DRAW = 1, 8
_LEAST_RATIO = 1.9
"""How many times the square's side a crop has at least after decoding at a reduced scale; as in csrc/squares.c."""


class AugmentConfig(RecipeTable):
    """The `[augment]` table of a training recipe; evaluation never augments."""

    min_area_ratio: float = Field(gt=0, le=1)
    """A random crop covers at least this part of the image's area; CLIP: 0.9."""
    max_aspect: float = Field(ge=1)
    """The crop's width to height, before it is squashed to a square, lies in [1 / max_aspect, max_aspect]."""
    flip_prob: float = Field(ge=0, le=1)
    """Probability of a mirror image; 0 where captions speak of left and right."""
    decoder: Literal["auto", "native", "library"] = "auto"
    """What makes squares of JPEGs. `native`: pairmill's own decoder, for what most JPEGs are, libraries for the others;
    `library`: libjpeg-turbo and Pillow, for all. Their pixels differ a little. `auto` is native where it was compiled;
    a run goes on with the one that it began with."""

    def settled(self) -> AugmentConfig:
        """These settings with the decoder that `auto` stands for here."""
        if self.decoder != "auto":
            return self
        return self.model_copy(update={"decoder": "native" if native.is_built() else "library"})


def random_windows(sizes_N2: np.ndarray, config: AugmentConfig, draws: Draws) -> np.ndarray:
    """int64 N4: left, top, width, height of a random crop of each image; `sizes_N2` holds width, height, at least 1."""
    sizes = np.asarray(sizes_N2, np.int64)
    windows, open_rows = _middles(sizes, config.max_aspect), np.arange(len(sizes))
    for first in range(_FIRST_CROP_DRAW, _FIRST_CROP_DRAW + 4 * TRIES, 4):
        width, height = sizes[open_rows].T
        area, shape, across, down = (draws[open_rows].uniform(first + k) for k in range(4))
        wanted_area = width * height * (config.min_area_ratio + area * (1 - config.min_area_ratio))
        aspect = np.exp((2 * shape - 1) * math.log(config.max_aspect))
        crop_width = np.rint(np.sqrt(wanted_area * aspect)).astype(np.int64)
        crop_height = np.rint(np.sqrt(wanted_area / aspect)).astype(np.int64)
        fits = (crop_width > 0) & (crop_width <= width) & (crop_height > 0) & (crop_height <= height)
        left = (across * (width - crop_width + 1)).astype(np.int64)
        top = (down * (height - crop_height + 1)).astype(np.int64)
        windows[open_rows[fits]] = np.stack([left, top, crop_width, crop_height], axis=1)[fits]
        open_rows = open_rows[~fits]
        if not len(open_rows):
            break
    return windows


def mirrored(config: AugmentConfig, draws: Draws) -> np.ndarray:
    """bool N: which images are to be mirrored."""
    return draws.uniform(_FLIP_DRAW) < config.flip_prob


def _middles(sizes_N2: np.ndarray, max_aspect: float) -> np.ndarray:
    """The largest part of an aspect that is allowed, in the middle of each image."""
    width, height = sizes_N2.T
    crop_height = np.where(width < height / max_aspect, np.rint(width * max_aspect), height).astype(np.int64)
    crop_width = np.where(width > height * max_aspect, np.rint(height * max_aspect), width).astype(np.int64)
    return np.stack([(width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height], axis=1)


def decode_rgb(media: bytes, mime: str) -> np.ndarray:
    """The image as uint8 HWC in RGB. Raises: ValueError: the bytes are no image."""
    try:
        if mime == "image/jpeg":
            return simplejpeg.decode_jpeg(media, colorspace="RGB")
        with Image.open(io.BytesIO(media)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot decode {mime} of {len(media)} bytes: {error}") from error


def size_of(media: bytes, mime: str) -> tuple[int, int]:
    """Width and height as the header says. Raises: ValueError: the bytes are no image."""
    try:
        if mime == "image/jpeg":
            height, width, _, _ = simplejpeg.decode_jpeg_header(media)
            return width, height
        with Image.open(io.BytesIO(media)) as image:
            return image.size
    except (OSError, ValueError, KeyError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot decode {mime} of {len(media)} bytes: {error}") from error


def cropped(media: bytes, mime: str, window: np.ndarray, side_px: int) -> np.ndarray:
    """A window of the image as a square by libraries: uint8 HWC, a cubic filter that is stretched to shrink.

    A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves enough of the window.

    Raises: ValueError: the bytes are no image.
    """
    width, height = size_of(media, mime)
    scale = 1.0
    if mime == "image/jpeg":
        ratio = min(window[2], window[3]) / side_px
        scale = next((part for part in (1 / 8, 1 / 4, 1 / 2) if ratio * part >= _LEAST_RATIO), 1.0)
    if scale < 1:
        least = {"min_width": math.ceil(width * scale), "min_height": math.ceil(height * scale)}
        try:
            image_HWC = simplejpeg.decode_jpeg(media, colorspace="RGB", **least)
        except ValueError as error:
            raise ValueError(f"cannot decode {mime} of {len(media)} bytes: {error}") from error
    else:
        image_HWC = decode_rgb(media, mime)
    left, top, across, down = (float(number) * scale for number in window)
    box = (left, top, min(left + across, image_HWC.shape[1]), min(top + down, image_HWC.shape[0]))
    square = Image.fromarray(image_HWC).resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)
    return np.asarray(square)


def centred(image_HWC: np.ndarray, side_px: int) -> np.ndarray:
    """The image with its shorter side resized to `side_px`, cut to the central square; uint8 HWC."""
    height, width = image_HWC.shape[:2]
    shorter, longer = min(height, width), max(height, width)
    scaled = int(side_px * longer / shorter)
    size = (side_px, scaled) if width <= height else (scaled, side_px)
    resized = Image.fromarray(image_HWC).resize(size, resample=Image.Resampling.BICUBIC)
    top, left = (resized.height - side_px) // 2, (resized.width - side_px) // 2
    return np.asarray(resized.crop((left, top, left + side_px, top + side_px)))
