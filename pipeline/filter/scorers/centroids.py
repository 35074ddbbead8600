"""The nearest of given centroids by stored image embeddings: DataComp's image-based filtering, or clusters of your own.

    [score.centroids]
    centroids = "centroids.npy"      # float [K, D], such as DataComp's 100,000 of its pool
    targets = "targets.npy"          # integer numbers of the wanted ones, such as those nearest to ImageNet-1K
    embeddings = "clip_l14"          # a model of [score.models], or clip

Writes nearest (its number), similarity (the dot product that decided, as DataComp's baselines take it) and is_target.
Costs no decoding. Source: Gadre et al. 2023, arXiv:2304.14108, section 3.2, and image_based_clustering.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import RecipeError
from pipeline.filter.embeddings import as_matrix
from pipeline.filter.models.checkpoint import Checkpoint, encoder_of
from pipeline.filter.named_file import content_sha256
from pipeline.filter.score import Scorer
from pipeline.recipe import RecipeTable

_BLOCK_VALUES = 1 << 24
"""Dot products at once: 64 MB."""


class CentroidsScoreConfig(RecipeTable):
    """The `[score.centroids]` table."""

    centroids: str
    """A .npy file of K centroids in D dimensions, on a path that every worker sees."""
    targets: str
    """A .npy file of the numbers of the wanted centroids."""
    embeddings: str = "clip"
    """The scorer whose image embeddings it takes: `clip`, or a name under `[score.models]`."""


class CentroidsScore(Scorer):
    """nearest, similarity, is_target; null where nothing was embedded."""

    version = 1
    name = "centroids"
    writes = pa.schema([("nearest", pa.int32()), ("similarity", pa.float32()), ("is_target", pa.bool_())])

    def __init__(self, config: CentroidsScoreConfig, encoders: Mapping[str, Checkpoint]) -> None:
        """`encoders` are the checkpoints of the recipe's models, by the name of their scorer."""
        self.config = config
        self.encoders = dict(encoders)
        self.paths = os.path.abspath(config.centroids), os.path.abspath(config.targets)
        self.reads = (f"{config.embeddings}.image",)

    def settings(self) -> Any:
        """The bytes of the files and not their place."""
        self.check()
        return [*(content_sha256(Path(path)) for path in self.paths), self.config.embeddings]

    def check(self) -> None:
        """Refuse files that are none, or do not fit the embeddings or each other. Raises: RecipeError."""
        encoder = encoder_of(self.encoders, self.config.embeddings, "score.centroids.embeddings")
        centroids, targets = _load(self.paths[0], "centroids"), _load(self.paths[1], "targets")
        if centroids.ndim != 2 or centroids.dtype.kind != "f":
            raise RecipeError(_told("centroids", self.config.centroids, centroids, "floats of two dimensions, [K, D]"))
        if centroids.shape[1] != encoder.width:
            wanted = f"[K, {encoder.width}], the width of {self.config.embeddings}"
            raise RecipeError(_told("centroids", self.config.centroids, centroids, wanted))
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise RecipeError(_told("targets", self.config.targets, targets, "integers of one dimension"))
        if len(targets) == 0 or targets.min() < 0 or targets.max() >= len(centroids):
            wanted = f"numbers from 0 to {len(centroids) - 1}, one or more"
            raise RecipeError(_told("targets", self.config.targets, targets, wanted))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rows in blocks, so that the table of dot products stays small; the files are mapped, not read."""
        centroids = _load(self.paths[0], "centroids").astype(np.float32, copy=False)
        is_target = np.zeros(len(centroids), bool)
        is_target[_load(self.paths[1], "targets")] = True
        rows = as_matrix(table.column(0)).astype(np.float32)
        best, similarity = np.zeros(len(rows), np.int32), np.full(len(rows), np.nan, np.float32)
        block = max(1, _BLOCK_VALUES // len(centroids))
        for start in range(0, len(rows), block):
            found = rows[start : start + block] @ centroids.T
            best[start : start + block] = found.argmax(axis=1)
            similarity[start : start + block] = found.max(axis=1)
        none = ~np.isfinite(similarity)
        columns = (best, similarity, is_target[best])
        return pa.table([pa.array(values, mask=none) for values in columns], schema=self.writes)


def _load(path: str, setting: str) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RecipeError(f"score.centroids.{setting} is {path!r}: {error}. Name a .npy file.") from None
    if not isinstance(found, np.ndarray):
        raise RecipeError(f"score.centroids.{setting} is {path!r}: an archive. Name a .npy file.")
    return found


def _told(setting: str, path: str, found: np.ndarray, wanted: str) -> str:
    return f"score.centroids.{setting} is {path!r}: holds {found.dtype} {list(found.shape)}; wanted {wanted}."
