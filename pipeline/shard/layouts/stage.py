"""Finished shards in another layout: one shard per part, into a folder of its own with its own commit records.

    DATASET/shards/train/00042.tar + .parquet  --Unpack-->  OUT/...     as the layout says

Running again does what is missing; the same shards give the same files. Media are copied as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pipeline.engine import Engine
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.shard.layouts.files import Files
from pipeline.shard.layouts.layout import Layout, Place, Sample
from pipeline.shard.layouts.mds import Mds
from pipeline.shard.layouts.parquet import Parquet
from pipeline.shard.manifest import Manifest, ShardEntry, read_manifest
from pipeline.shuffle import read_parquet
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import Store
from pipeline.tar import Member, read_members

LayoutName = Literal["files", "parquet", "mds"]
LAYOUTS: dict[str, type[Layout]] = {layout.name: layout for layout in (Files, Parquet, Mds)}
_KINDS = ("image", "video", "audio")


class Unpack(Stage):
    """Writes one shard in another layout per part."""

    name = "unpack"
    version = 1

    def __init__(self, source: Store, layout: LayoutName) -> None:
        self.source, self.layout = source, LAYOUTS[layout]()

    def settings(self) -> Any:
        """The layout; the shards are facts of the parts."""
        return [self.layout.name, self.layout.version]

    def part(self, entry: ShardEntry, place: Place) -> Part:
        """The descriptor of one shard."""
        return Part(entry.id, (), {"entry": asdict(entry), "place": asdict(place)})

    def make(self, part: Part, work: Workspace) -> Made:
        """Write the files of one shard."""
        entry, place = ShardEntry(**part.facts["entry"]), Place(**part.facts["place"])
        rows = read_parquet(self.source, entry.index).to_pylist()
        with self.source.fetched(entry.tar) as path:
            files = self.layout.write(_samples(path, rows, f"{self.source.url}/{entry.tar}"), place, work.scratch)
        return Made(files, entry.samples, len(rows))


def _samples(path: Path, rows: list[dict[str, Any]], where: str) -> Iterator[Sample]:
    """The samples of a tar in its order. Raises: DatasetError: it is not what its index says."""
    with path.open("rb") as stream:
        try:
            members = {member.name: member for member in read_members(stream)}
            for row in rows:
                companions = {item["member"]: members[item["member"]] for item in row.get("companions") or ()}
                yield Sample(
                    row,
                    _bytes(stream, members[row["member"]]),
                    _bytes(stream, members[f"{row['key']}.json"]),
                    {name: _bytes(stream, member) for name, member in companions.items()},
                )
        except (ValueError, KeyError) as error:
            raise DatasetError(f"{where}: is not what its index says ({error}). Run `pairmill verify`.") from error


def _bytes(stream: BinaryIO, member: Member) -> bytes:
    stream.seek(member.data_offset)
    return stream.read(member.data_size)


def unpack(engine: Engine, source: Store, layout: LayoutName) -> Manifest:
    """Bring the engine's folder to hold the shards of `source` in another layout.

    Raises: AskedWrongly: the folder is a dataset of shards. DatasetError: `source` is not finished, or damaged.
    """
    out = engine.dataset
    if out.exists("dataset.json"):
        raise AskedWrongly(f"{out.url}: is a dataset itself. Name a folder of its own for other layouts (--out).")
    manifest = read_manifest(source)
    stage = Unpack(source, layout)
    kind = _kind_of(engine, source, manifest)
    parts = [
        stage.part(entry, Place(split, index, len(of_split.shards), kind))
        for split, of_split in manifest.splits.items()
        for index, entry in enumerate(of_split.shards)
    ]
    made = engine.run(stage, parts)
    engine.prune(stage.name, made)
    done = {
        split: [(entry, made[entry.id]) for entry in of_split.shards] for split, of_split in manifest.splits.items()
    }
    for name, data in stage.layout.finish(done).items():
        out.put_bytes(name, data)
    return manifest


def _kind_of(engine: Engine, source: Store, manifest: Manifest) -> str:
    """What all media are; `media` where they differ."""
    items = [(source, f"{entry.tar.removesuffix('.tar')}_stats.json") for entry in manifest.entries]
    mimes = {mime for found in engine.each("kinds", _mimes, items) for mime in found}
    kinds = {mime.split("/")[0] for mime in mimes}
    return kinds.pop() if len(kinds) == 1 and kinds <= set(_KINDS) else "media"


def _mimes(_: Store, item: tuple[Store, str]) -> list[str]:
    source, stats = item
    return list(json.loads(source.read_bytes(stats))["mime"])
