"""Facts about a medium's size as it was received, from the record alone: no pixel is read."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filter.ranges import ranged
from pipeline.filter.score import Scorer
from pipeline.recipe import RecipeTable


class ImageScoreConfig(RecipeTable):
    """The `[score.image]` table."""


class ImageScore(Scorer):
    """min_side_px, max_side_px, aspect (larger side over smaller, >= 1), body_bytes: all of the original."""

    name: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("original_width", "original_height", "bytes")
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ranged("min_side_px", pa.int32(), 0),
            ranged("max_side_px", pa.int32(), 0),
            ranged("aspect", pa.float32(), 1),
            ranged("body_bytes", pa.int64(), 0),
        ]
    )

    def __init__(self, config: ImageScoreConfig) -> None:
        self.config = config

    def __call__(self, table: pa.Table) -> pa.Table:
        """Sizes are arithmetic on columns."""
        width, height = table.column("original_width"), table.column("original_height")
        small, large = pc.min_element_wise(width, height), pc.max_element_wise(width, height)
        aspect = pc.divide(large.cast(pa.float64()), small.cast(pa.float64()))
        return pa.table(
            {"min_side_px": small, "max_side_px": large, "aspect": aspect, "body_bytes": table.column("bytes")}
        )
