"""The global shuffle of kept samples: each row gets an `order`, and rows are sorted by it over all parts.

    raw/00042.parquet + verdicts/<hash>/00042.parquet  --Order-->  rows of one part, with `order` and `split`
    all parts                                          --Sort-->   buckets, each sorted by (split, order, key)

What travels is metadata: where the medium lies in its raw tar, and the finished JSON of the sample. Media bytes are
touched once, by the cut. `order` is a hash of seed and key, so a sample's rank depends on no other stage's order.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import Commit, read_commit
from pipeline.errors import DatasetError
from pipeline.record import STORED_COMPANION, TEXT, Status, key_fraction
from pipeline.shard.config import SPLIT_NAME, TRAIN, ShardConfig
from pipeline.shard.sample import (
    JSON_FIELDS,
    caption_of,
    extension_of,
    is_shard_key,
    licence_of,
    sample_json,
    tar_bytes,
)
from pipeline.shuffle import Gather, Scatter, read_bucket
from pipeline.stage import Made, Part, Workspace
from pipeline.store import Store

FETCH = "fetch"
JUDGE = "judge"

ORDERED = pa.schema(
    [
        ("order", pa.uint64()),
        ("key", pa.string()),
        ("split", pa.string()),
        ("weight", pa.float32()),
        ("mime", pa.string()),
        ("extension", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duration_s", pa.float32()),
        ("texts", pa.list_(TEXT)),
        ("sha256", pa.string()),
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("url", pa.string()),
        ("raw_part", pa.string()),
        ("raw_tar", pa.string()),
        ("raw_offset", pa.int64()),
        ("raw_size", pa.int64()),
        ("json", pa.large_binary()),
        ("caption", pa.string()),
        ("licence", pa.string()),
        ("raw_companions", pa.list_(STORED_COMPANION)),
        ("tar_bytes", pa.int64()),
    ]
)
"""A kept sample on its way into a shard. `raw_*` locate the medium; `json` and `caption` are members as they will be
written. `licence` is what the list states, null where it states none. `raw_companions` are those that were stored,
null where none was. `tar_bytes` is what all members take in a tar, headers and padding included."""

SORTED_ROWS = 4_096
"""Rows of a row group of a sorted bucket: a shard reads those that hold its rows."""

_READ = ["key", "split", "meta", "member", "outcome", "tar_offset", "tar_bytes", "stored_companions"]
_COLUMNS = [*_READ, *(name for name in JSON_FIELDS if name != "weight")]


def order_of(seed: int, key: str) -> int:
    """The place of a sample in the global shuffle, as a number below 2**64."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest(), "big")


def split_of(key: str, listed: str | None, config: ShardConfig) -> str | None:
    """The split of a sample: the list's own, else by its key. None where the list's is no name for a split."""
    if listed is not None:
        return listed if SPLIT_NAME.fullmatch(listed) else None
    place = key_fraction(key, config.split_salt)
    upper = 0.0
    for split, fraction in sorted(config.splits.items()):
        upper += fraction
        if place < upper:
            return split
    return TRAIN


class Order(Scatter):
    """Reads a part and its verdict; gives its kept rows in order."""

    name = "order"
    version = 3

    def __init__(self, bits: int, config: ShardConfig) -> None:
        super().__init__(bits)
        self.config = config

    def settings(self) -> Any:
        """What decides the rows: not how many of them a shard takes."""
        return {"bits": self.bits, **self.config.model_dump(include={"seed", "splits", "split_salt"})}

    def part(self, id: str) -> Part:
        """The descriptor of one part."""
        return Part(id, ((FETCH, id), (JUDGE, id)))

    def make(self, part: Part, work: Workspace) -> Made:
        """Write the sorted rows; count those that did not come along."""
        made = super().make(part, work)
        judged = committed(work.dataset, JUDGE, part.id)
        with work.dataset.open(judged.file(".parquet")) as stream:
            keep = pq.ParquetFile(stream).read(columns=["keep"]).column("keep").to_pylist()
        counts = {"not_kept": keep.count(False), "bad_split": keep.count(True) - made.rows_out}
        return dataclasses.replace(made, rows_in=len(keep), counts=counts)

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """The kept rows of one part.

        Raises: DatasetError: the verdict speaks of other rows, or keeps one that holds no medium.
        """
        fetched = committed(work.dataset, FETCH, part.id)
        judged = committed(work.dataset, JUDGE, part.id)
        with work.dataset.open(fetched.file(".parquet")) as stream:
            raw = pq.ParquetFile(stream).read(columns=_COLUMNS)
        with work.dataset.open(judged.file(".parquet")) as stream:
            verdict = pq.ParquetFile(stream).read(columns=["key", "keep", "weight"])
        if raw.column("key").to_pylist() != verdict.column("key").to_pylist():
            raise DatasetError(
                f"{work.dataset.url}/{judged.file('.parquet')}: speaks of other rows than {fetched.file('.parquet')}. "
                f"Delete commits/{JUDGE}/{part.id}.json and run again to judge the part anew."
            )
        kept = raw.append_column("weight", verdict.column("weight")).filter(verdict.column("keep"))
        rows = []
        for row in kept.to_pylist():
            split = split_of(row["key"], row["split"], self.config)
            if split is not None:
                rows.append(self._ordered(row, split, fetched))
        return pa.Table.from_pylist(rows, ORDERED)

    def _ordered(self, row: Mapping[str, Any], split: str, fetched: Commit) -> dict[str, Any]:
        key = row["key"]
        if row["tar_offset"] is None or row["tar_bytes"] is None:
            raise DatasetError(
                f"part {fetched.part}: key {key} is kept, but its outcome is {row['outcome']!r} and no medium is "
                "stored. A verdict may keep fetched rows only; correct the judge stage and run it again."
            )
        if not is_shard_key(key):
            raise DatasetError(
                f"part {fetched.part}: key {key!r} cannot name members of a shard; wanted at most 64 letters, digits, "
                "'-' and '_'. Make keys with record.sample_key."
            )
        companions = [item for item in row["stored_companions"] or () if item["outcome"] == Status.SUCCESS]
        finished, caption = sample_json(row), caption_of(row["texts"])
        sizes = (row["tar_bytes"], *(item["bytes"] for item in companions), len(finished), len(caption.encode()))
        return {name: row[name] for name in ORDERED.names if name in row} | {
            "order": order_of(self.config.seed, key),
            "split": split,
            "extension": extension_of(row["member"], row["mime"]),
            "raw_part": fetched.part,
            "raw_tar": fetched.file(".tar"),
            "raw_offset": row["tar_offset"],
            "raw_size": row["tar_bytes"],
            "json": finished,
            "caption": caption,
            "licence": licence_of(row["meta"]),
            "raw_companions": companions or None,
            "tar_bytes": tar_bytes(sizes),
        }


class Sort(Gather):
    """Sorts one range of `order` by (split, order, key), and tells how many rows of each split it holds.

    Rows whose key finished shards hold already (`taken`) are left out, and counted.
    """

    name = "sort"
    version = 3

    def __init__(
        self, scatter: Scatter, parts: Sequence[str], taken: Scatter | None = None, taken_parts: Sequence[str] = ()
    ) -> None:
        super().__init__(scatter, parts)
        self.taken, self.taken_parts = taken, tuple(taken_parts)

    def buckets(self) -> list[Part]:
        """The parts of this stage; each also reads the taken keys of its range."""
        held = () if self.taken is None else tuple((self.taken.name, part) for part in self.taken_parts)
        return [dataclasses.replace(part, inputs=part.inputs + held) for part in super().buckets()]

    def make(self, part: Part, work: Workspace) -> Made:
        """Reduce one bucket; count the rows that came twice, and those that earlier shards hold."""
        rows = read_bucket(work.dataset, self.scatter, self.parts, part.facts["bucket"])
        once = _once(rows)
        fresh = once
        if self.taken is not None and self.taken_parts:
            held = read_bucket(work.dataset, self.taken, self.taken_parts, part.facts["bucket"]).column("key")
            fresh = once.filter(pc.invert(pc.is_in(once.column("key"), held.combine_chunks())))
        table, facts = self.reduce(fresh)
        local = work.scratch / "sorted.parquet"
        pq.write_table(table, local, compression="zstd", row_group_size=SORTED_ROWS)
        counts = {"duplicate_key": len(rows) - len(once), "in_earlier_shards": len(once) - len(fresh)}
        name = f"shuffle/{self.name}/gather/{part.id}.parquet"
        forgotten = table.column("raw_tar").null_count  # rows that keep their place alone
        return Made({name: local}, len(rows), len(table) - forgotten, counts, facts)

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """The bucket, split by split."""
        table = table.sort_by([("split", "ascending"), ("order", "ascending"), ("key", "ascending")])
        counts = table.column("split").value_counts().to_pylist()
        return table, {"samples": {item["values"]: item["counts"] for item in counts}}


def _once(table: pa.Table) -> pa.Table:
    """Each key once: as the first raw part has it."""
    table = table.sort_by([(name, "ascending") for name in ("order", "key", "raw_part", "raw_offset")])
    keys = table.column("key").combine_chunks()
    if len(keys) < 2:
        return table
    return table.filter(pa.concat_arrays([pa.array([True]), pc.not_equal(keys[1:], keys[:-1])]))


def committed(dataset: Store, stage: str, part: str) -> Commit:
    """The commit of a part that has to be there."""
    commit = read_commit(dataset, stage, part)
    if commit is None:
        raise DatasetError(f"{dataset.url}: {stage} part {part} is not committed. Run the {stage} stage first.")
    return commit


