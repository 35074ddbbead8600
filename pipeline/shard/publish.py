"""The last stage: writes the manifest and what belongs to it, from the commits of all shards.

    commits/cut/*  --Publish-->  shards/manifest.json, README.md, <split>/wids.json, <split>/sizes.json

The bytes depend on the shards' commits and on what the run tells of itself; not on a clock, nor on where the dataset
lies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.commit import Commit, FileStamp, read_commits
from pipeline.shard.card import card
from pipeline.shard.cut import Cut
from pipeline.shard.files import SHARDS, shard_name
from pipeline.shard.manifest import MANIFEST, Generation, Manifest, Merged, ShardEntry, Split, indexes_beside
from pipeline.stage import Made, Part, Stage, Workspace


class Publish(Stage):
    """Writes the manifest, the indexes of other readers, and the dataset card."""

    name = "manifest"
    version = 2

    def __init__(self, name: str, generations: Sequence[Generation], sources: Sequence[Merged] = ()) -> None:
        self.dataset_name, self.generations, self.sources = name, tuple(generations), tuple(sources)

    def settings(self) -> Any:
        """What the manifest says beside the shards."""
        return [self.dataset_name, *([asdict(item) for item in items] for items in (self.generations, self.sources))]

    def part(self, shards: Sequence[str], told: Mapping[str, Any] | None = None) -> Part:
        """The descriptor of the only part.

        Args:
            shards: ids of all shards; those of a split in reading order.
            told: what the card says of the stages before: see `card.py`.
        """
        return Part("all", tuple((Cut.name, id) for id in shards), {"told": dict(told or {})})

    def make(self, part: Part, work: Workspace) -> Made:
        """Write all files of the part; the manifest is the last of them."""
        known = read_commits(work.dataset, Cut.name)
        cuts = [known[id] for _, id in part.inputs]
        manifest = self._manifest(cuts)
        licences: Counter[str] = Counter()
        for commit in cuts:
            licences.update(commit.facts.get("licence", {}))
        told = {**part.facts["told"], "licences": dict(licences)}
        texts = {f"{SHARDS}/README.md": card(manifest, told).encode(), **indexes_beside(manifest)}
        texts[MANIFEST] = manifest.to_json()
        files = {}
        for number, (name, data) in enumerate(texts.items()):
            files[name] = work.scratch / f"{number}"
            files[name].write_bytes(data)
        return Made(files, manifest.samples, manifest.samples, {}, {"told": dict(part.facts["told"])})

    def _manifest(self, cuts: Sequence[Commit]) -> Manifest:
        entries: dict[str, list[ShardEntry]] = {}
        for commit in cuts:
            tar, index = _stamp(commit, ".tar"), _stamp(commit, ".parquet")
            name = shard_name(commit.facts["split"], commit.facts["index"])
            entry = ShardEntry(name, commit.rows_out, tar.bytes, tar.sha256, index.sha256)
            entries.setdefault(commit.facts["split"], []).append(entry)
        splits = {
            name: Split(sum(entry.samples for entry in shards), sum(entry.bytes for entry in shards), tuple(shards))
            for name, shards in sorted(entries.items())
        }
        return Manifest(self.dataset_name, splits, self.generations, self.sources)


def _stamp(commit: Commit, suffix: str) -> FileStamp:
    name = commit.file(suffix)
    return next(stamp for stamp in commit.files if stamp.name == name)
