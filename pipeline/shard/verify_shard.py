"""Proves one shard: reads its tar and its index once, and holds them against each other and against their records.

Takes what the manifest says of a shard; gives what is wrong, and the hashes of its keys. Every byte is read once: the
sha256 of the file, its headers, the sha256 of each medium and the texts of each sample come from the same pass. Samples
have to ascend by the hash of their keys, so a shard of another dataset is known even where all records agree with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import Commit, FileStamp
from pipeline.errors import StoreError
from pipeline.shard.files import DATASET, SHARD
from pipeline.shard.key_log import hashes_of
from pipeline.shard.manifest import ShardEntry
from pipeline.shard.order import order_of
from pipeline.shard.problem import Problem
from pipeline.shard.sample import caption_of, said
from pipeline.shard.tar_stream import StreamedMember, TarStream
from pipeline.store import Store
from pipeline.tar import BLOCK

_SAID = ("key", "url", "width", "height", "duration_s", "mime", "sha256", "source", "source_id", "texts", "weight")
"""What both the index and the JSON of a sample say."""
_PROVED = ("member", "offset", "size", "media_offset", "media_size", "media_sha256", *_SAID)
Row = Mapping[str, Any]
_MOST_TOLD = 10
"""Samples of one shard that are named one by one."""


@dataclass(frozen=True)
class ShardItem:
    """A shard to look at.

    `dataset`, `shard` are what its index has to say it is of; `shard` is None where a merge gave it another name.
    """

    entry: ShardEntry
    commit: Commit | None
    seed: int | None
    dataset: str
    shard: str | None
    remedy: str

    def stamp(self, name: str, sha256: str, size: int | None) -> FileStamp | None:
        """What a file of the shard has to be: as committed, else as the manifest says."""
        for stamp in () if self.commit is None else self.commit.files:
            if stamp.name == name:
                return stamp
        return None if size is None and not sha256 else FileStamp(name, -1 if size is None else size, sha256)


@dataclass
class ShardSeen:
    """What was found of one shard. `first`, `last` are (order, key) of its outermost samples."""

    problems: list[Problem] = field(default_factory=list)
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    first: tuple[int, str] | None = None
    last: tuple[int, str] | None = None


def look_at_shard(dataset: Store, item: ShardItem) -> ShardSeen:
    """Read one shard, and say what is wrong with it."""
    seen = ShardSeen()
    rows = _index(dataset, item, seen)
    if rows is not None:
        keys = [row["key"] for row in rows]
        seen.hashes = hashes_of(keys)
        _check_order(item, keys, seen)
    _Tar(dataset, item, rows, seen).check()
    return seen


def _index(dataset: Store, item: ShardItem, seen: ShardSeen) -> list[dict[str, Any]] | None:
    """The rows of the index; None where it cannot be read."""
    name = item.entry.index
    stamp = item.stamp(name, item.entry.index_sha256, None)
    try:
        data = dataset.read_bytes(name)
    except StoreError:
        wanted = "a parquet index" if stamp is None or stamp.bytes < 0 else f"a file of {stamp.bytes} bytes"
        seen.problems.append(Problem(name, "missing or unreadable", wanted, item.remedy))
        return None
    seen.problems += _against_stamp(stamp, len(data), hashlib.sha256(data).hexdigest(), item.remedy)
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        columns = [*_PROVED, *(["companions"] if "companions" in table.column_names else [])]
        rows = table.select(columns).to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        seen.problems.append(Problem(name, f"unreadable: {error}", "a parquet index", item.remedy))
        return None
    seen.problems += _whose(item, table.schema.metadata or {})
    if len(rows) != item.entry.samples:
        wanted = f"{item.entry.samples}, as the manifest says"
        seen.problems.append(Problem(name, f"{len(rows)} samples", wanted, item.remedy))
    return rows


def _against_stamp(stamp: FileStamp | None, size: int, sha256: str | None, remedy: str) -> Iterator[Problem]:
    if stamp is None:
        return
    if stamp.bytes >= 0 and size != stamp.bytes:
        state = "truncated" if size < stamp.bytes else "too long"
        yield Problem(stamp.name, f"{size} bytes ({state})", f"{stamp.bytes} bytes", remedy)
    elif sha256 is not None and sha256 != stamp.sha256:
        yield Problem(stamp.name, f"altered: sha256 {sha256[:16]}", f"sha256 {stamp.sha256[:16]}", remedy)


def _whose(item: ShardItem, metadata: Mapping[bytes, bytes]) -> Iterator[Problem]:
    """The index says of which shard of which dataset it is."""
    dataset, shard = (metadata.get(name, b"").decode("utf-8", "replace") for name in (DATASET, SHARD))
    if dataset != item.dataset or (item.shard is not None and shard != item.shard):
        found = f"the index of shard {shard!r} of dataset {dataset!r}" if dataset else "does not say whose index it is"
        wanted = f"that of {item.shard or item.entry.name!r} of {item.dataset!r}"
        yield Problem(item.entry.index, found, wanted, item.remedy)


def _check_order(item: ShardItem, keys: Sequence[str], seen: ShardSeen) -> None:
    """Samples ascend by (order, key)."""
    if item.seed is None or not keys:
        return
    order = [(order_of(item.seed, key), key) for key in keys]
    seen.first, seen.last = order[0], order[-1]
    for before, after in pairwise(order):
        if before >= after:
            found = f"{after[1]} comes after {before[1]}"
            wanted = f"samples in the order of seed {item.seed}, as this dataset's are"
            seen.problems.append(Problem(item.entry.index, found, wanted, item.remedy))
            return


class _Tar:
    """Holds a tar against its index, in one pass."""

    def __init__(self, dataset: Store, item: ShardItem, rows: Sequence[Row] | None, seen: ShardSeen) -> None:
        self.dataset, self.item, self.rows, self.seen = dataset, item, rows, seen
        self.name = item.entry.tar
        self.told = 0

    def check(self) -> None:
        """Read all of it."""
        entry = self.item.entry
        stamp = self.item.stamp(self.name, entry.sha256, entry.bytes)
        try:
            with TarStream.open(self.dataset, self.name) as stream:
                error = self._members(stream)
                size, sha256 = stream.finish()
        except StoreError:
            wanted = f"a file of {entry.bytes if stamp is None else stamp.bytes} bytes"
            self._tell(self.name, "missing or unreadable", wanted)
            return
        of_file = list(_against_stamp(stamp, size, sha256, self.item.remedy))
        self.seen.problems[:0] = of_file  # the file first, then what of it
        if error is not None:
            wanted = "a tar" if self.rows is None else f"a tar of {len(list(_wanted(self.rows)))} members"
            self._tell(self.name, error, wanted)

    def _members(self, stream: TarStream) -> str | None:
        """Compare the members one by one; gives what is wrong with the tar as such."""
        wanted = None if self.rows is None else _wanted(self.rows)
        number = 0
        try:
            for number, member in enumerate(stream, 1):
                if wanted is not None and not self._is(member, number - 1, next(wanted, None)):
                    wanted = None  # from here on nothing fits: another shard, or another index
        except ValueError as refused:
            return str(refused)
        if wanted is not None and (rest := len(list(wanted))):
            self._tell(self.name, f"{number} members", f"{number + rest}, as its index says")
        return None

    def _is(self, member: StreamedMember, number: int, want: _Member | None) -> bool:
        """Whether this is the member that is wanted here; its content is compared where it is."""
        if want is None:
            self._tell(self.name, f"member {number} is {member.name}", "no further member, as its index says")
            return False
        if (member.name, member.data_offset) != (want.name, want.offset):
            known = member.name.split(".")[0] in {row["key"] for row in self.rows or ()}
            found = f"member {number} is {member.name} at byte {member.data_offset - BLOCK}"
            if not known:
                found += ", of which its index knows nothing: another shard, or one of another dataset"
            self._tell(self.name, found, f"{want.name} at byte {want.offset - BLOCK}, as its index says")
            return False
        if want.size is not None and member.data_size != want.size:
            self._tell(self.name, f"{member.name} is {member.data_size} bytes", f"{want.size}, as its index says")
        else:
            self._content(member, want)
        return True

    def _content(self, member: StreamedMember, want: _Member) -> None:
        part = f"{self.name}:{member.name}"
        if want.sha256 is not None:
            if (sha256 := member.sha256()) != want.sha256:
                self._tell_sample(part, f"altered: sha256 {sha256[:16]}", f"sha256 {want.sha256[:16]}")
        elif (difference := _difference(member, want.row)) is not None:
            self._tell_sample(part, f"altered: {difference}", "what its index says")

    def _tell(self, part: str, found: str, wanted: str) -> None:
        self.seen.problems.append(Problem(part, found, wanted, self.item.remedy))

    def _tell_sample(self, part: str, found: str, wanted: str) -> None:
        self.told += 1
        if self.told <= _MOST_TOLD:
            self._tell(part, found, wanted)
        elif self.told == _MOST_TOLD + 1:
            self._tell(self.name, f"more than {_MOST_TOLD} samples are altered", "none")


@dataclass(frozen=True, slots=True)
class _Member:
    """A member as the index says it; of texts, `row` is what they have to say."""

    name: str
    offset: int
    size: int | None
    sha256: str | None
    row: Row


def _wanted(rows: Sequence[Row]) -> Iterator[_Member]:
    for row in rows:
        bodies = [(row["member"], row["media_offset"], row["media_size"], row["media_sha256"])]
        bodies += [tuple(item[name] for name in _COMPANION) for item in row.get("companions") or ()]
        for name, offset, size, sha256 in bodies:
            yield _Member(name, offset, size, sha256, row)
        caption = len(caption_of(row["texts"]).encode())
        end = row["offset"] + row["size"]
        text = end - caption - (-caption % BLOCK)
        last = bodies[-1]
        yield _Member(f"{row['key']}.json", last[1] + last[2] + (-last[2] % BLOCK) + BLOCK, None, None, row)
        yield _Member(f"{row['key']}.txt", text, caption, None, row)


_COMPANION = ("member", "offset", "size", "sha256")


def _difference(member: StreamedMember, row: Row) -> str | None:
    """Where a text of the sample contradicts the index; None where it does not."""
    data = member.read()
    if member.name.endswith(".txt"):
        return None if data == caption_of(row["texts"]).encode() else "another caption"
    try:
        found = json.loads(data)
    except ValueError:
        return "no JSON"
    for name in _SAID:
        value = said(row[name])
        if found.get(name) != (None if value == [] else value):
            return f"another {name}"
    return None
