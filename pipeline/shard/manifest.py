"""The manifest: what a sharded dataset is, in one JSON file that readers trust.

    shards/manifest.json       format, name, generations, sources, splits: each with its shards and their sha256
    shards/<split>/wids.json   the index that the `wids` module of webdataset reads
    shards/<split>/sizes.json  samples per tar, which OpenCLIP looks for beside the tars
    shards/README.md           the dataset card

The manifest is published last (`publish.py`), so where it stands, every shard it names was finished before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from pipeline.errors import DatasetError, StoreError, nearest
from pipeline.shard.files import SHARDS
from pipeline.store import Store

FORMAT = "pairmill-shards-2"
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
    def id(self) -> str:
        """Part id of the commit that made it."""
        return self.name.removesuffix(".tar").replace("/", "-")

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
class Generation:
    """Shards that were cut together, by one law. Those of a split follow those of the generations before.

    `shards` counts them by split. Within them samples ascend by (order_of(seed, key), key). `samples` and `bytes` limit
    a shard, `splits` and `split_salt` are those of the recipe. `dataset` is where a merge took them from, null else.
    """

    shards: Mapping[str, int]
    seed: int = 0
    samples: int | None = None
    bytes: int | None = None
    splits: Mapping[str, float] = field(default_factory=dict)
    split_salt: str = "split"
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """A dataset that a merge took in: its name, the fingerprint of its manifest, and the samples that came from it."""

    name: str
    fingerprint: str
    samples: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a sharded dataset holds. `sources` are the datasets that it was merged from; none where it was cut."""

    name: str
    splits: Mapping[str, Split]
    generations: tuple[Generation, ...] = ()
    sources: tuple[Merged, ...] = ()

    @property
    def entries(self) -> Iterator[ShardEntry]:
        """All shards, split by split."""
        return chain.from_iterable(split.shards for split in self.splits.values())

    @property
    def samples(self) -> int:
        """Samples of all splits."""
        return sum(split.samples for split in self.splits.values())

    def to_json(self) -> bytes:
        """The file as it is stored: equal manifests give equal bytes."""
        said = {"format": FORMAT, "name": self.name}
        said |= {name: [asdict(item) for item in getattr(self, name)] for name in ("generations", "sources")}
        said["splits"] = {name: asdict(split) for name, split in self.splits.items()}
        return (json.dumps(said, indent=1) + "\n").encode("ascii")

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
            generations = tuple(Generation(**item) for item in raw.pop("generations"))
            sources = tuple(Merged(**item) for item in raw.pop("sources"))
            return cls(splits=splits, generations=generations, sources=sources, **raw)
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


def indexes_beside(manifest: Manifest) -> dict[str, bytes]:
    """Name -> content of the files that tell other readers what the manifest says: `wids.json`, `sizes.json`."""
    found = {}
    for name, split in manifest.splits.items():
        found[f"{SHARDS}/{name}/wids.json"] = wids_index(f"{manifest.name}-{name}", split)
        found[f"{SHARDS}/{name}/sizes.json"] = _json({_base(entry): entry.samples for entry in split.shards})
    return found


def wids_index(name: str, split: Split) -> bytes:
    """The shards of one split as a `wids` index, with URLs relative to it."""
    shards = [{"url": _base(entry), "nsamples": entry.samples, "filesize": entry.bytes} for entry in split.shards]
    return _json({"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards})


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode("ascii")


def _base(entry: ShardEntry) -> str:
    return entry.name.rsplit("/", 1)[-1]
