"""Pictures that move: how many frames there are, and whether all of them can be decoded.

Takes an image opened by `raster.open_image`. Pages of a TIFF and previews of a JPEG are no animation.
"""

from __future__ import annotations

from PIL import Image

from pipeline.ingest.media.jpeg import Damaged
from pipeline.ingest.media.raster import TooManyPixels

EXTENSIONS = {"image/gif": "gif", "image/png": "png", "image/webp": "webp", "image/avif": "avif"}
"""MIME type -> extension of what may move."""


def num_frames(image: Image.Image, mime: str) -> int:
    """Frames as the file announces them; 1 where it does not move. Raises: Damaged: they cannot be counted."""
    if mime not in EXTENSIONS:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:  # decoders raise whatever the damage leads to
        raise Damaged(f"{type(error).__name__}: {error}") from None


def check_frames(image: Image.Image, frames: int, max_pixels: int) -> None:
    """Decode every frame, only to know that it is whole. Raises: Damaged, TooManyPixels: of all frames together."""
    width, height = image.size
    if frames * width * height > max_pixels:
        raise TooManyPixels(f"{frames} frames of {width} x {height}, at most {max_pixels} pixels in all wanted")
    try:
        for frame in range(frames):
            image.seek(frame)
            image.load()
    except Exception as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None
