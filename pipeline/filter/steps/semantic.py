"""Semantic duplicates (SemDeDup): how near each image is to one that would be kept before it, by embeddings.

Takes the embeddings that a scorer has stored. Writes `scores/semantic/00042.parquet`: `cluster`, and `distance` = 1 -
the largest cosine with an image of the cluster that ranks before it (1 for the first). For any eps, the rows that
SemDeDup drops are those with `distance` < eps, so one pass serves every eps: it is a rule, `semantic.distance >= eps`.

    sample of rows --> k-means --> each row to its nearest centroid --> within each cluster: rank, then cosines

Inside a cluster rows rank by their cosine with its centroid, the farthest first (`hard`, as in the paper). A cluster of
more than `cluster_rows` rows is split by k-means of its own, so that comparing all pairs inside never grows with the
square of the data. Equal embeddings become one before they are compared: a picture that lies in the list a million
times costs no more than one. Every sum is exact (spherical.py), so results do not depend on how rows are spread.

Source: Abbas et al. 2023, arXiv:2303.09540, and its code, which drops where the largest cosine exceeds 1 - eps; the
README of the code says the opposite of both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.embeddings import read_embeddings
from pipeline.filter.ranges import ranged
from pipeline.filter.score import Scorer, check_embeds
from pipeline.filter.steps.facts import StepFacts, raw_rows
from pipeline.filter.steps.spherical import exact_cosines, fit, means, nearest_centroid, on_grid
from pipeline.recipe import RecipeTable
from pipeline.shuffle import Gather, Scatter, bucket_bits, read_gathered, shuffle, spread
from pipeline.stage import Part, Workspace

COLUMNS = pa.schema([("cluster", pa.int64()), ranged("distance", pa.float32(), 0, 1)])
"""`cluster` is null, and `distance` 1, where a row was fetched and has no embedding."""
PIECE_BITS = 24
"""A cluster is named (number of the centroid << 24) + number of its piece."""
_BRANCHES = 16
"""The most pieces of one split: a row meets few centroids, however large its cluster. More pieces take more splits."""
_BRANCH_SAMPLE = 64
"""Rows per piece that a split looks at."""
_CROWD = 0.9
"""A split that leaves more of the rows together than this has not parted them, and would go on for ever."""


class SemanticConfig(RecipeTable):
    """The `[score.semantic]` table; needs a scorer that stores embeddings."""

    scorer: str = "clip"
    """The scorer whose embeddings are compared."""
    which: Literal["image", "text"] = "image"
    """Which of its embeddings."""
    clusters: int | None = Field(default=None, ge=1)
    """Centroids of the first k-means; none takes the square root of rows / `cluster_rows`, or what it takes for a
    cluster to fit into a bucket. The paper has 50,000 for 440 million rows."""
    cluster_rows: int = Field(default=1024, ge=2)
    """A cluster with more rows is split; work grows with rows times this."""
    keep: Literal["hard", "easy", "random"] = "hard"
    """Which of two near images ranks first: the one farther from the centroid, the nearer one, or the first by key."""
    rounds: int = Field(default=10, ge=1, le=100)
    """The most rounds of k-means."""
    sample_per_cluster: int = Field(default=256, ge=1)
    """Rows per centroid that the first k-means looks at."""
    bucket_rows: int = Field(default=100_000, ge=1)
    """Embeddings one worker holds at once; 8 bytes for each number of each."""

    def num_clusters(self, rows: int) -> int:
        """Centroids for so many rows."""
        if self.clusters is not None:
            return self.clusters
        return max(1, math.ceil(math.sqrt(rows / self.cluster_rows)), math.ceil(2 * rows / self.bucket_rows))


def check_semantic(config: SemanticConfig, scorers: Mapping[str, Scorer]) -> None:
    """Refuse a recipe without the embeddings. Raises: RecipeError."""
    check_embeds(scorers, config.scorer, config.which, "score.semantic.scorer")


def find_semantic(
    engine: Engine, config: SemanticConfig, fetched: Mapping[str, Commit]
) -> tuple[StepFacts, list[Part]]:
    """Compare over all fetched parts; returns the stage that writes back and its parts, to be run."""
    rows = sum(commit.rows_out for commit in fetched.values())
    num_clusters = config.num_clusters(rows)
    inputs = {part: (("fetch", part), (f"score-{config.scorer}", part)) for part in fetched}
    share = min(1.0, num_clusters * config.sample_per_cluster / max(rows, 1))
    sample = SampleScatter(config, share)
    centroids = Centroids(sample, list(fetched), num_clusters, config.rounds)
    shuffle(engine, sample, [Part(part, refs) for part, refs in inputs.items()], centroids)
    assign = AssignScatter(bucket_bits(rows, config.bucket_rows), config)
    with_centroids = [Part(part, (*refs, (Centroids.name, "00000"))) for part, refs in inputs.items()]
    distances = Distances(assign, list(fetched), config)
    facts = StepFacts("semantic", distances, COLUMNS, {"cluster": None, "distance": 1.0})
    return facts, facts.parts(fetched, shuffle(engine, assign, with_centroids, distances))


class SampleScatter(Scatter):
    """The embeddings of a share of the rows, chosen by a hash of their keys. One bucket."""

    name: ClassVar[str] = "semantic-sample"
    version: ClassVar[int] = 1
    ties: ClassVar[tuple[str, ...]] = ("key", "vector")

    def __init__(self, config: SemanticConfig, share: float) -> None:
        super().__init__(bits=0)
        self.config, self.share = config, share

    def settings(self) -> Any:
        """Whose embeddings, and how many."""
        return {"scorer": self.config.scorer, "which": self.config.which, "share": self.share}

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """order, key and vector."""
        embedded = _embedded(work, part.id, self.config)
        order = np.array([_draw(key) for key in embedded.column("key").to_pylist()], np.uint64)
        embedded = embedded.append_column("order", pa.array(order))
        most = pa.scalar(min(int(self.share * 2**64), 2**64 - 1), pa.uint64())
        return embedded.filter(pc.less_equal(embedded.column("order"), most)).select(["order", "key", "vector"])


class Centroids(Gather):
    """k-means of the sample, whose order is a fair draw: its first rows are the seeds."""

    name: ClassVar[str] = "semantic-centroids"
    version: ClassVar[int] = 1

    def __init__(self, scatter: SampleScatter, parts: Sequence[str], num_clusters: int, rounds: int) -> None:
        super().__init__(scatter, parts)
        self.num_clusters, self.rounds = num_clusters, rounds

    def settings(self) -> Any:
        """How many, and how long."""
        return {"num_clusters": self.num_clusters, "rounds": self.rounds}

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """The centroids, float16, which holds what lies on the grid exactly."""
        vectors = on_grid(_matrix(table.column("vector")))
        centroids = fit(vectors, self.num_clusters, self.rounds) if len(vectors) else vectors
        return pa.table({"vector": _binary(centroids.astype(np.float16))}), {"clusters": len(centroids)}


class AssignScatter(Scatter):
    """Sends each embedding to its nearest centroid."""

    name: ClassVar[str] = "semantic-assign"
    version: ClassVar[int] = 1
    ties: ClassVar[tuple[str, ...]] = ("key", "vector")

    def __init__(self, bits: int, config: SemanticConfig) -> None:
        super().__init__(bits)
        self.config = config

    def settings(self) -> Any:
        """Whose embeddings; the centroids are inputs."""
        return {"bits": self.bits, "scorer": self.config.scorer, "which": self.config.which}

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """The embeddings with their rows and the numbers of their centroids."""
        centroids = _matrix(read_gathered(work.dataset, Centroids.name, "00000").column("vector")).astype(np.float32)
        embedded = _embedded(work, part.id, self.config)
        cluster = np.zeros(embedded.num_rows, np.int64)
        if embedded.num_rows and len(centroids):
            cluster, _ = nearest_centroid(on_grid(_matrix(embedded.column("vector"))), centroids)
        embedded = embedded.append_column("cluster", pa.array(cluster))
        return embedded.append_column("order", pa.array(spread(cluster.astype(np.uint64))))


class Distances(Gather):
    """Ranks and compares the rows of each cluster."""

    name: ClassVar[str] = "semantic-distances"
    version: ClassVar[int] = 2
    by_part: ClassVar[bool] = True

    def __init__(self, scatter: AssignScatter, parts: Sequence[str], config: SemanticConfig) -> None:
        super().__init__(scatter, parts)
        self.config = config

    def settings(self) -> Any:
        """How clusters are split, and which row ranks first."""
        return {name: getattr(self.config, name) for name in ("cluster_rows", "keep", "rounds")}

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """part, row, cluster and distance."""
        table = table.sort_by([(name, "ascending") for name in ("cluster", "key", "vector", "part", "row")])
        vectors, cluster = _matrix(table.column("vector")), table.column("cluster").to_numpy()
        distance, name = np.ones(len(cluster), np.float32), np.zeros(len(cluster), np.int64)
        starts = np.flatnonzero(np.append(True, cluster[1:] != cluster[:-1])[: len(cluster)])
        for start, end in pairwise([*starts.tolist(), len(cluster)]):
            of_cluster, piece = cluster_distances(vectors[start:end], self.config)
            distance[start:end] = of_cluster
            name[start:end] = (cluster[start] << PIECE_BITS) + piece
        columns = {"cluster": pa.array(name), "distance": pa.array(distance)}
        return pa.table({"part": table.column("part"), "row": table.column("row"), **columns}), {}


def cluster_distances(vectors: np.ndarray, config: SemanticConfig) -> tuple[np.ndarray, np.ndarray]:
    """distance (float32) and number of the piece of each row of one cluster; float16 rows sorted by key."""
    as_bytes = np.ascontiguousarray(vectors).view(np.dtype((np.void, vectors.shape[1] * 2)))[:, 0]
    _, first, of = np.unique(as_bytes, return_index=True, return_inverse=True)
    by_key = np.argsort(first)  # distinct embeddings in the order of the first keys that have them
    first, place = first[by_key], np.empty(len(first), np.int64)
    place[by_key] = np.arange(len(first))
    of = place[of]
    kept = vectors[first]
    distance, piece = np.ones(len(kept), np.float32), np.zeros(len(kept), np.int64)
    for number, rows in enumerate(pieces(on_grid(kept), np.arange(len(kept)), config)):
        ranked = rows[_ranking(on_grid(kept[rows]), config.keep)]
        distance[ranked] = distances_to_earlier(kept[ranked])
        piece[rows] = number
    found = distance[of]
    repeats = np.ones(len(vectors), bool)
    repeats[first] = False
    found[repeats] = 0
    return found, piece[of]


def distances_to_earlier(ranked: np.ndarray) -> np.ndarray:
    """1 - the largest cosine of each row with one before it, at least 0 and at most 1; float16 rows, all pairs."""
    largest = np.zeros(len(ranked))
    if len(ranked) > 1:
        largest[1:] = np.triu(exact_cosines(ranked, ranked), 1).max(axis=0)[1:]  # never below 0, as in the paper's code
    return (1 - largest).clip(0, 1).astype(np.float32)


def pieces(vectors: np.ndarray, rows: np.ndarray, config: SemanticConfig) -> Iterator[np.ndarray]:
    """`rows` in pieces of at most `cluster_rows`, by k-means inside; a crowd that stays together is cut as it lies."""
    if len(rows) <= config.cluster_rows:
        yield rows
        return
    wanted = math.ceil(2 * len(rows) / config.cluster_rows)
    count = next(count for count in range(2, wanted + 2) if count ** math.ceil(math.log(wanted, _BRANCHES)) >= wanted)
    drawn = vectors[rows[: count * min(config.sample_per_cluster, _BRANCH_SAMPLE)]]
    centroids = fit(drawn, count, config.rounds)
    best, _ = nearest_centroid(vectors[rows], centroids)
    used, sizes = np.unique(best, return_counts=True)
    if sizes.max() > _CROWD * len(rows):
        for start in range(0, len(rows), config.cluster_rows):
            yield rows[start : start + config.cluster_rows]
        return
    for number in used.tolist():
        yield from pieces(vectors, rows[best == number], config)


def _ranking(vectors: np.ndarray, keep: str) -> np.ndarray:
    """The order in which rows rank, of rows sorted by key, which also settles ties."""
    if keep == "random":
        return np.arange(len(vectors))
    nowhere = np.zeros((1, vectors.shape[1]), np.float32)
    centroid = means(vectors, np.zeros(len(vectors), np.int64), nowhere)
    cosine = (vectors @ centroid.T)[:, 0]
    return np.argsort(cosine if keep == "hard" else -cosine, kind="stable")


def _embedded(work: Workspace, part: str, config: SemanticConfig) -> pa.Table:
    """key, part, row and vector of the rows of a raw part that were fetched and embedded."""
    raw = raw_rows(work.dataset, part)
    vectors = read_embeddings(work.dataset, config.scorer, part, config.which)
    at = np.flatnonzero(raw.column("fetched").to_numpy() & ~np.isnan(vectors[:, 0]))
    return pa.table(
        {
            "key": raw.column("key").take(at),
            "part": pa.array(np.full(len(at), part), pa.string()),
            "row": pa.array(at),
            "vector": _binary(vectors[at]),
        }
    )


def _binary(vectors: np.ndarray) -> pa.Array:
    """float16 rows as a column of bytes."""
    size = vectors.shape[1] * 2
    data = pa.py_buffer(np.ascontiguousarray(vectors, np.float16))
    return pa.Array.from_buffers(pa.binary(size), len(vectors), [None, data])


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """What `_binary` made a column of."""
    found = [
        np.frombuffer(chunk.buffers()[1], np.float16).reshape(-1, chunk.type.byte_width // 2)[
            chunk.offset : chunk.offset + len(chunk)
        ]
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros((0, column.type.byte_width // 2), np.float16), *found])


def _draw(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"semantic").digest(), "big")
