"""Colours by ICC profile: what a profile means, and pixels turned into sRGB, which every reader takes for granted.

Whether a profile is sRGB under another name is told by what it does to a grid of colours. A profile that Little CMS
does not take is no profile. Little CMS is what Pillow's ImageCms calls.
"""

from __future__ import annotations

import functools
import io
import threading
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from pipeline.ingest.media.geometry import Pixels

_MAX_PROFILE_BYTES = 2 << 20
_CACHED = 32
"""Profiles are few in practice, and may be large in malice."""
_TOLERANCE = 2
"""Largest difference, of 255, by which a profile may part from sRGB and still be called that."""
_STEPS = (0, 26, 51, 102, 153, 204, 255)
_GRID = np.array([[(r, g, b) for r in _STEPS for g in _STEPS for b in _STEPS]], np.uint8)


def needs_conversion(profile: bytes | None, channels: int) -> bool:
    """Whether pixels with this profile look otherwise once they are taken for sRGB."""
    return profile is not None and len(profile) <= _MAX_PROFILE_BYTES and _differs(profile, channels)


def to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """`pixels` (grey or RGB) as sRGB; as they are where the profile is not for such pixels."""
    transform = _transform(profile, pixels.shape[2], threading.get_ident())
    if transform is None:
        return pixels
    image = ImageCms.applyTransform(Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]), transform)
    converted = np.asarray(image)
    return converted if pixels.shape[2] == 3 else np.ascontiguousarray(converted[:, :, :1])


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A CMYK image by its profile; by Pillow's plain arithmetic where it has none."""
    transform = None if profile is None else _transform(profile, 4, threading.get_ident())
    return image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform)


@functools.lru_cache(_CACHED)
def _differs(profile: bytes, channels: int) -> bool:
    grid = _GRID if channels == 3 else np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    return int(np.abs(to_srgb(grid, profile).astype(int) - grid).max()) > _TOLERANCE


@functools.lru_cache(_CACHED)
def _transform(profile: bytes, channels: int, thread: int) -> Any:
    """From `profile` to sRGB, for pixels of so many channels; one per thread. None where there can be none."""
    if len(profile) > _MAX_PROFILE_BYTES:
        return None
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.buildTransform(source, _srgb(thread), mode, "RGB", intent)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@functools.lru_cache(_CACHED)
def _srgb(thread: int) -> Any:
    return ImageCms.createProfile("sRGB")
