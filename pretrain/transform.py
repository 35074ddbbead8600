"""From the bytes of an image to a square of uint8 RGB: a random crop for training, a fixed one for evaluation.

What is random is drawn from (seed, key, epoch) alone, so it does not depend on ranks, threads or restarts.
The fixed crop does what transformers' CLIPImageProcessor does, with the same library, so that an exported model
sees in other hands what it saw here.
"""

from __future__ import annotations

import hashlib
import io
import math

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from pydantic import Field

from pipeline.recipe import RecipeTable

cv2.setNumThreads(0)  # the loader has its own threads; OpenCV's would fight them for the cores


class AugmentConfig(RecipeTable):
    """The `[augment]` table of a training recipe; evaluation never augments."""

    min_area_ratio: float = Field(gt=0, le=1)
    """A random crop covers at least this part of the image's area; CLIP: 0.9."""
    max_aspect: float = Field(ge=1)
    """The crop's width to height, before it is squashed to a square, lies in [1 / max_aspect, max_aspect]."""
    flip_prob: float = Field(ge=0, le=1)
    """Probability of a mirror image; 0 where captions speak of left and right."""


def sample_random(seed: int, key: str, epoch: int) -> np.random.Generator:
    """The random numbers of one sample in one epoch."""
    digest = hashlib.blake2b(f"{seed}\0{epoch}\0{key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def decode_rgb(media: bytes, mime: str) -> np.ndarray:
    """The image as uint8 HWC in RGB. Raises: ValueError: the bytes are no image."""
    try:
        if mime == "image/jpeg":
            return simplejpeg.decode_jpeg(media, colorspace="RGB")
        with Image.open(io.BytesIO(media)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot decode {mime} of {len(media)} bytes: {error}") from error


def augmented(image_HWC: np.ndarray, config: AugmentConfig, side_px: int, random: np.random.Generator) -> np.ndarray:
    """A random crop of the image, resized to a square of `side_px`, perhaps mirrored; uint8 HWC."""
    height, width = image_HWC.shape[:2]
    area_ratio = random.uniform(config.min_area_ratio, 1.0)
    log_aspect = math.log(config.max_aspect)
    aspect = math.exp(random.uniform(-log_aspect, log_aspect))
    crop_width = min(max(round(math.sqrt(width * height * area_ratio * aspect)), 1), width)
    crop_height = min(max(round(math.sqrt(width * height * area_ratio / aspect)), 1), height)
    left = int(random.integers(0, width - crop_width + 1))
    top = int(random.integers(0, height - crop_height + 1))
    mirror = random.random() < config.flip_prob
    crop_HWC = image_HWC[top : top + crop_height, left : left + crop_width]
    shrinks = crop_width >= side_px and crop_height >= side_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    square_HWC = cv2.resize(crop_HWC, (side_px, side_px), interpolation=how)
    return square_HWC[:, ::-1] if mirror else square_HWC


def centred(image_HWC: np.ndarray, side_px: int) -> np.ndarray:
    """The image with its shorter side resized to `side_px`, cut to the central square; uint8 HWC."""
    height, width = image_HWC.shape[:2]
    shorter, longer = min(height, width), max(height, width)
    scaled = int(side_px * longer / shorter)
    size = (side_px, scaled) if width <= height else (scaled, side_px)
    resized = Image.fromarray(image_HWC).resize(size, resample=Image.Resampling.BICUBIC)
    top, left = (resized.height - side_px) // 2, (resized.width - side_px) // 2
    return np.asarray(resized.crop((left, top, left + side_px, top + side_px)))
