"""Global steps in bounded memory: scatter rows by range of a 64-bit order, then gather each range.

    part 00000 --scatter--> shuffle/<name>/scatter/00000.parquet   rows sorted by `order`, one row group per bucket
    part 00001 --scatter--> ...
    bucket 000 --gather---> shuffle/<name>/gather/000.parquet      what `reduce` makes of that range of all parts

The bucket of a row is the top bits of its `order`, a uint64 that a hash should spread evenly: rows with an equal
order always meet, and gathered buckets, read one after the other, are sorted over the whole dataset. One bucket is
all that is ever in memory. The result does not depend on how rows are spread over parts, as long as `reduce` does
not look at their arrival order; `gather` hands it rows sorted by (`order`, `key`), so it need not. A scatter whose rows
have no key names the columns that stand in its place (`ties`).
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import Commit, read_commit
from pipeline.engine import Engine
from pipeline.errors import DatasetError
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import Store

BUCKET_ROWS = 1_000_000
"""Rows of a bucket that one worker sorts at once; about 100 bytes each."""
_READ_BACK_ROWS = 16_384
"""Rows of a row group where parts read their rows back: what a part with few rows in a bucket reads too much."""


def bucket_bits(rows: int, bucket_rows: int = BUCKET_ROWS) -> int:
    """How many top bits of `order` name a bucket, so that an even spread puts at most `bucket_rows` in each."""
    bits = 0
    while rows > bucket_rows << bits:
        bits += 1
    return bits


def spread(values: np.ndarray) -> np.ndarray:
    """An `order` for uint64 values that are not spread evenly themselves; no two of them get the same.

    Source: the finalizer of SplitMix64, Steele et al. 2014, with the constants of Stafford's variant 13.
    """
    mixed = values.astype(np.uint64, copy=True)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def order_of(text: str) -> int:
    """An `order` for a text: equal ones meet."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Scatter(Stage):
    """A stage over parts: writes the part's rows sorted by `order`, one row group per bucket."""

    name: ClassVar[str]
    version: ClassVar[int]
    ties: ClassVar[tuple[str, ...]] = ("key",)
    """Columns that sort rows of equal `order`."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def sorting(self) -> list[tuple[str, str]]:
        """How rows are sorted before they are reduced."""
        return [(name, "ascending") for name in ("order", *self.ties)]

    @abstractmethod
    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """The rows of one part; must have the columns `order` (uint64) and `ties`."""

    def settings(self) -> Any:
        """The settings that decide the output; a subclass adds its own."""
        return {"bits": self.bits}

    def make(self, part: Part, work: Workspace) -> Made:
        """Write the sorted rows of one part."""
        table = self.rows(part, work).combine_chunks()
        table = table.sort_by(self.sorting())
        order = table.column("order").to_numpy()
        buckets = np.zeros(len(order), np.uint64) if self.bits == 0 else order >> np.uint64(64 - self.bits)
        ends = np.searchsorted(buckets, np.arange(1 << self.bits, dtype=np.uint64), side="right")
        local = work.scratch / "scatter.parquet"
        with pq.ParquetWriter(local, table.schema, compression="zstd") as writer:
            start = 0
            for end in ends.tolist():
                # an empty bucket still gets its row group, so that the bucket number is the row group number
                writer.write_table(table.slice(start, end - start), row_group_size=max(end - start, 1))
                start = end
        return Made({f"shuffle/{self.name}/scatter/{part.id}.parquet": local}, len(order), len(order))


class Gather(Stage):
    """A stage over buckets: reduces the rows of one range of `order`, from all parts."""

    name: ClassVar[str]
    version: ClassVar[int]
    by_part: ClassVar[bool] = False
    """Whether parts read their rows back (`gathered_rows_of`): then rows lie sorted by `part` and `row`."""

    def __init__(self, scatter: Scatter, parts: Sequence[str]) -> None:
        self.scatter = scatter
        self.parts = tuple(parts)

    @abstractmethod
    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """What the bucket's rows, sorted by (order, key), become, and the facts to keep in the commit."""

    def buckets(self) -> list[Part]:
        """The parts of this stage: one per bucket, each reading every scattered part."""
        inputs = tuple((self.scatter.name, part) for part in self.parts)
        return [Part(f"{number:05d}", inputs, {"bucket": number}) for number in range(1 << self.scatter.bits)]

    def make(self, part: Part, work: Workspace) -> Made:
        """Read one bucket from all parts, and reduce it."""
        table = read_bucket(work.dataset, self.scatter, self.parts, part.facts["bucket"])
        reduced, facts = self.reduce(table)
        return self.made(part, work, table.num_rows, reduced, facts)

    def made(self, part: Part, work: Workspace, rows_in: int, reduced: pa.Table, facts: dict[str, Any]) -> Made:
        """What became of one bucket, written."""
        local = work.scratch / "gather.parquet"
        if self.by_part:
            reduced = reduced.sort_by([("part", "ascending"), ("row", "ascending")])
        row_group_size = _READ_BACK_ROWS if self.by_part else None
        pq.write_table(reduced, local, compression="zstd", row_group_size=row_group_size)
        name = f"shuffle/{self.name}/gather/{part.id}.parquet"
        return Made({name: local}, rows_in, reduced.num_rows, {}, facts)


def read_bucket(dataset: Store, scatter: Scatter, parts: Sequence[str], bucket: int) -> pa.Table:
    """One bucket of what was scattered from all parts, sorted."""
    groups = []
    for part in parts:
        with dataset.open(f"shuffle/{scatter.name}/scatter/{part}.parquet") as stream:
            groups.append(pq.ParquetFile(stream).read_row_group(bucket))
    return pa.concat_tables(groups).sort_by(scatter.sorting())


def shuffle(engine: Engine, scatter: Scatter, scatter_parts: Sequence[Part], gather: Gather) -> dict[str, Commit]:
    """Run both halves; returns bucket id -> commit, in the order of `order`."""
    engine.prune(scatter.name, engine.run(scatter, scatter_parts))
    gathered = engine.run(gather, gather.buckets())
    engine.prune(gather.name, gathered)
    return gathered


def gathered_rows_of(dataset: Store, gather: Gather, part: str) -> pa.Table:
    """The gathered rows that came from one part (column `part`), from all buckets; for stages that write facts back.

    Raises: DatasetError: a bucket is not committed.
    """
    found = []
    for bucket in gather.buckets():
        commit = read_commit(dataset, gather.name, bucket.id)
        if commit is None:
            raise DatasetError(f"{dataset.url}: {gather.name} bucket {bucket.id} is not committed. Run it again.")
        with dataset.open(commit.file(".parquet")) as stream:
            found.append(pq.read_table(stream, filters=pc.field("part") == part))
    return pa.concat_tables(found)


def read_gathered(dataset: Store, gather: str, bucket: str) -> pa.Table:
    """What the gather of that name made of one bucket."""
    return read_parquet(dataset, f"shuffle/{gather}/gather/{bucket}.parquet")


def read_parquet(dataset: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A parquet file of the dataset, or some of its columns."""
    with dataset.open(name) as stream:
        return pq.read_table(stream, columns=columns)


def local_parquet(scratch: Path, name: str, table: pa.Table) -> Path:
    """Write `table` into scratch; one row group, zstd, no statistics of the writing process in it."""
    local = scratch / name
    pq.write_table(table, local, compression="zstd", row_group_size=max(table.num_rows, 1))
    return local
