"""MDS: one `.mds` file per shard and one `index.json` per split, as MosaicML's `streaming` reads them.

    train/shard.00042.mds     uint32 number of samples, uint32 offsets of each and of the end, the columns as JSON,
                              samples: uint32 size of each column, then the columns
    train/index.json          columns, and size and sha256 of each file

All numbers are little-endian, offsets of 32 bits: a shard of 4 GB or more has none.

Source: the format of streaming 0.13 (version 2 of its index), read off its writer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.commit import Commit
from pipeline.errors import DatasetError
from pipeline.shard.layouts.layout import Layout, Place, Sample
from pipeline.shard.manifest import ShardEntry
from pipeline.shard.sample import caption_of

_COLUMNS = {"caption": "str", "json": "json", "key": "str", "media": "bytes", "mime": "str"}
"""Column -> encoding, in the order of the file: by name."""
_MOST_BYTES = 2**32 - 1


class Mds(Layout):
    """Samples behind a table of offsets."""

    name: ClassVar[str] = "mds"
    version: ClassVar[int] = 1

    def write(self, samples: Iterator[Sample], place: Place, scratch: Path) -> dict[str, Path]:
        """Write the file of one shard: the table of offsets first, once the sizes are known."""
        body, sizes = scratch / "body", []
        with body.open("wb") as stream:
            for sample in samples:
                encoded = _encoded(sample)
                sizes.append(len(encoded))
                stream.write(encoded)
        columns = json.dumps(_columns(), sort_keys=True).encode()
        begin = 4 * (len(sizes) + 2) + len(columns)
        offsets = begin + np.cumsum([0, *sizes], dtype=np.int64)
        if offsets[-1] > _MOST_BYTES:
            raise DatasetError(
                f"{place.split}/{place.index:05d}: {offsets[-1]} bytes as MDS, whose offsets have 32 bits. Cut smaller "
                "shards (shard.bytes), or take --as parquet."
            )
        local = scratch / "shard.mds"
        with local.open("wb") as stream, body.open("rb") as rest:
            stream.write(np.uint32(len(sizes)).tobytes() + offsets.astype("<u4").tobytes() + columns)
            while block := rest.read(8 << 20):
                stream.write(block)
        body.unlink()
        return {f"{place.split}/shard.{place.index:05d}.mds": local}

    def finish(self, splits: Mapping[str, Sequence[tuple[ShardEntry, Commit]]]) -> dict[str, bytes]:
        """The index of each split."""
        return {f"{name}/index.json": _index(shards) for name, shards in splits.items()}


def _columns() -> dict[str, Any]:
    return {
        "version": 2, "format": "mds", "compression": None, "hashes": ["sha256"], "size_limit": None,
        "column_names": list(_COLUMNS), "column_encodings": list(_COLUMNS.values()),
        "column_sizes": [None] * len(_COLUMNS),
    }  # fmt: skip


def _encoded(sample: Sample) -> bytes:
    caption, row = caption_of(sample.row["texts"]).encode(), sample.row
    columns = (caption, sample.json, row["key"].encode(), sample.media, (row["mime"] or "").encode())
    return np.array([len(column) for column in columns], "<u4").tobytes() + b"".join(columns)


def _index(shards: Sequence[tuple[ShardEntry, Commit]]) -> bytes:
    said = []
    for entry, commit in shards:
        [stamp] = commit.files
        raw = {"basename": stamp.name.split("/")[-1], "bytes": stamp.bytes, "hashes": {"sha256": stamp.sha256}}
        said.append({**_columns(), "raw_data": raw, "samples": entry.samples, "zip_data": None})
    return (json.dumps({"version": 2, "shards": said}, sort_keys=True) + "\n").encode("ascii")
