"""Facts about an image's pixels that need no model: how sharp, varied, bright and colourful it is, and if it moves.

All of them are of the stored image brought down to `longest_px` (never up), so that images of other sizes compare.
Luma is Y of YCbCr (BT.601, full range). Definitions:

    entropy          of the 256 values of luma, bits, 0 to 8
    sharpness        variance of the 3 x 3 Laplacian of luma (Pech-Pacheco et al. 2000); blurred photos have low ones
    brightness       mean of luma / 255
    contrast         standard deviation of luma / 255, 0 to 0.5
    saturation       mean of (max - min) / max over R, G and B, at half the size; HSV's S, 0 to 1
    top_color_share  share of pixels, at half the size, that have the most frequent of 16 x 16 x 16 colours of YCbCr
    is_solid         no channel's standard deviation reaches 2 of 255: one colour, with what JPEG adds to it
    num_frames       frames of the stored file; above 1 it is animated
"""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.filter.decode import Undecodable, num_frames, small_planes
from pipeline.filter.ranges import ranged
from pipeline.jpeg import native
from pipeline.jpeg.native import Planes
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources

SOLID_STD = 2.0
"""Of 255; JPEG at quality 75 leaves less than 1 on a drawn solid."""


class PixelsScoreConfig(RecipeTable):
    """The `[score.pixels]` table."""

    longest_px: int = Field(default=160, ge=16, le=4096)
    """Longer side of the image that is looked at. A larger one sees finer blur and costs more."""


class PixelsScore:
    """entropy, sharpness, brightness, contrast, saturation, top_color_share, is_solid, num_frames."""

    name: ClassVar[str] = "pixels"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("medium", "media")
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ranged("entropy", pa.float32(), 0, 8),
            ranged("sharpness", pa.float32(), 0),
            ranged("brightness", pa.float32(), 0, 1),
            ranged("contrast", pa.float32(), 0, 0.5),
            ranged("saturation", pa.float32(), 0, 1),
            ranged("top_color_share", pa.float32(), 0, 1),
            ("is_solid", pa.bool_()),
            ranged("num_frames", pa.int32(), 1),
        ]
    )
    resources: ClassVar[Resources] = Resources(cpus=1)

    def __init__(self, config: PixelsScoreConfig) -> None:
        self.config = config

    def settings(self) -> Any:
        """The two decoders differ in last bits, so facts from one are made again for the other."""
        return {**self.config.model_dump(mode="json"), "native": native.is_built()}

    def setup(self) -> None:
        """OpenCV's own threads would fight those of the engine."""
        cv2.setNumThreads(0)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Nulls where the medium is no image, or cannot be decoded."""
        rows = zip(table.column("medium").to_pylist(), table.column("media"), strict=True)
        found = [self._of(media.as_py()) if medium == "image" else {} for medium, media in rows]
        return pa.Table.from_pylist(found, schema=self.writes)

    def _of(self, body: bytes) -> dict[str, Any]:
        try:
            return facts(small_planes(body, self.config.longest_px)) | {"num_frames": num_frames(body)}
        except Undecodable:
            return {}


def facts(planes: Planes) -> dict[str, Any]:
    """The facts of one small image, but for its frames."""
    luma = np.ascontiguousarray(planes.luma)
    share = cv2.calcHist([luma], [0], None, [256], [0, 256])[:, 0].astype(np.float64) / luma.size
    mean, std = _moments(share)
    edges = cv2.Laplacian(luma, cv2.CV_16S, ksize=1)
    _, edge_std = cv2.meanStdDev(edges)
    color = _color(luma, planes)
    return {
        "entropy": -float(np.sum(share * np.log2(share, out=np.zeros(256), where=share > 0))),
        "sharpness": float(edge_std[0, 0]) ** 2,
        "brightness": mean / 255,
        "contrast": std / 255,
        "saturation": color["saturation"],
        "top_color_share": color["top_color_share"],
        "is_solid": max(std, color["chroma_std"]) < SOLID_STD,
    }


def _color(luma: np.ndarray, planes: Planes) -> dict[str, float]:
    """What needs luma and chroma side by side, at the size of chroma."""
    size = ((luma.shape[1] + 1) // 2, (luma.shape[0] + 1) // 2)
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    if planes.blue is None or planes.red is None:
        counts = cv2.calcHist([small], [0], None, [16], [0, 256])
        return {"saturation": 0.0, "chroma_std": 0.0, "top_color_share": float(counts.max() / small.size)}
    stacked = cv2.merge((small, planes.red, planes.blue))
    _, std = cv2.meanStdDev(stacked)
    saturation = cv2.cvtColor(cv2.cvtColor(stacked, cv2.COLOR_YCrCb2RGB), cv2.COLOR_RGB2HSV_FULL)[..., 1]
    counts = cv2.calcHist([stacked], [0, 1, 2], None, [16, 16, 16], [0, 256] * 3)
    return {
        "saturation": cv2.mean(saturation)[0] / 255,
        "chroma_std": float(std[1:].max()),
        "top_color_share": float(counts.max() / small.size),
    }


def _moments(share: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a histogram over 0..255."""
    values = np.arange(256)
    mean = float(share @ values)
    return mean, float(np.sqrt(max(0.0, float(share @ values**2) - mean**2)))
