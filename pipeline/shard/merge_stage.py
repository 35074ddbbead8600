"""Brings one shard of a finished dataset into another, under a new number: copied, linked, or without some samples.

A bucket copies files of buckets by itself; what passes through here is hashed, and has to be what its manifest says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.errors import DatasetError, StoreError
from pipeline.shard.cut import Cut
from pipeline.shard.files import SHARDS, most_frequent, shard_name
from pipeline.shard.manifest import ShardEntry
from pipeline.shard.without import ShardFiles, shard_without
from pipeline.shuffle import read_parquet
from pipeline.stage import Copy, Made, Part, Stage, Workspace
from pipeline.store import Store
from pipeline.tombstones import read_tombstones

_NAMING = ["key", "url", "sha256"]
By = Literal["copy", "link"]
"""`link`: a shard is the same file in both folders of one file system; nothing ever changes a shard in its place."""


@dataclass(frozen=True)
class SourceShard:
    """A shard of a source: its dataset's number, its place there, and the rows that an earlier dataset has."""

    source: int
    split: str
    entry: ShardEntry
    generation: int
    drop: tuple[int, ...] = ()

    @property
    def samples(self) -> int:
        """Samples that are left."""
        return self.entry.samples - len(self.drop)


class Merge(Stage):
    """Brings over one shard per part. To all that follows its parts are shards, however they came to be."""

    name = Cut.name
    version = 1

    def __init__(self, urls: Sequence[str], by: By) -> None:
        """Take the folders of the datasets; where they lie, and how files come over, changes no byte."""
        self.urls, self.by = tuple(urls), by

    def settings(self) -> Any:
        """Nothing but the shards themselves: see `part`."""
        return "merge"

    def part(self, shard: SourceShard, index: int, generation: int, dataset: str) -> Part:
        """The descriptor of one shard, which becomes number `index` of its split."""
        facts = {"source": shard.source, "dataset": dataset, "entry": asdict(shard.entry), "drop": list(shard.drop)}
        id = f"{shard.split}-{index:05d}"
        return Part(id, (), {**facts, "split": shard.split, "index": index, "generation": generation})

    def make(self, part: Part, work: Workspace) -> Made:
        """Copy, link or rewrite the files of one shard."""
        entry, source = ShardEntry(**part.facts["entry"]), Store(self.urls[part.facts["source"]])
        base = f"{SHARDS}/{shard_name(part.facts['split'], part.facts['index'])}".removesuffix(".tar")
        names = {f"{base}.tar": entry.tar, f"{base}.parquet": entry.index}
        sha256 = {f"{base}.tar": entry.sha256, f"{base}.parquet": entry.index_sha256}
        stats = work.scratch / "stats.json"
        stats.write_bytes(source.read_bytes(f"{entry.tar.removesuffix('.tar')}_stats.json"))
        files, copies = {f"{base}_stats.json": stats}, {}
        drop = sorted({*part.facts["drop"], *_forgotten(work.dataset, source, entry)})
        if drop:
            files, sha256 = _without(source, entry, drop, base, work.scratch), {}
        elif work.dataset.may_copy_from(source):
            copies = {new: Copy(source.url, old, source.size(old), sha256[new]) for new, old in names.items()}
            _check_size(source, entry, copies[f"{base}.tar"].bytes)
        else:
            bring = _link if self.by == "link" else _copy
            for number, (new, old) in enumerate(names.items()):
                files[new] = work.scratch / f"{number}"
                bring(source, old, files[new], sha256[new])
        licences = json.loads(files[f"{base}_stats.json"].read_bytes()).get("licence", {})
        facts = {name: part.facts[name] for name in ("split", "index", "generation")}
        facts |= {"licence": most_frequent(licences), "of": {"dataset": part.facts["dataset"], "shard": entry.name}}
        samples = entry.samples - len(drop)
        return Made(files, entry.samples, samples, {}, facts, sha256, copies)


def _forgotten(dataset: Store, source: Store, entry: ShardEntry) -> list[int]:
    """Rows that were forgotten in the merged dataset, which a shard that is brought over again must not bring back."""
    tombstones = read_tombstones(dataset)
    if not tombstones:
        return []
    return np.flatnonzero(tombstones.names_in_shard(read_parquet(source, entry.index, _NAMING))).tolist()


def _copy(source: Store, name: str, local: Path, wanted: str) -> None:
    """Copy one file into scratch. Raises: DatasetError: it is not what the manifest says."""
    digest = hashlib.sha256()
    with source.open(name) as stream, local.open("wb") as copy:
        while block := stream.read(8 << 20):
            digest.update(block)
            copy.write(block)
    if digest.hexdigest() != wanted:
        found = f"altered: sha256 {digest.hexdigest()[:16]}; wanted {wanted[:16]}, as its manifest says"
        raise DatasetError(f"{source.url}/{name}: {found}. {_mend(source)}")


def _link(source: Store, name: str, local: Path, _: str) -> None:
    """Link one file into scratch: it is not read."""
    try:
        os.link(source.local_path(name), local)
    except OSError as error:
        raise StoreError(
            f"{source.url}/{name}: cannot be linked: {error.strerror}. Links stay within one file system: merge with "
            "--by copy."
        ) from None


def _check_size(source: Store, entry: ShardEntry, size: int) -> None:
    if size != entry.bytes:
        found = f"{size} bytes; wanted {entry.bytes}, as its manifest says"
        raise DatasetError(f"{source.url}/{entry.tar}: {found}. {_mend(source)}")


def _mend(source: Store) -> str:
    return f"Run `pairmill verify {source.url}`, mend it, and merge again."


def _without(source: Store, entry: ShardEntry, drop: Sequence[int], base: str, scratch: Path) -> dict[str, Path]:
    """Write a shard anew without some rows."""
    old = ShardFiles(scratch / "old.tar", scratch / "old.parquet", scratch / "stats.json")
    _copy(source, entry.tar, old.tar, entry.sha256)
    _copy(source, entry.index, old.index, entry.index_sha256)
    new = ShardFiles(scratch / "new.tar", scratch / "new.parquet", scratch / "new.json")
    shard_without(old, new, np.array(drop, np.int64))
    return {f"{base}.tar": new.tar, f"{base}.parquet": new.index, f"{base}_stats.json": new.stats}
