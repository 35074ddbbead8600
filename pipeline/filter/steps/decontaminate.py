"""How near each image is to the evaluation sets that the recipe names, by perceptual hash and by embedding.

Takes the hashes of the scorer `phash`, and the embeddings of `scorer` where one is named. Writes
`scores/decontaminate/00042.parquet`, facts from which a rule draws its line, say `decontaminate.phash_distance > 6`:

    phash_distance       bits in which the hash differs from that of the nearest image of any set
    nearest              that image, as <set>/<name>; of several, the first
    nearest_similarity   largest cosine with an image of any set; only with `scorer`
    most_similar         that image; only with `scorer`

Every image is compared with every image of the sets: exact, and linear in the dataset. What cannot be compared, since
it is all but flat, cannot be decoded, or is no image, is far from all: distance 64, similarity -1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.embeddings import read_embeddings, read_npy
from pipeline.filter.ranges import ranged
from pipeline.filter.score import Scorer, check_embeds
from pipeline.filter.steps.evals import EvalSet, HashEvals, check_eval_set, read_evals
from pipeline.filter.steps.facts import raw_rows
from pipeline.filter.steps.hamming import BITS
from pipeline.filter.steps.spherical import exact_cosines
from pipeline.recipe import RecipeTable
from pipeline.shuffle import local_parquet, read_parquet
from pipeline.stage import Made, Part, Stage, Workspace

NEEDS = "phash"
"""The scorer whose hashes are compared."""
_BY_HASH = (ranged("phash_distance", pa.int32(), 0, BITS), pa.field("nearest", pa.string()))
_BY_EMBEDDING = (ranged("nearest_similarity", pa.float32(), -1, 1), pa.field("most_similar", pa.string()))
_BLOCK_PAIRS = 1 << 22


class DecontaminateConfig(RecipeTable):
    """The `[score.decontaminate]` table; needs `[score.phash]`."""

    sets: tuple[EvalSet, ...] = Field(min_length=1)
    """The evaluation sets."""
    scorer: str | None = None
    """A scorer that stores image embeddings, by which images are compared too; it embeds the sets as well."""
    min_contrast: float = Field(default=4.0, ge=0, le=127.5)
    """Images whose `phash.contrast` is lower are not compared by hash, in the dataset and in the sets."""

    @model_validator(mode="after")
    def _distinct(self) -> DecontaminateConfig:
        names = [config.name for config in self.sets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sets have the name {twice[0]!r}; give each its own")
        return self

    @property
    def writes(self) -> pa.Schema:
        """The columns that these settings give."""
        return pa.schema([*_BY_HASH, *(_BY_EMBEDDING if self.scorer is not None else ())])


def check_decontaminate(config: DecontaminateConfig, scorers: Mapping[str, Scorer]) -> None:
    """Refuse folders without images, and a scorer without embeddings. Raises: RecipeError."""
    for eval_set in config.sets:
        check_eval_set(eval_set)
    if config.scorer is not None:
        check_embeds(scorers, config.scorer, "image", "score.decontaminate.scorer")


def decontaminate(
    engine: Engine, config: DecontaminateConfig, fetched: Mapping[str, Commit], scorers: Mapping[str, Scorer]
) -> tuple[Decontaminate, list[Part]]:
    """Hash the sets; returns the stage that compares each part with them and its parts, to be run."""
    scorer = None if config.scorer is None else scorers[config.scorer]
    evals = HashEvals(config.sets, scorer, has_gpu=engine.has_gpu())
    hashed = engine.run(evals, evals.parts())
    engine.prune(evals.name, hashed)
    stages = [NEEDS] if config.scorer is None else [NEEDS, config.scorer]
    shared = tuple((evals.name, name) for name in hashed)
    parts = [
        Part(part, (("fetch", part), *((f"score-{stage}", part) for stage in stages), *shared)) for part in fetched
    ]
    return Decontaminate(config), parts


class Decontaminate(Stage):
    """Compares a raw part with all sets. Part: id = raw part, inputs = its fetch and scores, and the sets."""

    name: ClassVar[str] = "score-decontaminate"
    version: ClassVar[int] = 1

    def __init__(self, config: DecontaminateConfig) -> None:
        self.config = config

    def settings(self) -> Any:
        """What is compared; the folders' contents are inputs, and their places do not matter."""
        names = [config.name for config in self.config.sets]
        return {"sets": names, "scorer": self.config.scorer, "min_contrast": self.config.min_contrast}

    def make(self, part: Part, work: Workspace) -> Made:
        """The facts of one part; nulls where nothing was fetched."""
        raw = raw_rows(work.dataset, part.id)
        fetched = raw.column("fetched")
        sets = {config.name: read_evals(work, config.name) for config in self.config.sets}
        names = [f"{name}/{image}" for name, table in sets.items() for image in table.column("name").to_pylist()]
        columns = self._by_hash(part, work, pa.concat_tables(sets.values()), names)
        if self.config.scorer is not None:
            columns |= self._by_embedding(part, work, fetched.to_numpy(), names)
        table = {name: pc.if_else(fetched, columns[name], None) for name in self.config.writes.names}
        local = local_parquet(work.scratch, "scores.parquet", pa.table({"key": raw.column("key"), **table}))
        return Made({f"scores/decontaminate/{part.id}.parquet": local}, raw.num_rows, raw.num_rows)

    def _by_hash(self, part: Part, work: Workspace, evals: pa.Table, names: Sequence[str]) -> dict[str, pa.Array]:
        score = read_parquet(work.dataset, f"scores/{NEEDS}/{part.id}.parquet", ["hash", "contrast"])
        rows, images = self._compared(score), self._compared(evals)
        hashes = [table.column("hash").take(at).to_numpy() for table, at in ((score, rows), (evals, images))]
        distance, place = nearest_hashes(*hashes)
        distances = np.full(score.num_rows, BITS, np.int32)
        distances[rows] = distance
        return {"phash_distance": pa.array(distances), "nearest": _named(score.num_rows, rows, names, images, place)}

    def _by_embedding(
        self, part: Part, work: Workspace, fetched: np.ndarray, names: Sequence[str]
    ) -> dict[str, pa.Array]:
        vectors = read_embeddings(work.dataset, str(self.config.scorer), part.id, "image")
        evals = np.concatenate(
            [read_npy(work.dataset, f"evals/{config.name}.image.npy") for config in self.config.sets]
        )
        rows, images = (np.flatnonzero(~np.isnan(matrix[:, 0])) for matrix in (vectors, evals))
        rows = rows[fetched[rows]]
        cosine, place = nearest_vectors(vectors[rows], evals[images])
        cosines = np.full(len(vectors), -1, np.float32)
        cosines[rows] = cosine
        return {
            "nearest_similarity": pa.array(cosines),
            "most_similar": _named(len(vectors), rows, names, images, place),
        }

    def _compared(self, table: pa.Table) -> np.ndarray:
        enough = pc.greater_equal(table.column("contrast"), self.config.min_contrast)
        return np.flatnonzero(pc.fill_null(enough, False).to_numpy())


def nearest_hashes(hashes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each hash to the nearest of `others`, 64 where there are none, and its place, the first of equals."""
    distance, place = np.full(len(hashes), BITS, np.int32), np.zeros(len(hashes), np.int64)
    if len(others):
        for start, end in _blocks(len(hashes), len(others)):
            apart = np.bitwise_count(hashes[start:end, None] ^ others[None, :])
            place[start:end] = apart.argmin(axis=1)
            distance[start:end] = apart.min(axis=1)
    return distance, place


def nearest_vectors(vectors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of each row with the nearest of `others`, -1 where there are none, and its place, the first of several."""
    cosine, place = np.full(len(vectors), -1, np.float64), np.zeros(len(vectors), np.int64)
    if len(others):
        for start, end in _blocks(len(vectors), len(others)):
            near = exact_cosines(vectors[start:end], others)
            place[start:end] = near.argmax(axis=1)
            cosine[start:end] = near.max(axis=1)
    return cosine.clip(-1, 1).astype(np.float32), place


def _blocks(rows: int, columns: int) -> list[tuple[int, int]]:
    step = max(1, _BLOCK_PAIRS // columns)
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def _named(num_rows: int, rows: np.ndarray, names: Sequence[str], images: np.ndarray, place: np.ndarray) -> pa.Array:
    """The names of the images at `images[place]` on the rows `rows`, null elsewhere and where there are no images."""
    found = np.full(num_rows, None, object)
    if len(images):
        found[rows] = np.asarray(names, object)[images[place]]
    return pa.array(found, pa.string())
