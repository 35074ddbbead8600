"""A shard without some of its samples: what is left moves up, to the bytes that a new cut of the rest would give.

Takes tar, index and stats of a shard, and nothing beside them: the raw parts may be gone.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.record import SHARD_INDEX, SHARD_INDEX_COMPANIONS
from pipeline.shard.files import stats_of
from pipeline.shard.sample import caption_of, licence_of
from pipeline.tar import BLOCK, TarWriter


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard."""

    tar: Path
    index: Path
    stats: Path


@dataclass(frozen=True)
class Left:
    """What is left of a shard: its samples, and how many of them state which licence."""

    samples: int
    licences: dict[str, int]


def shard_without(old: ShardFiles, new: ShardFiles, rows: np.ndarray) -> Left:
    """Write the files `new` without the `rows` (ascending) of the index. Raises: ValueError: the tar is too short."""
    index = pq.read_table(old.index)
    keep = np.ones(len(index), bool)
    keep[rows] = False
    offsets, sizes = (index.column(name).to_numpy() for name in ("offset", "size"))
    with old.tar.open("rb") as stream:
        with TarWriter(new.tar) as tar:
            for start, stop in _runs(keep):
                tar.copy(stream, int(offsets[start]), int(offsets[stop - 1] + sizes[stop - 1]))
        gone = Counter(_licence(stream, int(offsets[row]), int(sizes[row])) for row in rows)
    kept = _moved_up(index.filter(pa.array(keep)), np.cumsum(np.append(0, np.where(keep, 0, sizes)))[:-1][keep])
    schema = SHARD_INDEX_COMPANIONS if "companions" in kept.column_names else SHARD_INDEX
    kept = kept.cast(schema).replace_schema_metadata(index.schema.metadata)
    pq.write_table(kept, new.index, compression="zstd")
    stated = Counter(json.loads(old.stats.read_bytes()).get("licence", {}))
    stated.subtract(gone)
    stats = stats_of(kept, _told_of(kept, stated), new.tar.stat().st_size)
    new.stats.write_text(json.dumps(stats, indent=1) + "\n", "utf-8")
    return Left(len(kept), stats["licence"])


def _told_of(index: pa.Table, licences: Counter[str | None]) -> pa.Table:
    """What the stats are made of beside the index: captions, and licences in no order."""
    captions = [caption_of(texts) for texts in index.column("texts").to_pylist()]
    names = sorted(name for name in licences.elements() if name is not None)
    stated = [*names, *[None] * (len(captions) - len(names))]
    return pa.table({"caption": pa.array(captions, pa.string()), "licence": pa.array(stated, pa.string())})


def _runs(keep: np.ndarray) -> Iterator[tuple[int, int]]:
    """First row, and the row behind the last, of each run that stays."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], keep.astype(np.int8), [0]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _moved_up(index: pa.Table, by: np.ndarray) -> pa.Table:
    """The rows of an index whose bytes lie `by` before where they lay."""
    for name in ("offset", "media_offset"):
        at = index.column_names.index(name)
        index = index.set_column(at, index.schema.field(name), pa.array(index.column(name).to_numpy() - by))
    if "companions" not in index.column_names:
        return index
    at, moved = index.column_names.index("companions"), []
    for companions, gap in zip(index.column("companions").to_pylist(), by.tolist(), strict=True):
        moved.append(companions and [{**item, "offset": item["offset"] - gap} for item in companions])
    if not any(moved):  # an index names companions only where there are some
        return index.select(SHARD_INDEX.names)
    return index.set_column(at, index.schema.field(at), pa.array(moved, index.schema.field(at).type))


def _licence(stream: IO[bytes], offset: int, size: int) -> str | None:
    """The licence that the list states for a sample, out of its own JSON."""
    stream.seek(offset)
    with tarfile.open(fileobj=io.BytesIO(stream.read(size) + bytes(2 * BLOCK))) as sample:
        for member in sample:
            if member.name.partition(".")[2] == "json":
                said: Any = json.loads(sample.extractfile(member).read()).get("meta")  # type: ignore[union-attr]
                return licence_of(said if isinstance(said, str) or said is None else json.dumps(said))
    return None
