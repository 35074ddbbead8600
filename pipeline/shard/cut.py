"""Cuts the final shards: copies media out of the raw tars by byte range, in shuffled order, without re-encoding.

    sorted buckets + raw/*.tar  --Cut-->  shards/train/00042.tar           members of a sample side by side
                                          shards/train/00042.parquet       record.SHARD_INDEX, tar order
                                          shards/train/00042_stats.json    counts and sizes

Media are read a window of bytes at a time, the next one while this one is written, so memory does not grow with the
shard. Every byte is read once, written once, and hashed on its way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DatasetError
from pipeline.shard.files import SHARDS, Placed, index_table, most_frequent, shard_name, stats_of, write_index
from pipeline.shard.hashed_tar import HashedTar
from pipeline.shard.order import FETCH, Sort, committed
from pipeline.shard.plan import PlannedShard
from pipeline.shard.ranges import RangeOptions, RangeReader, Span, SpanMissing
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import CONNECTIONS, Store
from pipeline.tar import BLOCK, Member

_WINDOW_BYTES = 32 << 20
_COLUMNS = [
    "key", "mime", "extension", "width", "height", "duration_s", "texts", "weight", "sha256", "source", "source_id",
    "url", "raw_part", "raw_tar", "raw_offset", "raw_size", "json", "caption", "licence", "raw_companions",
]  # fmt: skip
_TAR_COLUMNS = [
    "key", "extension", "raw_part", "raw_tar", "raw_offset", "raw_size", "json", "caption", "raw_companions",
]  # fmt: skip

Row = Mapping[str, Any]


class Cut(Stage):
    """Makes one shard per part."""

    name = "cut"
    version = 3

    def __init__(self, raw: str, dataset_name: str, generation: int = 0) -> None:
        """Take `raw`, the hash of the content of all raw parts: a shard's bytes come from them.

        Args:
            dataset_name: what indexes say they belong to.
            generation: number of the generation that all shards of this run belong to.
        """
        self.raw, self.dataset_name, self.generation = raw, dataset_name, generation

    def settings(self) -> Any:
        """A shard depends on its rows, which are its inputs, and on the raw tars."""
        return {"raw": self.raw, "dataset": self.dataset_name, "generation": self.generation}

    def part(self, shard: PlannedShard) -> Part:
        """The descriptor of one shard."""
        inputs = tuple((Sort.name, piece.bucket) for piece in shard.slices)
        slices = [[piece.bucket, piece.start, piece.stop] for piece in shard.slices]
        return Part(shard.id, inputs, {"split": shard.split, "index": shard.index, "slices": slices})

    def make(self, part: Part, work: Workspace) -> Made:
        """Write tar, index and stats of one shard."""
        table = pa.concat_tables([_rows(work.dataset, *piece) for piece in part.facts["slices"]])
        table = table.filter(table.column("raw_tar").is_valid())  # the others keep the place of what was forgotten
        local = work.scratch / "shard.tar"
        with HashedTar(local) as tar:
            placed = _write_tar(tar, table, work.dataset)
        _check_companions(table, placed, tar.digests)
        index = index_table(table, placed, tar.digests)
        parquet, stats = work.scratch / "shard.parquet", work.scratch / "stats.json"
        name = shard_name(part.facts["split"], part.facts["index"])
        write_index(index, parquet, self.dataset_name, name)
        counts = stats_of(index, table, local.stat().st_size)
        stats.write_text(json.dumps(counts, indent=1) + "\n", "utf-8")
        base = f"{SHARDS}/{name}".removesuffix(".tar")
        files = {f"{base}.tar": local, f"{base}.parquet": parquet, f"{base}_stats.json": stats}
        facts = {
            "split": part.facts["split"],
            "index": part.facts["index"],
            "generation": self.generation,
            "licence": most_frequent(counts["licence"]),
        }
        return Made(files, len(table), len(index), {}, facts, {f"{base}.tar": tar.sha256})


def _rows(dataset: Store, bucket: str, start: int, stop: int) -> pa.Table:
    """Rows `start` to `stop` of a sorted bucket, out of the row groups that hold them."""
    with dataset.open(committed(dataset, Sort.name, bucket).file(".parquet")) as stream:
        file = pq.ParquetFile(stream)
        ends = [0]
        for group in range(file.num_row_groups):
            ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
        wanted = [i for i, (first, end) in enumerate(pairwise(ends)) if first < stop and end > start]
        return file.read_row_groups(wanted, columns=_COLUMNS).slice(start - ends[wanted[0]], stop - start)


def _write_tar(tar: HashedTar, table: pa.Table, dataset: Store) -> list[Placed]:
    """Write all samples, in order."""
    rows = table.select(_TAR_COLUMNS).to_pylist()
    reader = RangeReader(dataset, RangeOptions(connections=CONNECTIONS))
    windows = list(_windows(rows))
    placed = []
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(_read_raw, reader, windows[0])
        for window, following in zip(windows, [*windows[1:], ()], strict=True):
            bodies = iter(coming.result())
            coming = ahead.submit(_read_raw, reader, following)
            for row in window:
                media, companions = next(bodies), list(islice(bodies, len(_companions(row))))
                placed.append(_add_sample(tar, row, media, companions))
    return placed


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


def _add_sample(tar: HashedTar, row: Row, media: bytes, companions: Sequence[bytes]) -> Placed:
    key, start = row["key"], tar.position
    endings = [row["extension"], *(item["member"].removeprefix(f"{key}.") for item in _companions(row))]
    bodies = list(zip(endings, (media, *companions), strict=True))
    texts = [("json", row["json"]), ("txt", row["caption"].encode())]
    begins = tar.add_hashed(key, [*bodies, *texts], len(bodies))
    members = [
        Member(f"{key}.{ending}", begin - BLOCK, begin, len(data))
        for begin, (ending, data) in zip(begins, bodies, strict=False)
    ]
    return Placed(start, tar.position - start, members[0], tuple(members[1:]))


def _check_companions(table: pa.Table, placed: Sequence[Placed], digests: Sequence[str]) -> None:
    """Compare them with what was received. Raises: DatasetError: one is something else."""
    if not any(sample.companions for sample in placed):
        return
    found = iter(digests)
    for row in table.select(["raw_part", "raw_tar", "raw_companions"]).to_pylist():
        next(found)
        for item in _companions(row):
            sha256 = next(found)
            if sha256 != item["sha256"]:
                raise DatasetError(
                    f"{row['raw_tar']}:{item['member']}: altered: sha256 {sha256[:16]}; wanted {item['sha256'][:16]}. "
                    f"Delete commits/{FETCH}/{row['raw_part']}.json and run again to fetch that part anew."
                )
