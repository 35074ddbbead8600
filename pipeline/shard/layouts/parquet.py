"""Parquet: one file per shard, each medium in a column as {bytes, path}, as the Hugging Face `datasets` library has it.

    data/train-00042-of-00128.parquet       key, image, caption, texts, mime, width, height, ..., json

The column is called image, video or audio where all media are, and `datasets` decodes it then; else media. Row groups
hold at most 64 MiB of media. The sample's whole JSON is the column `json`, its companions are `companions`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.record import TEXT
from pipeline.shard.layouts.layout import Layout, Place, Sample
from pipeline.shard.sample import caption_of

_GROUP_BYTES = 64 << 20
_GROUP_ROWS = 1_000
_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_OF_ROW = ("key", "texts", "mime", "width", "height", "duration_s", "weight", "sha256", "source", "source_id", "url")


class Parquet(Layout):
    """Media in a column."""

    name: ClassVar[str] = "parquet"
    version: ClassVar[int] = 1

    def write(self, samples: Iterator[Sample], place: Place, scratch: Path) -> dict[str, Path]:
        """Write the file of one shard, a row group at a time."""
        local, schema = scratch / "shard.parquet", schema_of(place.kind)
        # media are compressed already
        packing: dict[str, Any] = {"compression": {f"{place.kind}.bytes": "none"}, "use_dictionary": ["mime", "source"]}
        packing["compression"] |= {name: "zstd" for name in _leaves(schema) if name != f"{place.kind}.bytes"}
        with pq.ParquetWriter(local, schema, **packing) as writer:
            for group in _groups(samples):
                rows = [_row(sample, place.kind) for sample in group]
                writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))
        return {f"data/{place.split}-{place.index:05d}-of-{place.of:05d}.parquet": local}


def schema_of(kind: str) -> pa.Schema:
    """The columns; the metadata is how `datasets` knows that a column holds images."""
    fields = [
        ("key", pa.string()), (kind, _FILE), ("caption", pa.string()), ("texts", pa.list_(TEXT)), ("mime", pa.string()),
        ("width", pa.int32()), ("height", pa.int32()), ("duration_s", pa.float32()), ("weight", pa.float32()),
        ("sha256", pa.string()), ("source", pa.string()), ("source_id", pa.string()), ("url", pa.string()),
        ("json", pa.string()), ("companions", pa.list_(_FILE)),
    ]  # fmt: skip
    said = {"info": {"features": {kind: {"_type": kind.capitalize()}}}} if kind != "media" else {}
    return pa.schema(fields, {"huggingface": json.dumps(said)} if said else None)


def _row(sample: Sample, kind: str) -> dict[str, Any]:
    return {
        **{name: sample.row[name] for name in _OF_ROW},
        kind: {"bytes": sample.media, "path": sample.row["member"]},
        "caption": caption_of(sample.row["texts"]),
        "json": sample.json.decode("ascii"),
        "companions": [{"bytes": data, "path": name} for name, data in sample.companions.items()],
    }


def _groups(samples: Iterator[Sample]) -> Iterator[Sequence[Sample]]:
    group: list[Sample] = []
    held = 0
    for sample in samples:
        size = len(sample.media) + sum(map(len, sample.companions.values()))
        if group and (held + size > _GROUP_BYTES or len(group) == _GROUP_ROWS):
            yield group
            group, held = [], 0
        group.append(sample)
        held += size
    if group:
        yield group


def _leaves(schema: pa.Schema) -> list[str]:
    """Paths of the columns as parquet stores them."""
    columns = pq.ParquetFile(_empty(schema)).schema
    return [columns.column(i).path for i in range(len(columns))]


def _empty(schema: pa.Schema) -> pa.BufferReader:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return pa.BufferReader(sink.getvalue())
