"""What the shards of a dataset will be: the `[shard]` table of a recipe, and which rows each shard takes.

Samples of a split are ranked by (order, key), where `order` is a hash of the key. Shard i holds the ranks
[i * samples, (i + 1) * samples). The sorted buckets tell how many samples of each split they hold, in their commit
records, so the plan needs no data: each shard becomes a few slices of buckets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field, field_validator

from pipeline.commit import Commit
from pipeline.recipe import RecipeTable

TRAIN = "train"
SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a split may be called: it becomes a folder, so a name out of a list must not climb."""


class ShardConfig(RecipeTable):
    """How kept samples become shards; the `[shard]` table of a dataset recipe."""

    samples: int = Field(default=10_000, ge=1, le=1_000_000)
    """Samples per shard; the last shard of a split holds the rest."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the global shuffle."""
    splits: dict[str, float] = Field(default={})
    """Split -> fraction of the samples whose list names no split; what is left is `train`."""
    split_salt: str = "split"
    """Salt of the hash that assigns splits; apart from `seed`, so that a new shuffle moves no sample across splits."""
    bucket_rows: int = Field(default=50_000, ge=1)
    """Rows that one worker sorts at once; about 2 kB each."""

    @field_validator("splits")
    @classmethod
    def _fractions_fit(cls, splits: dict[str, float]) -> dict[str, float]:
        for name, fraction in splits.items():
            if SPLIT_NAME.fullmatch(name) is None:
                raise ValueError(f"split {name!r}: a name is letters, digits, '-' and '_', at most 64")
            if name == TRAIN:
                raise ValueError("split 'train' is what the others leave; name the others only")
            if not 0 < fraction < 1:
                raise ValueError(f"split {name!r} is {fraction}; wanted a fraction between 0 and 1")
        if sum(splits.values()) >= 1:
            raise ValueError(f"the splits sum to {sum(splits.values())}; wanted less than 1, the rest is 'train'")
        return splits


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


def plan_shards(sorted_buckets: Mapping[str, Commit], samples: int) -> list[PlannedShard]:
    """Cut the ranks of each split into shards of `samples`.

    Args:
        sorted_buckets: bucket id -> commit, in the order of `order`; `facts["samples"]` is split -> rows, and a
            bucket's rows are sorted by split first.
    """
    pieces: dict[str, list[Slice]] = {}
    for bucket, commit in sorted_buckets.items():
        start = 0
        for split, rows in sorted(commit.facts["samples"].items()):
            pieces.setdefault(split, []).append(Slice(bucket, start, start + rows))
            start += rows
    return [
        PlannedShard(split, index, slices)
        for split in sorted(pieces)
        for index, slices in enumerate(_cut(pieces[split], samples))
    ]


def _cut(pieces: Iterable[Slice], samples: int) -> Iterable[tuple[Slice, ...]]:
    current: list[Slice] = []
    room = samples
    for piece in pieces:
        start = piece.start
        while start < piece.stop:
            stop = min(piece.stop, start + room)
            current.append(Slice(piece.bucket, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield tuple(current)
                current, room = [], samples
    if current:
        yield tuple(current)
