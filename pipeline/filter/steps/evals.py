"""Evaluation sets a dataset must not overlap with: folders of images, hashed and embedded once.

Takes a folder, local or in a store, with images at any depth. Gives a part per set: `evals/<name>.parquet` with the
name, perceptual hash and contrast of each image, and `evals/<name>.image.npy` with their embeddings where a scorer is
asked for them. What makes a part anew is the content of the folder, not its place: its digest is part of the plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.errors import RecipeError
from pipeline.filter.embeddings import NpyRows
from pipeline.filter.score import Scorer, ScoreStage, embeddings_of
from pipeline.filter.scorers.phash import PhashScore, PhashScoreConfig
from pipeline.recipe import RecipeTable
from pipeline.record import FETCHED
from pipeline.shuffle import local_parquet, read_parquet
from pipeline.stage import Made, Part, Resources, Stage, Workspace
from pipeline.store import Store

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""Files that are taken for images."""
_BATCH = 64


class EvalSet(RecipeTable):
    """One table of `[[score.decontaminate.sets]]`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """What it is called in `decontaminate.nearest`."""
    folder: str
    """Folder with its images, at any depth: a path that every worker sees, or a store URL."""


def check_eval_set(config: EvalSet) -> None:
    """Refuse a folder without images. Raises: RecipeError."""
    if next(image_names(Store(config.folder)), None) is None:
        raise RecipeError(
            f"score.decontaminate.sets: {config.name!r} is the folder {config.folder}, which is not there, or holds no "
            f"images ({', '.join(SUFFIXES)}). Name the folder with the images of the evaluation set."
        )


def image_names(folder: Store, below: str = "") -> Iterator[str]:
    """Names of the images in a folder and below it, those of a folder before those of the folders in it."""
    prefix = f"{below}/" if below else ""
    yield from (prefix + name for name in folder.list(below) if name.lower().endswith(SUFFIXES))
    for inner in folder.folders(below):
        yield from image_names(folder, prefix + inner)


def folder_digest(folder: Store) -> str:
    """Hash of the names and contents of the images in a folder; reads all of them."""

    def stamp(name: str) -> str:
        return f"{name}\0{hashlib.sha256(folder.read_bytes(name)).hexdigest()}"

    with ThreadPoolExecutor(8) as pool:
        stamps = list(pool.map(stamp, sorted(image_names(folder))))
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogatepass")).hexdigest()


class HashEvals(Stage):
    """Hashes, and embeds where there is a scorer, the images of each set. Part: id = name of the set."""

    name: ClassVar[str] = "decontaminate-evals"
    version: ClassVar[int] = 1

    def __init__(self, sets: Sequence[EvalSet], scorer: Scorer | None, *, has_gpu: bool) -> None:
        self.folders = {config.name: config.folder for config in sets}
        self.hasher = PhashScore(PhashScoreConfig())
        self.scorer = scorer
        self.resources = Resources() if scorer is None else ScoreStage(scorer, has_gpu=has_gpu).resources

    def parts(self) -> list[Part]:
        """A part per set; reads every image, for its digest."""
        return [Part(name, (), {"digest": folder_digest(Store(folder))}) for name, folder in self.folders.items()]

    def settings(self) -> Any:
        """How images are hashed and embedded; where they lie is not among it."""
        return [
            None if scorer is None else [scorer.name, scorer.version, ScoreStage(scorer).settings()]
            for scorer in (self.hasher, self.scorer)
        ]

    def setup(self) -> None:
        """Load the model of the embeddings."""
        if self.scorer is not None:
            self.scorer.setup()

    def make(self, part: Part, work: Workspace) -> Made:
        """Names sorted; null hashes, and NaN, where an image cannot be decoded."""
        folder = Store(self.folders[part.id])
        names = sorted(image_names(folder))
        found = [self.hasher.writes.empty_table()]
        files, npy = {}, None
        if self.scorer is not None:
            local = work.scratch / "image.npy"
            npy = NpyRows(local, len(names), self.scorer.embeds["image"])  # type: ignore[attr-defined]
            files[f"evals/{part.id}.image.npy"] = local
        for start in range(0, len(names), _BATCH):
            table = _as_fetched([folder.read_bytes(name) for name in names[start : start + _BATCH]])
            found.append(self.hasher(table))
            if npy is not None and self.scorer is not None:
                npy.put(np.arange(start, start + table.num_rows), embeddings_of(self.scorer, table, "image"))
        if npy is not None:
            npy.close()
        table = pa.concat_tables(found).add_column(0, "name", pa.array(names, pa.string()))
        files[f"evals/{part.id}.parquet"] = local_parquet(work.scratch, "evals.parquet", table)
        undecodable = table.column("hash").null_count
        return Made(files, len(names), len(names) - undecodable, {"undecodable": undecodable})


def read_evals(work: Workspace, name: str) -> pa.Table:
    """name, hash and contrast of the images of one set."""
    return read_parquet(work.dataset, f"evals/{name}.parquet")


def _as_fetched(bodies: list[bytes]) -> pa.Table:
    """Bodies as a scorer of media is given them: all else that a record has is null."""
    columns = {field.name: pa.nulls(len(bodies), field.type) for field in FETCHED}
    columns["medium"] = pa.array(["image"] * len(bodies))
    columns["media"] = pa.array(bodies, pa.binary())
    return pa.table(columns)
