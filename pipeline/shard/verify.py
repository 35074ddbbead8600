"""Proves a dataset: re-reads what was published and compares it with every record that speaks of it.

Takes a dataset folder; gives a list of problems, empty where it is whole. Checked are every commit's files (size,
and sha256 where `deep`), the manifest against the commits, each shard's tar against its index and the manifest,
files that nobody published, and keys that come twice. One shard at a time is looked at; of the keys, 8 bytes each
are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import RAW, RETRY, WAITING, Commit, FileStamp, read_commit
from pipeline.errors import DatasetError, StoreError
from pipeline.shard.cut import Cut
from pipeline.shard.files import SHARDS
from pipeline.shard.manifest import MANIFEST, Manifest, ShardEntry, read_manifest
from pipeline.shard.publish import Publish
from pipeline.store import Store
from pipeline.tar import BLOCK, read_members

_FINISH = "Run `pairmill curate` with its recipe, or `pairmill retry`: either finishes it."
_PLACES = ["key", "member", "offset", "size", "media_offset", "media_size", "media_sha256", "companions"]
"""Columns of a shard's index; `companions` is in those of shards that hold some."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the file or part it is about, what was found, what was wanted, what to do."""

    part: str
    found: str
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.part}: {self.found}; wanted {self.wanted}. {self.remedy}"


def verify(dataset: Store, deep: bool = True) -> list[Problem]:
    """Everything that is wrong with a dataset folder, in a fixed order.

    Args:
        deep: also read every byte: sha256 of each file, and of each medium in a shard that is not as published.
    """
    commits, problems = _commits(dataset)
    for commit in commits:
        problems += _files(dataset, commit, deep) if commit.stage != RETRY else _patch(dataset, commit, deep)
    try:
        manifest = read_manifest(dataset)
    except DatasetError as error:
        wanted = "a readable manifest"
        return [*problems, Problem(MANIFEST, str(error), wanted, "Run `pairmill shard` to finish the dataset.")]
    cuts = {commit.part: commit for commit in commits if commit.stage == Cut.name}
    problems += _manifest_against_commits(manifest, cuts)
    problems += _strangers(dataset, manifest, commits)
    hashes = []
    damaged = {problem.part for problem in problems}
    for entry in _entries(manifest):
        rows, found = _shard(dataset, entry, deep and entry.tar in damaged)
        problems += found
        hashes.append(_hashes([row["key"] for row in rows]))
    return [*problems, *_twice(dataset, list(_entries(manifest)), hashes)]


def _entries(manifest: Manifest) -> Iterator[ShardEntry]:
    for split in manifest.splits.values():
        yield from split.shards


def _remake(commit_stage: str, part: str) -> str:
    return f"Delete commits/{commit_stage}/{part}.json and run again; only that part is made anew."


def _remake_shard(entry: ShardEntry) -> str:
    return _remake(Cut.name, entry.name.removesuffix(".tar").replace("/", "-"))


def _commits(dataset: Store) -> tuple[list[Commit], list[Problem]]:
    commits, problems = [], []
    for stage in dataset.folders("commits"):
        for name in dataset.list(f"commits/{stage}", ".json"):
            path = f"commits/{stage}/{name}"
            try:
                commit = read_commit(dataset, stage, name.removesuffix(".json"))
            except DatasetError as error:
                problems.append(Problem(path, str(error), "a commit record", "Delete it and run again."))
                continue
            if commit is None:
                continue
            if (commit.stage, f"{commit.part}.json") != (stage, name):
                found = f"a record of {commit.stage} part {commit.part}"
                problems.append(Problem(path, found, "the record its name says", "Delete it and run again."))
                continue
            commits.append(commit)
    return commits, problems


def _files(dataset: Store, commit: Commit, deep: bool) -> Iterator[Problem]:
    for stamp in commit.files:
        remedy = _remake(commit.stage, commit.part)
        try:
            size = dataset.size(stamp.name)
            digest = _sha256(dataset, stamp.name) if deep and size == stamp.bytes else None
        except StoreError:
            yield Problem(stamp.name, "missing or unreadable", f"a file of {stamp.bytes} bytes", remedy)
            continue
        if size != stamp.bytes:
            state = "truncated" if size < stamp.bytes else "too long"
            yield Problem(stamp.name, f"{size} bytes ({state})", f"{stamp.bytes} bytes", remedy)
        elif digest is not None and digest != stamp.sha256:
            yield Problem(stamp.name, f"altered: sha256 {digest[:16]}", f"sha256 {stamp.sha256[:16]}", remedy)


def _patch(dataset: Store, commit: Commit, deep: bool) -> list[Problem]:
    """A part that `retry` patched and had no time to put in its place: some of its files may lie there already."""
    moved = []
    for stamp in commit.files:
        there = RAW + stamp.name.removeprefix(WAITING)
        moved.append(stamp if dataset.exists(stamp.name) else replace(stamp, name=there))
    damaged = list(_files(dataset, replace(commit, files=tuple(moved)), deep))
    if damaged:
        return damaged
    found = f"an interrupted retry: the patched {RAW}{commit.part} is complete, and not in its place yet"
    return [Problem(f"commits/{RETRY}/{commit.part}.json", found, "no retry that waits", _FINISH)]


def _sha256(dataset: Store, name: str) -> str:
    with dataset.open(name) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _manifest_against_commits(manifest: Manifest, cuts: Mapping[str, Commit]) -> Iterator[Problem]:
    """The manifest names exactly the shards that are committed, with their bytes."""
    remedy = f"Delete commits/{Publish.name}/all.json and run `pairmill shard` to write the manifest anew."
    stamps: dict[str, tuple[Commit, FileStamp]] = {
        stamp.name: (commit, stamp) for commit in cuts.values() for stamp in commit.files
    }
    named = set()
    for entry in _entries(manifest):
        named.add(entry.tar)
        for name, sha256 in ((entry.tar, entry.sha256), (entry.index, entry.index_sha256)):
            if name not in stamps:
                yield Problem(name, "named by the manifest, committed by no part", "a committed shard", remedy)
            elif stamps[name][1].sha256 != sha256:
                found = f"the manifest says sha256 {sha256[:16]}"
                yield Problem(name, found, f"sha256 {stamps[name][1].sha256[:16]}, as committed", remedy)
        if entry.tar in stamps and stamps[entry.tar][0].rows_out != entry.samples:
            rows = stamps[entry.tar][0].rows_out
            yield Problem(entry.tar, f"the manifest says {entry.samples} samples", f"{rows}, as committed", remedy)
    for name in sorted(stamps):
        if name.endswith(".tar") and name not in named:
            yield Problem(name, "committed, but not in the manifest", "a manifest that names all shards", remedy)
    for split_name, split in manifest.splits.items():
        if split.samples != sum(entry.samples for entry in split.shards):
            wanted = f"{sum(entry.samples for entry in split.shards)}, the sum of its shards"
            yield Problem(MANIFEST, f"split {split_name} has {split.samples} samples", wanted, remedy)


def _strangers(dataset: Store, manifest: Manifest, commits: Sequence[Commit]) -> Iterator[Problem]:
    """Files among the shards that no commit speaks of: readers that take a glob would read them."""
    known = {stamp.name for commit in commits for stamp in commit.files}
    for folder in sorted({*dataset.folders(SHARDS), *manifest.splits}):
        for name in dataset.list(f"{SHARDS}/{folder}"):
            path = f"{SHARDS}/{folder}/{name}"
            if path not in known:
                yield Problem(path, "published by no part (foreign, or left by a kill)", "no such file", "Delete it.")


def _shard(dataset: Store, entry: ShardEntry, each_medium: bool) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Rows of the index, and where tar, index and manifest differ."""
    remedy = _remake_shard(entry)
    try:
        with dataset.open(entry.index) as stream:
            rows = pq.ParquetFile(stream).read(columns=_PLACES).to_pylist()
    except (StoreError, OSError, pa.ArrowException) as error:
        return [], [Problem(entry.index, f"unreadable: {error}", "a parquet index", remedy)]
    problems = []
    if len(rows) != entry.samples:
        wanted = f"{entry.samples}, as the manifest says"
        problems.append(Problem(entry.index, f"{len(rows)} samples", wanted, remedy))
    try:
        with dataset.fetched(entry.tar) as path:
            problems += _tar(path, rows, entry, each_medium)
    except (StoreError, OSError) as error:
        problems.append(Problem(entry.tar, f"unreadable: {error}", "a tar", remedy))
    return rows, problems


def _tar(path: Path, rows: Sequence[Mapping[str, Any]], entry: ShardEntry, each_medium: bool) -> Iterator[Problem]:
    """The members of a tar are those of its index: names, order, offsets and sizes, and an end after the last."""
    with path.open("rb") as stream:
        members, error = [], None
        try:
            for member in read_members(stream):
                members.append(member)
        except ValueError as refused:
            error = str(refused)
        wanted = list(_wanted_members(rows))
        found = [(member.name, member.offset) for member in members]
        remedy = _remake_shard(entry)
        if error is not None:
            yield Problem(entry.tar, error, f"a tar of {len(wanted)} members", remedy)
        for number, (have, want) in enumerate(zip(found, wanted, strict=False)):
            if have[0] != want[0] or (want[1] is not None and have[1] != want[1]):
                place = f"member {number} is {have[0]} at byte {have[1]}"
                yield Problem(entry.tar, place, f"{want[0]} at byte {want[1]}, as its index says", remedy)
                return  # from here on nothing fits: another shard, or another index
        if len(found) != len(wanted) and error is None:
            yield Problem(entry.tar, f"{len(found)} members", f"{len(wanted)}, as its index says", remedy)
        sizes = {member.name: (member.data_offset, member.data_size) for member in members}
        for name, offset, size, sha256 in (body for row in rows for body in _bodies(row)):
            place = sizes.get(name)
            if place is not None and place != (offset, size):
                wanted_place = f"bytes {offset}, {size} long, as its index says"
                yield Problem(entry.tar, f"{name} at {place[0]}, {place[1]} long", wanted_place, remedy)
            elif place is not None and each_medium:
                stream.seek(place[0])
                digest = hashlib.sha256(stream.read(place[1])).hexdigest()
                if digest != sha256:
                    part, wanted_digest = f"{entry.tar}:{name}", f"sha256 {sha256[:16]}"
                    yield Problem(part, f"altered: sha256 {digest[:16]}", wanted_digest, remedy)


def _wanted_members(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, int | None]]:
    for row in rows:
        following = row["offset"]
        for name, offset, size, _ in _bodies(row):
            yield name, following
            following = offset + size + (-size % BLOCK)
        yield f"{row['key']}.json", following
        yield f"{row['key']}.txt", None


def _bodies(row: Mapping[str, Any]) -> Iterator[tuple[str, int, int, str]]:
    """(member, offset, size, sha256) of the medium of a sample, then of its companions."""
    yield row["member"], row["media_offset"], row["media_size"], row["media_sha256"]
    for item in row.get("companions") or ():
        yield item["member"], item["offset"], item["size"], item["sha256"]


def _hashes(keys: Sequence[str]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(digests, np.uint64)


def _twice(dataset: Store, entries: Sequence[ShardEntry], hashes: Sequence[np.ndarray]) -> Iterator[Problem]:
    """Keys that more than one sample has; a second look at the shards that 64 bits of hash point to."""
    values, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]), return_counts=True)
    suspects = values[counts > 1]
    first: dict[str, ShardEntry] = {}
    for entry, mine in zip(entries, hashes, strict=True):
        if not len(suspects) or not np.isin(mine, suspects).any():
            continue
        with dataset.open(entry.index) as stream:
            keys = pq.ParquetFile(stream).read(columns=["key"]).column("key").to_pylist()
        for key in (key for key, suspect in zip(keys, np.isin(mine, suspects), strict=True) if suspect):
            if key in first:
                yield Problem(
                    entry.tar,
                    f"key {key} again",
                    f"each key once; it is also in {first[key].tar}",
                    "Delete the folders `commits/cut` and `commits/manifest`, and run `pairmill shard`.",
                )
            first.setdefault(key, entry)
