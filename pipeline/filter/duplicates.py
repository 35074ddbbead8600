"""Exact duplicates over the whole dataset: of a key, of a medium (sha256 of the body), of a pair (medium and texts).

Facts, not opinions: each fetched row learns how many rows share its key, medium and pair, and its rank among them,
0 for the one to keep. The rank follows the key, a hash, so it does not depend on how rows are spread over parts or
on the order in which they were fetched. Writes `scores/duplicates/00042.parquet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.groups import groups, place
from pipeline.recipe import RecipeTable
from pipeline.record import Status
from pipeline.shuffle import BUCKET_ROWS, Gather, Scatter, bucket_bits, gathered_rows_of, local_parquet, shuffle
from pipeline.stage import Made, Part, Resources, Workspace

KINDS = ("key", "medium", "pair")
COLUMNS = pa.schema([(f"{kind}_{fact}", pa.int64()) for kind in KINDS for fact in ("copies", "rank")])
"""`<kind>_copies`: rows that share it, this one included. `<kind>_rank`: 0 for the row that stands for them."""


class DuplicatesConfig(RecipeTable):
    """The `[score.duplicates]` table."""

    bucket_rows: int = BUCKET_ROWS
    """Rows one worker compares at once; memory is about 300 bytes each. Never changes the result."""


class DuplicatesScatter(Scatter):
    """Two rows per fetched row: one to meet rows of the same key, one to meet rows of the same medium."""

    name: ClassVar[str] = "duplicates-scatter"
    version: ClassVar[int] = 1

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """key, part, row, what is compared (`value`), and the hash of the texts."""
        with work.dataset.open(f"raw/{part.id}.parquet") as stream:
            table = pq.read_table(stream, columns=["key", "outcome", "sha256", "texts"])
        row = pa.array(np.arange(table.num_rows, dtype=np.int64))
        table = table.append_column("row", row).filter(pc.equal(table.column("outcome"), Status.SUCCESS.value))
        keys, media = table.column("key").to_pylist(), table.column("sha256").to_pylist()
        pairs = [_text_hash(texts or []) for texts in table.column("texts").to_pylist()]
        rows = table.column("row").to_pylist()
        return pa.table(
            {
                "order": pa.array([_order(value) for value in keys + media], pa.uint64()),
                "key": pa.array(keys + keys, pa.string()),
                "part": pa.array([part.id] * (2 * len(keys)), pa.string()),
                "row": pa.array(rows + rows, pa.int64()),
                "kind": pa.array([0] * len(keys) + [1] * len(keys), pa.int8()),
                "value": pa.array(keys + media, pa.string()),
                "pair": pa.array([b""] * len(keys) + pairs, pa.binary()),
            }
        )


class DuplicatesGather(Gather):
    """Ranks the rows of each group; equal values have equal orders, so a group is whole inside one bucket."""

    name: ClassVar[str] = "duplicates-gather"
    version: ClassVar[int] = 2
    by_part: ClassVar[bool] = True

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """part, row, kind and the copies and rank within the key or medium, and within the pair."""
        by_key = [("key", "ascending"), ("part", "ascending"), ("row", "ascending")]
        table = table.sort_by([("kind", "ascending"), ("value", "ascending"), *by_key])
        copies, rank = groups(table, ("kind", "value"))
        table = table.append_column("copies", pa.array(copies)).append_column("rank", pa.array(rank))
        table = table.sort_by([("kind", "ascending"), ("value", "ascending"), ("pair", "ascending"), *by_key])
        pair_copies, pair_rank = groups(table, ("kind", "value", "pair"))
        columns = ["part", "row", "kind", "copies", "rank"]
        table = table.select(columns)
        table = table.append_column("pair_copies", pa.array(pair_copies))
        return table.append_column("pair_rank", pa.array(pair_rank)), {}


class DuplicatesStage:
    """Writes the facts back beside each raw part. Part: id = raw part, inputs = fetch commit and all buckets."""

    name: ClassVar[str] = "score-duplicates"
    version: ClassVar[int] = 1
    resources = Resources(cpus=1)

    def __init__(self, gather: DuplicatesGather) -> None:
        self.gather = gather

    def settings(self) -> Any:
        """The buckets are inputs; there is nothing else."""
        return {}

    def setup(self) -> None:
        """Nothing to load."""

    def make(self, part: Part, work: Workspace) -> Made:
        """Place the gathered facts of one part at their rows."""
        with work.dataset.open(f"raw/{part.id}.parquet") as stream:
            keys = pq.read_table(stream, columns=["key"]).column("key")
        found = gathered_rows_of(work.dataset, self.gather, part.id)
        by_key = found.filter(pc.equal(found.column("kind"), 0))
        by_medium = found.filter(pc.equal(found.column("kind"), 1))
        sources = {
            "key_copies": (by_key, "copies"),
            "key_rank": (by_key, "rank"),
            "medium_copies": (by_medium, "copies"),
            "medium_rank": (by_medium, "rank"),
            "pair_copies": (by_medium, "pair_copies"),
            "pair_rank": (by_medium, "pair_rank"),
        }
        columns = {name: place(table, column, len(keys)) for name, (table, column) in sources.items()}
        local = local_parquet(work.scratch, "scores.parquet", pa.table({"key": keys} | columns))
        later = {kind: pc.sum(pc.greater(columns[f"{kind}_rank"], 0)).as_py() for kind in KINDS}
        counts = {f"{kind}_duplicates": int(number or 0) for kind, number in later.items()}
        return Made({f"scores/duplicates/{part.id}.parquet": local}, len(keys), len(keys), counts)


def find_duplicates(
    engine: Engine, config: DuplicatesConfig, fetched: dict[str, Commit]
) -> tuple[DuplicatesStage, list[Part]]:
    """Run the comparison over all fetched parts; returns the stage that writes back and its parts, to be run."""
    rows = sum(commit.counts.get(Status.SUCCESS.value, 0) for commit in fetched.values())
    scatter = DuplicatesScatter(bucket_bits(2 * rows, config.bucket_rows))
    parts = list(fetched)
    gather = DuplicatesGather(scatter, parts)
    buckets = shuffle(engine, scatter, [Part(part, (("fetch", part),)) for part in parts], gather)
    inputs = tuple((gather.name, bucket) for bucket in buckets)
    return DuplicatesStage(gather), [Part(part, (("fetch", part), *inputs)) for part in parts]


def _order(value: str) -> int:
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "big")


def _text_hash(texts: Sequence[dict[str, str | None]]) -> bytes:
    joined = "\0".join(text["text"] or "" for text in texts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()
