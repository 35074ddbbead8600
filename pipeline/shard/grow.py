"""Growth by appending: finished shards stay as they are, and what is new becomes a generation of shards of its own.

The law: a generation holds the kept samples whose keys no earlier generation holds, in the order of the hash. What the
manifest names is finished. So a list that grows rewrites nothing; a key is in one shard for ever; and the same lists in
the same order give the same bytes, whatever was killed on the way.

    finished shards  --Taken-->  shuffle/taken/scatter/train-00042.parquet    their keys, by range of the order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.commit import read_commits
from pipeline.errors import DatasetError, RecipeError
from pipeline.shard.config import ShardConfig
from pipeline.shard.cut import Cut
from pipeline.shard.key_log import keys_of
from pipeline.shard.manifest import MANIFEST, Generation, Manifest, ShardEntry, read_manifest
from pipeline.shard.order import committed, order_of
from pipeline.shuffle import Scatter
from pipeline.stage import Part, Workspace
from pipeline.store import Store


@dataclass(frozen=True)
class Finished:
    """Generations that stay, and their shards, those of a split in reading order."""

    generations: tuple[Generation, ...] = ()
    entries: tuple[ShardEntry, ...] = ()

    @property
    def shards(self) -> list[str]:
        """Ids of the shards."""
        return [entry.id for entry in self.entries]

    @property
    def first(self) -> dict[str, int]:
        """Split -> index of its next shard."""
        found: dict[str, int] = {}
        for generation in self.generations:
            for split, shards in generation.shards.items():
                found[split] = found.get(split, 0) + shards
        return found

    def check(self, dataset: Store) -> None:
        """Raise a `DatasetError` where a shard is not committed as the manifest names it."""
        cuts = read_commits(dataset, Cut.name)
        for entry in self.entries:
            stamps = cuts[entry.id].files if entry.id in cuts else ()
            if all(stamp.sha256 != entry.sha256 for stamp in stamps):
                raise DatasetError(
                    f"{dataset.url}/{entry.tar}: the manifest names it with sha256 {entry.sha256[:16]}, and it is not "
                    "committed so. It is finished, and is not cut again: bring back the shard with its record from a "
                    'copy, or set shard.growth = "reshuffle" to cut all shards anew.'
                )


class Taken(Scatter):
    """Scatters the keys of finished shards over the buckets of the order, for `Sort` to leave them out."""

    name = "taken"
    version = 1

    def __init__(self, bits: int, seed: int) -> None:
        super().__init__(bits)
        self.seed = seed

    def settings(self) -> Any:
        """The order depends on the seed."""
        return {"bits": self.bits, "seed": self.seed}

    def part(self, shard: str) -> Part:
        """The descriptor of one finished shard."""
        return Part(shard, ((Cut.name, shard),))

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """Order and key of each sample of the shard."""
        keys = keys_of(work.dataset, committed(work.dataset, Cut.name, part.id).file(".parquet"))
        order = pa.array([order_of(self.seed, key) for key in keys], pa.uint64())
        return pa.table({"order": order, "key": pa.array(keys, pa.string())})


def standing_generations(dataset: Store, config: ShardConfig) -> tuple[Finished, ...]:
    """What may be finished already: without the last generation, and with it. Nothing where all is shuffled anew.

    Raises: DatasetError: the manifest is gone. RecipeError: samples were assigned to splits otherwise.
    """
    if config.growth == "reshuffle":
        return (Finished(),)
    cuts = read_commits(dataset, Cut.name)
    if not dataset.exists(MANIFEST):
        if any(commit.facts.get("generation", 0) for commit in cuts.values()):
            raise DatasetError(
                f"{dataset.url}/{MANIFEST}: not there, so nothing says which shards are finished. Bring it back from a "
                'copy, or set shard.growth = "reshuffle" to cut all shards anew.'
            )
        return (Finished(),)
    manifest = read_manifest(dataset)
    _check_splits(manifest, config, dataset.url)
    last = len(manifest.generations)
    return _first(manifest, max(last - 1, 0)), _first(manifest, last)


def _first(manifest: Manifest, generations: int) -> Finished:
    kept = Finished(manifest.generations[:generations])
    first = kept.first
    entries = [entry for name, split in manifest.splits.items() for entry in split.shards[: first.get(name, 0)]]
    return Finished(kept.generations, tuple(entries))


def _check_splits(manifest: Manifest, config: ShardConfig, where: str) -> None:
    for number, generation in enumerate(manifest.generations):
        if (generation.splits, generation.split_salt) != (config.splits, config.split_salt):
            raise RecipeError(
                f"shard.splits: generation {number} of {where} was split by {dict(generation.splits)} with salt "
                f"{generation.split_salt!r}, the recipe says {config.splits} with salt {config.split_salt!r}; samples "
                'would change sides. Set them back, or set shard.growth = "reshuffle".'
            )


def next_generation(config: ShardConfig, shards: Sequence[str]) -> Generation:
    """The generation that a run cuts; `shards` are the splits of its shards, one item each."""
    counts = {split: shards.count(split) for split in sorted(set(shards))}
    return Generation(counts, config.seed, config.samples, config.bytes, config.splits, config.split_salt)
