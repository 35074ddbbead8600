"""Cuts the final shards: copies media out of the raw tars by byte range, in shuffled order, without re-encoding.

    sorted buckets + raw/*.tar  --Cut-->  shards/train/00042.tar           members of a sample side by side
                                          shards/train/00042.parquet       record.SHARD_INDEX, tar order
                                          shards/train/00042_stats.json    counts and sizes

Media are read a window of bytes at a time, so memory does not grow with the shard. Inside a window a local raw tar
is read in tar order of the shard, a remote one with neighbouring ranges put together.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DatasetError
from pipeline.record import SHARD_INDEX, SHARD_INDEX_COMPANIONS
from pipeline.shard.order import FETCH, ORDERED, Sort, committed
from pipeline.shard.plan import PlannedShard
from pipeline.shard.ranges import RangeReader, Span, SpanMissing
from pipeline.shard.sample import caption_of
from pipeline.stage import Made, Part, Resources, Workspace
from pipeline.store import Store
from pipeline.tar import TarWriter

SHARDS = "shards"
"""Folder of the final shards inside a dataset."""
_WINDOW_BYTES = 64 << 20

Row = Mapping[str, Any]


def shard_name(split: str, index: int) -> str:
    """Path of a shard's tar inside the `shards` folder."""
    return f"{split}/{index:05d}.tar"


class Cut:
    """Makes one shard per part."""

    name = "cut"
    version = 2
    resources = Resources(cpus=1)

    def __init__(self, raw: str) -> None:
        """Take `raw`, the hash of the content of all raw parts: a shard's bytes come from them."""
        self.raw = raw

    def settings(self) -> Any:
        """A shard depends on its rows, which are its inputs, and on the raw tars."""
        return {"raw": self.raw}

    def setup(self) -> None:
        """Nothing to load."""

    def part(self, shard: PlannedShard) -> Part:
        """The descriptor of one shard."""
        inputs = tuple((Sort.name, piece.bucket) for piece in shard.slices)
        slices = [[piece.bucket, piece.start, piece.stop] for piece in shard.slices]
        return Part(shard.id, inputs, {"split": shard.split, "index": shard.index, "slices": slices})

    def make(self, part: Part, work: Workspace) -> Made:
        """Write tar, index and stats of one shard."""
        tables = [_rows(work.dataset, *piece) for piece in part.facts["slices"]]
        rows = pa.concat_tables(tables).select([name for name in ORDERED.names if name != "order"]).to_pylist()
        tar = work.scratch / "shard.tar"
        index = _write_tar(TarWriter(tar), rows, work.dataset)
        parquet, stats = work.scratch / "shard.parquet", work.scratch / "stats.json"
        schema = SHARD_INDEX_COMPANIONS if any(row["companions"] for row in index) else SHARD_INDEX
        pq.write_table(pa.Table.from_pylist(index, schema), parquet, compression="zstd")
        stats.write_text(json.dumps(_stats(index, tar.stat().st_size), indent=1) + "\n", "utf-8")
        base = f"{SHARDS}/{shard_name(part.facts['split'], part.facts['index'])}".removesuffix(".tar")
        files = {f"{base}.tar": tar, f"{base}.parquet": parquet, f"{base}_stats.json": stats}
        facts = {"split": part.facts["split"], "index": part.facts["index"]}
        return Made(files, len(rows), len(index), {}, facts)


def _rows(dataset: Store, bucket: str, start: int, stop: int) -> pa.Table:
    """Rows `start` to `stop` of a sorted bucket."""
    with dataset.open(committed(dataset, Sort.name, bucket).file(".parquet")) as stream:
        return pq.ParquetFile(stream).read().slice(start, stop - start)


def _write_tar(writer: TarWriter, rows: Sequence[Row], dataset: Store) -> list[dict[str, Any]]:
    """Write all samples; returns their index rows."""
    reader = RangeReader(dataset)
    index = []
    with writer as tar:
        for window in _windows(rows):
            bodies = iter(_read_raw(reader, window))
            for row in window:
                media, companions = next(bodies), list(islice(bodies, len(_companions(row))))
                index.append(_add_sample(tar, row, media, companions))
    return index


def _companions(row: Row) -> Sequence[Row]:
    return row["raw_companions"] or ()


def _windows(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = held = 0
    for stop, row in enumerate(rows):
        size = row["raw_size"] + sum(item["bytes"] for item in _companions(row))
        if held and held + size > _WINDOW_BYTES:
            yield rows[start:stop]
            start, held = stop, 0
        held += size
    yield rows[start:]


def _read_raw(reader: RangeReader, window: Sequence[Row]) -> list[bytes]:
    """Of each row the bytes of its medium, then of its companions."""
    spans = []
    for row in window:
        spans.append(Span(row["raw_tar"], row["raw_offset"], row["raw_size"]))
        spans += [Span(row["raw_tar"], item["offset"], item["bytes"]) for item in _companions(row)]
    try:
        return reader.read(spans)
    except SpanMissing as error:
        part = next(row["raw_part"] for row in window if row["raw_tar"] == error.span.name)
        remedy = f"Delete commits/{FETCH}/{part}.json and run again to fetch that part anew."
        raise DatasetError(f"{error} {remedy}") from None


def _add_sample(tar: TarWriter, row: Row, media: bytes, companions: Sequence[bytes]) -> dict[str, Any]:
    key = row["key"]
    placed = tar.add(f"{key}.{row['extension']}", media)
    beside = [_add_companion(tar, row, *item) for item in zip(_companions(row), companions, strict=True)]
    tar.add(f"{key}.json", row["json"])
    tar.add(f"{key}.txt", caption_of(row["texts"]).encode())
    return {
        **{name: row[name] for name in SHARD_INDEX.names if name in row},
        "member": placed.name,
        "media_sha256": hashlib.sha256(media).hexdigest(),
        "offset": placed.offset,
        "size": tar.position - placed.offset,
        "media_offset": placed.data_offset,
        "media_size": placed.data_size,
        "companions": beside or None,
    }


def _add_companion(tar: TarWriter, row: Row, item: Row, data: bytes) -> dict[str, Any]:
    """Copy a companion. Raises: DatasetError: it is not what was received."""
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != item["sha256"]:
        raise DatasetError(
            f"{row['raw_tar']}:{item['member']}: altered: sha256 {sha256[:16]}; wanted {item['sha256'][:16]}. "
            f"Delete commits/{FETCH}/{row['raw_part']}.json and run again to fetch that part anew."
        )
    placed = tar.add(item["member"], data)
    return {
        **{name: item[name] for name in ("role", "width", "height")},
        "member": placed.name,
        "offset": placed.data_offset,
        "size": placed.data_size,
        "sha256": sha256,
    }


def _stats(index: Sequence[Row], tar_bytes: int) -> dict[str, Any]:
    """Counts and sizes of one shard, from its index."""
    return {
        "samples": len(index),
        "bytes": tar_bytes,
        "media_bytes": sum(row["media_size"] for row in index),
        "texts": sum(len(row["texts"] or ()) for row in index),
        "caption_chars": sum(len(caption_of(row["texts"])) for row in index),
        "mime": dict(sorted(Counter(row["mime"] or "unknown" for row in index).items())),
        "source": dict(sorted(Counter(row["source"] for row in index).items())),
        "width": _range_of([row["width"] for row in index if row["width"] is not None]),
        "height": _range_of([row["height"] for row in index if row["height"] is not None]),
    }


def _range_of(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "mean": round(sum(values) / len(values), 3), "max": max(values)}
