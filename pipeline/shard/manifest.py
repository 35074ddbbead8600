"""The manifest: what a sharded dataset is, in one JSON file that readers trust.

    shards/manifest.json       format, name, seed, samples_per_shard, splits: each with its shards and their sha256
    shards/<split>/wids.json   the index that the `wids` module of webdataset reads
    shards/<split>/sizes.json  samples per tar, which OpenCLIP looks for beside the tars
    shards/README.md           the dataset card

The bytes depend on the shards' commits alone. The manifest is published last, so where it stands, every shard it
names was finished before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.commit import Commit, FileStamp, read_commits
from pipeline.errors import DatasetError, StoreError, nearest
from pipeline.shard.card import card
from pipeline.shard.cut import SHARDS, Cut, shard_name
from pipeline.shard.plan import PlannedShard
from pipeline.stage import Made, Part, Resources, Workspace
from pipeline.store import Store

FORMAT = "pairmill-shards-1"
MANIFEST = f"{SHARDS}/manifest.json"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard: `name` is its tar inside the `shards` folder; its index has the same name with `.parquet`."""

    name: str
    samples: int
    bytes: int
    sha256: str
    index_sha256: str

    @property
    def tar(self) -> str:
        """Name of the tar in the dataset."""
        return f"{SHARDS}/{self.name}"

    @property
    def index(self) -> str:
        """Name of the parquet index in the dataset."""
        return f"{SHARDS}/{self.name.removesuffix('.tar')}.parquet"


@dataclass(frozen=True, slots=True)
class Split:
    """The shards of one split, in reading order."""

    samples: int
    bytes: int
    shards: tuple[ShardEntry, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a sharded dataset holds."""

    name: str
    seed: int
    samples_per_shard: int
    splits: Mapping[str, Split]

    def to_json(self) -> bytes:
        """The file as it is stored: equal manifests give equal bytes."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode("ascii")

    def fingerprint(self) -> str:
        """sha256 of the file; it changes whenever a byte of any shard does."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def split(self, name: str, where: str) -> Split:
        """The split called `name`. Raises: DatasetError: there is none."""
        if name not in self.splits:
            raise DatasetError(f"{where}: holds no split {name!r}. {nearest(name, self.splits)}")
        return self.splits[name]

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Read a stored manifest. Raises: DatasetError: damaged, or of another format."""
        try:
            raw = json.loads(data)
            found = raw.pop("format", None)
            if found != FORMAT:
                raise DatasetError(
                    f"{where}: format is {found!r}, wanted {FORMAT!r}. Read it with the release that wrote it."
                )
            splits = {
                name: Split(split["samples"], split["bytes"], tuple(ShardEntry(**entry) for entry in split["shards"]))
                for name, split in raw.pop("splits").items()
            }
            return cls(splits=splits, **raw)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DatasetError(
                f"{where}: not a manifest (damaged or foreign). Delete it, and run `pairmill shard` again."
            ) from None


def read_manifest(dataset: Store) -> Manifest:
    """The manifest of a dataset folder. Raises: DatasetError: there is none, or it is damaged."""
    where = f"{dataset.url}/{MANIFEST}"
    try:
        data = dataset.read_bytes(MANIFEST)
    except StoreError as error:
        if dataset.exists(MANIFEST):
            raise
        raise DatasetError(
            f"{where}: not there, so this is no finished dataset. Give the folder that holds `shards/`, "
            "or finish it with `pairmill shard`."
        ) from error
    return Manifest.from_json(data, where)


class Publish:
    """Writes the manifest and what belongs to it, from the commits of all shards."""

    name = "manifest"
    version = 1
    resources = Resources(cpus=1)

    def __init__(self, name: str, seed: int, samples_per_shard: int) -> None:
        self.dataset_name, self.seed, self.samples_per_shard = name, seed, samples_per_shard

    def settings(self) -> Any:
        """What the manifest says beside the shards."""
        return [self.dataset_name, self.seed, self.samples_per_shard]

    def setup(self) -> None:
        """Nothing to load."""

    def part(self, shards: Sequence[PlannedShard], funnel: Sequence[tuple[str, int, int]] = ()) -> Part:
        """The descriptor of the only part; `funnel` has (stage, rows in, rows out) for the card."""
        inputs = tuple((Cut.name, shard.id) for shard in shards)
        return Part("all", inputs, {"funnel": [list(row) for row in funnel]})

    def make(self, part: Part, work: Workspace) -> Made:
        """Write all files of the part."""
        cuts = read_commits(work.dataset, Cut.name)
        manifest = self._manifest([cuts[id] for _, id in part.inputs])
        texts = {f"{SHARDS}/README.md": card(manifest, part.facts["funnel"]).encode()}
        for name, split in manifest.splits.items():
            texts[f"{SHARDS}/{name}/wids.json"] = wids_index(f"{manifest.name}-{name}", split)
            texts[f"{SHARDS}/{name}/sizes.json"] = _json({_base(entry): entry.samples for entry in split.shards})
        texts[MANIFEST] = manifest.to_json()
        files: dict[str, Path] = {}
        for number, (name, data) in enumerate(texts.items()):
            files[name] = work.scratch / f"{number}"
            files[name].write_bytes(data)
        samples = sum(split.samples for split in manifest.splits.values())
        return Made(files, samples, samples)

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
        return Manifest(self.dataset_name, self.seed, self.samples_per_shard, splits)


def wids_index(name: str, split: Split) -> bytes:
    """The shards of one split as a `wids` index, with URLs relative to it."""
    shards = [{"url": _base(entry), "nsamples": entry.samples, "filesize": entry.bytes} for entry in split.shards]
    return _json({"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards})


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode("ascii")


def _base(entry: ShardEntry) -> str:
    return entry.name.rsplit("/", 1)[-1]


def _stamp(commit: Commit, suffix: str) -> FileStamp:
    name = commit.file(suffix)
    return next(stamp for stamp in commit.files if stamp.name == name)
