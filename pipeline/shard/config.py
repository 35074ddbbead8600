"""The `[shard]` table of a dataset recipe: the size of shards, the splits, and what new data does to old shards."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.recipe import RecipeTable

TRAIN = "train"
SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a split may be called: it becomes a folder, so a name out of a list must not climb."""
_SAMPLES = 10_000


class ShardConfig(RecipeTable):
    """How kept samples become shards; the `[shard]` table of a dataset recipe."""

    samples: int | None = Field(default=None, ge=1, le=1_000_000)
    """Samples per shard; the last shard of a split holds the rest. 10,000 where `bytes` says nothing either."""
    bytes: int | None = Field(default=None, ge=10_240, lt=2**40)
    """The most bytes of a shard's tar: it ends before the sample that would pass them. With `samples`, whichever comes
    first. A sample that alone is larger is a shard of its own."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the global shuffle."""
    splits: dict[str, float] = Field(default={})
    """Split -> fraction of the samples whose list names no split; what is left is `train`."""
    split_salt: str = "split"
    """Salt of the hash that assigns splits; apart from `seed`, so that a new shuffle moves no sample across splits."""
    growth: Literal["reshuffle", "append"] = "reshuffle"
    """What happens when other samples are kept than the shards hold. `reshuffle`: all shards are cut anew, as if the
    data had been there from the start. `append`: finished shards stay as they are, and new samples form a generation
    of shards of their own, shuffled among themselves (docs/shards.md)."""
    bucket_rows: int = Field(default=50_000, ge=1)
    """Rows that one worker sorts at once; about 2 kB each."""

    @model_validator(mode="before")
    @classmethod
    def _some_size(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("samples") is None and table.get("bytes") is None:
            return {**table, "samples": _SAMPLES}
        return table

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
