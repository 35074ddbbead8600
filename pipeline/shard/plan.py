"""Which rows each shard takes: a shard is cut when the next sample would pass the limit of samples or of bytes.

    sorted buckets  --Plan-->  shuffle/plan/plan.json     per shard its slices of buckets

Samples of a split are ranked by (order, key), where `order` is a hash of the key; shards take them rank by rank. The
buckets tell how many samples of each split they hold in their commit records. What each sample takes in a tar is a
column of theirs, read only where bytes are limited, one bucket at a time: the plan is exact, and needs no media.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.commit import Commit
from pipeline.shard.config import ShardConfig
from pipeline.shard.order import Sort, committed
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import Store
from pipeline.tar import most_members_bytes

_READ_AHEAD = 16


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows `start` to `stop` of the sorted bucket `bucket`."""

    bucket: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """Shard number `index` of `split`, and where its rows are."""

    split: str
    index: int
    slices: tuple[Slice, ...]

    @property
    def id(self) -> str:
        """Part id of the shard's commit."""
        return f"{self.split}-{self.index:05d}"

    @property
    def samples(self) -> int:
        """Samples of the shard."""
        return sum(piece.stop - piece.start for piece in self.slices)


class Planner:
    """Cuts the ranks of each split into shards, as buckets come in the order of `order`."""

    def __init__(self, samples: int | None, tar_bytes: int | None, first: Mapping[str, int] | None = None) -> None:
        """Take the limits of a shard, and the index of each split's first shard where that is not 0."""
        self._samples = samples
        self._bytes = None if tar_bytes is None else most_members_bytes(tar_bytes)
        self._first = first or {}
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, list[tuple[Slice, ...]]] = {}

    def add(self, bucket: str, counts: Mapping[str, int], sizes: np.ndarray | None = None) -> None:
        """Take the rows of one bucket.

        Args:
            counts: split -> rows; the rows of a bucket are sorted by split first.
            sizes: [rows] bytes of each row in a tar, needed where bytes are limited.
        """
        start = 0
        for split, rows in sorted(counts.items()):
            ends = None if sizes is None or self._bytes is None else np.cumsum(sizes[start : start + rows])
            self._add(split, Slice(bucket, start, start + rows), ends)
            start += rows

    def shards(self) -> list[PlannedShard]:
        """All shards, split by split; the last of each may be smaller."""
        splits = sorted(self._closed.keys() | self._open.keys())
        found = []
        for split in splits:
            last = [tuple(self._open[split].slices)] if split in self._open else []
            first = self._first.get(split, 0)
            cut = [*self._closed.get(split, ()), *last]
            found += [PlannedShard(split, first + number, slices) for number, slices in enumerate(cut)]
        return found

    def _add(self, split: str, rows: Slice, ends: np.ndarray | None) -> None:
        at, num_rows = 0, rows.stop - rows.start
        while at < num_rows:
            shard = self._open.setdefault(split, _Open())
            taken = self._fitting(shard, at, num_rows, ends)
            if taken:
                shard.slices.append(Slice(rows.bucket, rows.start + at, rows.start + at + taken))
                shard.samples += taken
                shard.bytes += 0 if ends is None else _between(ends, at, at + taken)
                at += taken
            if at < num_rows or shard.samples == self._samples:
                self._closed.setdefault(split, []).append(tuple(self._open.pop(split).slices))

    def _fitting(self, shard: _Open, at: int, num_rows: int, ends: np.ndarray | None) -> int:
        """How many of the rows from `at` the shard still takes."""
        most = num_rows - at
        if self._samples is not None:
            most = min(most, self._samples - shard.samples)
        if ends is not None and self._bytes is not None:
            limit = _between(ends, 0, at) + self._bytes - shard.bytes
            fitting = int(np.searchsorted(ends, limit, side="right")) - at
            most = min(most, max(fitting, 0 if shard.samples else 1))
        return most


@dataclass(slots=True)
class _Open:
    """A shard that is not full yet."""

    slices: list[Slice] = field(default_factory=list)
    samples: int = 0
    bytes: int = 0


def _between(ends: np.ndarray, start: int, stop: int) -> int:
    """Bytes of the rows `start` to `stop`."""
    return int(ends[stop - 1]) - (int(ends[start - 1]) if start else 0) if stop > start else 0


class Plan(Stage):
    """Plans all shards of a run in one part, so that a rerun on the same buckets reads nothing again."""

    name = "plan"
    version = 1

    def __init__(self, config: ShardConfig, first: Mapping[str, int] | None = None) -> None:
        self.limits = {"samples": config.samples, "bytes": config.bytes}
        self.first = dict(first or {})

    def settings(self) -> Any:
        """The limits, and where numbering begins."""
        return {**self.limits, "first": self.first}

    def part(self, buckets: Sequence[str]) -> Part:
        """The one part, from sorted buckets in the order of `order`."""
        return Part("all", tuple((Sort.name, bucket) for bucket in buckets))

    def make(self, part: Part, work: Workspace) -> Made:
        """Write the plan."""
        planner = Planner(self.limits["samples"], self.limits["bytes"], self.first)
        buckets = [committed(work.dataset, stage, id) for stage, id in part.inputs]
        sizes = _sizes(work.dataset, buckets) if self.limits["bytes"] is not None else [None] * len(buckets)
        for commit, of_rows in zip(buckets, sizes, strict=True):
            planner.add(commit.part, commit.facts["samples"], of_rows)
        shards = planner.shards()
        local = work.scratch / "plan.json"
        slices = [[[piece.bucket, piece.start, piece.stop] for piece in shard.slices] for shard in shards]
        rows = [[shard.split, shard.index, pieces] for shard, pieces in zip(shards, slices, strict=True)]
        local.write_text(json.dumps(rows, separators=(",", ":")) + "\n", "ascii")
        return Made({f"shuffle/{self.name}/plan.json": local}, len(buckets), len(shards))


def _sizes(dataset: Store, buckets: Sequence[Commit]) -> Iterator[np.ndarray]:
    """[rows] bytes of each row in a tar, bucket by bucket, read a few ahead."""

    def read(commit: Commit) -> np.ndarray:
        with dataset.open(commit.file(".parquet")) as stream:
            return pq.ParquetFile(stream).read(columns=["tar_bytes"], use_threads=False).column(0).to_numpy()

    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        for start in range(0, len(buckets), _READ_AHEAD):
            yield from pool.map(read, buckets[start : start + _READ_AHEAD])


def read_plan(dataset: Store, commit: Commit) -> list[PlannedShard]:
    """The shards of a plan that is committed."""
    rows = json.loads(dataset.read_bytes(commit.file(".json")))
    return [PlannedShard(split, index, tuple(Slice(*piece) for piece in pieces)) for split, index, pieces in rows]
