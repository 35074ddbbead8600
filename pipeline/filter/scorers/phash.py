"""A 64-bit perceptual hash of each image: alike images have hashes that differ in few bits.

The hash is imagehash's `phash`: grey, 32 x 32 by Lanczos, the 8 x 8 lowest frequencies of its cosine transform, each
bit whether one is above the median of all 64. The first bit is the highest. Cosines are rounded to whole numbers of
2^-17, so that every sum is exact in float64: the hash of given pixels is the same on every machine, and what is flat
has coefficients of exactly 0. About half of the bits are set, so distances are even but for ties.

JPEGs go straight from coefficients to the 32 x 32 plane of luma by pairmill's own decoder; others are decoded whole.

Source: hackerfactor.com, Looks Like It (2011), as in imagehash 4.3.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.filter.decode import Undecodable, native_planes, rgb
from pipeline.filter.ranges import ranged
from pipeline.filter.score import Scorer
from pipeline.jpeg import native
from pipeline.recipe import RecipeTable

SIDE = 32
LOW = 8
_COSINE_BITS = 17
"""255 * 32 * 32 * 2^(2 * 17) < 2^53: products and sums of the transform stay whole numbers that float64 holds."""
_COSINES = np.rint(
    np.cos(np.pi * np.arange(LOW)[:, None] * (2 * np.arange(SIDE) + 1) / (2 * SIDE)) * 2**_COSINE_BITS
).astype(np.float64)


class PhashScoreConfig(RecipeTable):
    """The `[score.phash]` table."""


class PhashScore(Scorer):
    """hash (64 bits), contrast (standard deviation of the 32 x 32 luma, 0 to 127.5: near 0 the hash says nothing)."""

    name: ClassVar[str] = "phash"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("medium", "media")
    writes: ClassVar[pa.Schema] = pa.schema([("hash", pa.uint64()), ranged("contrast", pa.float32(), 0, 127.5)])

    def __init__(self, config: PhashScoreConfig) -> None:
        self.config = config

    def settings(self) -> Any:
        """The two decoders differ in last bits, so hashes from one are made again for the other."""
        return {**self.config.model_dump(mode="json"), "native": native.is_built()}

    def __call__(self, table: pa.Table) -> pa.Table:
        """Nulls where the medium is no image, or cannot be decoded."""
        planes: list[np.ndarray] = []
        missing = np.ones(table.num_rows, bool)
        for row, (medium, media) in enumerate(
            zip(table.column("medium").to_pylist(), table.column("media"), strict=True)
        ):
            if medium != "image":
                continue
            try:
                planes.append(grey_plane(media.as_py()))
            except Undecodable:
                continue
            missing[row] = False
        hashes, contrast = np.zeros(len(missing), np.uint64), np.zeros(len(missing), np.float32)
        if planes:
            hashes[~missing], contrast[~missing] = hashes_of(np.stack(planes))
        columns = [pa.array(hashes, mask=missing), pa.array(contrast, mask=missing)]
        return pa.Table.from_arrays(columns, schema=self.writes)


def grey_plane(body: bytes) -> np.ndarray:
    """The image as uint8 [32, 32] of luma. Raises: Undecodable."""
    planes = native_planes(body, lambda width, height: (SIDE, SIDE))
    return shrunk(Image.fromarray(rgb(body))) if planes is None else planes.luma


def shrunk(image: Image.Image) -> np.ndarray:
    """Decoded pixels as uint8 [32, 32] of luma."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def hashes_of(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hash (uint64) and contrast (float32) of each plane of [N, 32, 32]."""
    exact = planes.astype(np.float64)
    low = (_COSINES @ exact @ _COSINES.T).reshape(len(planes), LOW * LOW)
    bits = low > np.median(low, axis=1, keepdims=True)
    hashes = np.packbits(bits, axis=1).view(">u8").astype(np.uint64)[:, 0]
    return hashes, exact.std(axis=(1, 2)).astype(np.float32)
