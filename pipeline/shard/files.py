"""What a shard's files say beside its tar: the index, one row per sample in tar order, and the counts of its stats.

Columns are taken from the sorted rows as they are; what is new is where each sample lies, and the sha256 of its medium.
The parquet file says of which shard of which dataset it is the index, so that a stranger is known by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.record import SHARD_INDEX, SHARD_INDEX_COMPANIONS
from pipeline.tar import Member

SHARDS = "shards"
"""Folder of the final shards inside a dataset."""
DATASET, SHARD = b"pairmill.dataset", b"pairmill.shard"
"""Metadata of an index: the name of its dataset, and its tar inside the `shards` folder."""
MOST_NAMES = 100
"""Names of licences that a commit record counts one by one."""
OTHERS = "(others)"


def shard_name(split: str, index: int) -> str:
    """Path of a shard's tar inside the `shards` folder."""
    return f"{split}/{index:05d}.tar"


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a sample lies in its tar: `offset`, `size` of all its members; its medium; its companions."""

    offset: int
    size: int
    media: Member
    companions: tuple[Member, ...]


def index_table(rows: pa.Table, placed: Sequence[Placed], digests: Sequence[str]) -> pa.Table:
    """The index of what was written.

    Args:
        rows: sorted rows, with the columns that the index takes as they are.
        digests: sha256 of each medium and each companion, in tar order.
    """
    media_digests, companions = _companions(rows, placed, digests)
    found: dict[str, Any] = {
        "member": [sample.media.name for sample in placed],
        "media_sha256": media_digests,
        "offset": [sample.offset for sample in placed],
        "size": [sample.size for sample in placed],
        "media_offset": [sample.media.data_offset for sample in placed],
        "media_size": [sample.media.data_size for sample in placed],
        "companions": companions,
    }
    schema = SHARD_INDEX_COMPANIONS if any(sample.companions for sample in placed) else SHARD_INDEX
    columns = [
        pa.array(found[item.name], item.type) if item.name in found else rows.column(item.name) for item in schema
    ]
    return pa.table(columns, schema=schema)


def _companions(rows: pa.Table, placed: Sequence[Placed], digests: Sequence[str]) -> tuple[list[str], list[Any]]:
    """The digests of the media alone, and of each row its companions as the index has them."""
    if not any(sample.companions for sample in placed):
        return list(digests), []
    media, companions, found = [], [], iter(digests)
    for sample, listed in zip(placed, rows.column("raw_companions").to_pylist(), strict=True):
        media.append(next(found))
        beside = [
            {
                **{name: item[name] for name in ("role", "width", "height")},
                "member": member.name,
                "offset": member.data_offset,
                "size": member.data_size,
                "sha256": next(found),
            }
            for member, item in zip(sample.companions, listed or (), strict=True)
        ]
        companions.append(beside or None)
    return media, companions


def write_index(index: pa.Table, path: Path, dataset_name: str, shard: str) -> None:
    """Write the index as the parquet file at `path`."""
    metadata = {DATASET: dataset_name.encode(), SHARD: shard.encode()}
    pq.write_table(index.replace_schema_metadata(metadata), path, compression="zstd")


def stats_of(index: pa.Table, rows: pa.Table, tar_bytes: int) -> dict[str, Any]:
    """Counts and sizes of one shard, from its index and the sorted rows that it was cut from."""
    return {
        "samples": len(index),
        "bytes": tar_bytes,
        "media_bytes": pc.sum(index.column("media_size")).as_py() or 0,
        "texts": pc.sum(pc.list_value_length(index.column("texts"))).as_py() or 0,
        "caption_chars": pc.sum(pc.utf8_length(rows.column("caption"))).as_py() or 0,
        "mime": _counts(index.column("mime"), "unknown"),
        "source": _counts(index.column("source"), "unknown"),
        "licence": _counts(rows.column("licence").drop_null(), ""),
        "width": _range_of(index.column("width")),
        "height": _range_of(index.column("height")),
    }


def most_frequent(counts: Mapping[str, int], most: int = MOST_NAMES) -> dict[str, int]:
    """The names that occur most often, by name; all further ones together as `OTHERS`."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    kept = {name: counts[name] for name in sorted(order[:most])}
    rest = sum(counts[name] for name in order[most:])
    return kept | {OTHERS: kept.get(OTHERS, 0) + rest} if rest else kept


def _counts(column: pa.ChunkedArray, missing: str) -> dict[str, int]:
    counted = {item["values"] or missing: item["counts"] for item in column.value_counts().to_pylist()}
    return dict(sorted(counted.items()))


def _range_of(column: pa.ChunkedArray) -> dict[str, float] | None:
    known = column.drop_null()
    if not len(known):
        return None
    ends = pc.min_max(known).as_py()
    return {"min": ends["min"], "mean": round(pc.sum(known).as_py() / len(known), 3), "max": ends["max"]}
