"""Images that look alike, over the whole dataset: perceptual hashes within a radius of bits, and what hangs together.

Takes the hashes that the scorer `phash` has written. Writes `scores/near_duplicates/00042.parquet`: `cluster`,
`copies` and `rank`, 0 for the image to keep (clusters.py).

    scores/phash --RowScatter--> DistinctHashes --HashScatter--> NearHashes --> components --> clusters

Equal hashes become one before anything is compared, so a picture that lies in the list a million times costs no more
than one. Images without contrast have hashes that say nothing of them: they are not compared at all. Clusters are
connected components: a chain of images, each within the radius of the next, is one cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.steps.clusters import cluster_rows, node_rows
from pipeline.filter.steps.components import EDGES, find_components
from pipeline.filter.steps.facts import StepFacts
from pipeline.filter.steps.hamming import MAX_RADIUS, Banding, choose_banding, near_links
from pipeline.recipe import RecipeTable
from pipeline.shuffle import BUCKET_ROWS, Gather, Scatter, bucket_bits, read_gathered, read_parquet, shuffle, spread
from pipeline.stage import Part, Workspace

NEEDS = "phash"
"""The scorer whose hashes are compared."""


class NearDuplicatesConfig(RecipeTable):
    """The `[score.near_duplicates]` table; needs `[score.phash]`."""

    radius: int = Field(default=4, ge=0, le=MAX_RADIUS)
    """Bits in which two hashes may differ, of 64. Hashes nearly always differ in an even number. What each radius finds
    and what it confuses is in docs/filter-duplicates.md; every two bits more cost three times the work."""
    keep: Literal["largest", "first"] = "largest"
    """Which image of a cluster has rank 0: the one with the most pixels as received, then the most bytes; or the first
    by key, a hash. Ties go by key."""
    min_contrast: float = Field(default=4.0, ge=0, le=127.5)
    """Images whose `phash.contrast` is lower are not compared: next to nothing but noise decides their hash."""
    bucket_rows: int = Field(default=BUCKET_ROWS, ge=1)
    """Rows one worker compares at once; memory is about 300 bytes each. Never changes the result."""


def find_near_duplicates(
    engine: Engine, config: NearDuplicatesConfig, fetched: Mapping[str, Commit]
) -> tuple[StepFacts, list[Part]]:
    """Run the comparison over all fetched parts; returns the stage that writes back and its parts, to be run."""
    num_rows = sum(commit.rows_out for commit in fetched.values())
    rows = RowScatter(bucket_bits(num_rows, config.bucket_rows), config)
    parts = [Part(part, (("fetch", part), (f"score-{NEEDS}", part))) for part in fetched]
    distinct = shuffle(engine, rows, parts, DistinctHashes(rows, list(fetched)))
    num_hashes = sum(commit.rows_out for commit in distinct.values())
    banding = choose_banding(config.radius, num_hashes)
    hashes = HashScatter(bucket_bits(num_hashes * len(banding.copies()), config.bucket_rows), banding)
    hash_parts = [Part(bucket, ((DistinctHashes.name, bucket),)) for bucket in distinct]
    near = shuffle(engine, hashes, hash_parts, NearHashes(hashes, list(distinct)))
    links = find_components(engine, "near-duplicates", near, config.bucket_rows)
    return cluster_rows(engine, "near_duplicates", rows, parts, links, config.bucket_rows)


class RowScatter(Scatter):
    """Sends each row that has a hash to it."""

    name: ClassVar[str] = "near_duplicates-rows"
    version: ClassVar[int] = 1

    def __init__(self, bits: int, config: NearDuplicatesConfig) -> None:
        super().__init__(bits)
        self.config = config

    def settings(self) -> Any:
        """What decides which rows are compared, and which is kept."""
        return {"bits": self.bits, "keep": self.config.keep, "min_contrast": self.config.min_contrast}

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """`node` is the hash."""
        columns = ["key", "original_width", "original_height", "bytes"]
        raw = read_parquet(work.dataset, f"raw/{part.id}.parquet", columns)
        score = read_parquet(work.dataset, f"scores/{NEEDS}/{part.id}.parquet", ["hash", "contrast"])
        compared = pc.greater_equal(score.column("contrast"), self.config.min_contrast)
        at = np.flatnonzero(pc.fill_null(compared, False).to_numpy())
        chosen = raw.take(at)
        nodes = score.column("hash").take(at).to_numpy()
        return node_rows(part.id, at, chosen.column("key"), nodes, _preference(chosen, self.config.keep))


class DistinctHashes(Gather):
    """The hashes that occur, each once."""

    name: ClassVar[str] = "near_duplicates-distinct"
    version: ClassVar[int] = 1

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """Hashes, sorted."""
        return pa.table({"hash": np.unique(table.column("node").to_numpy())}), {}


class HashScatter(Scatter):
    """Sends each hash to each of its first blocks of bits."""

    name: ClassVar[str] = "near_duplicates-blocks"
    version: ClassVar[int] = 1
    ties: ClassVar[tuple[str, ...]] = ("block", "hash")

    def __init__(self, bits: int, banding: Banding) -> None:
        super().__init__(bits)
        self.banding = banding

    def settings(self) -> Any:
        """How hashes are cut."""
        return {"bits": self.bits, "radius": self.banding.radius, "exact": self.banding.exact}

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """Hashes by block; those with the same bits there meet."""
        hashes = read_gathered(work.dataset, *part.inputs[0]).column("hash").to_numpy()
        copies = self.banding.copies()
        blocks = np.repeat(np.arange(len(copies), dtype=np.uint8), len(hashes))
        values = np.concatenate([self.banding.value(hashes, block) for block in copies])
        order = spread(blocks.astype(np.uint64) << np.uint64(58) | values)  # of 64 / 2 bits at most
        return pa.table({"order": order, "block": blocks, "hash": np.tile(hashes, len(copies))})


class NearHashes(Gather):
    """Links hashes within the radius. The fact `crowded` counts those that were not compared with all they might be."""

    name: ClassVar[str] = "near_duplicates-near"
    version: ClassVar[int] = 1

    def __init__(self, scatter: HashScatter, parts: Sequence[str]) -> None:
        super().__init__(scatter, parts)
        self.banding = scatter.banding

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """Links of each block; a pair that shares several is linked in several buckets."""
        blocks, hashes = table.column("block").to_numpy(), table.column("hash").to_numpy()
        found = [near_links(hashes[blocks == block], block, self.banding) for block in np.unique(blocks).tolist()]
        empty = np.zeros(0, np.uint64)
        node, other = (np.concatenate([empty, *(links[side] for links in found)]) for side in (0, 1))
        crowded = max((links[2] for links in found), default=0)
        return pa.table({"node": node, "other": other}, schema=EDGES), {"crowded": crowded}


def _preference(table: pa.Table, keep: Literal["largest", "first"]) -> np.ndarray:
    """Smaller is kept. Pixels and bytes share an int64: bytes count below 2^24, which is 16 MB."""
    if keep == "first":
        return np.zeros(table.num_rows, np.int64)
    sides = [
        pc.fill_null(table.column(f"original_{side}"), 0).to_numpy().astype(np.int64) for side in ("width", "height")
    ]
    size = np.minimum(pc.fill_null(table.column("bytes"), 0).to_numpy(), (1 << 24) - 1)
    return -(np.minimum(sides[0] * sides[1], (1 << 38) - 1) << 24 | size)
