"""Proves a dataset: re-reads what was published, and holds it against every record that speaks of it.

Takes a dataset folder; gives a list of problems, empty where it is whole. Every file of every commit is read once, in
parallel, wherever the engine runs; shards are held against their indexes as well (`verify_shard.py`). Then comes what
only the whole can tell (`verify_whole.py`). A folder of shards alone is held against its manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.commit import FORGET, FORGETTING, RAW, RETRY, REWRITTEN, WAITING, Commit, read_commit
from pipeline.engine import Engine, EngineConfig
from pipeline.errors import DatasetError, StoreError
from pipeline.shard.cut import Cut
from pipeline.shard.key_log import KeyLog
from pipeline.shard.manifest import MANIFEST, Manifest, read_manifest
from pipeline.shard.problem import Problem, Remedies
from pipeline.shard.verify_shard import ShardItem, ShardSeen, look_at_shard
from pipeline.shard.verify_whole import (
    beside_the_manifest,
    between_shards,
    manifest_against_commits,
    strangers,
    twice,
    with_generations,
)
from pipeline.store import Store

_FINISH_FORGETTING = "Run `pairmill forget DATASET`, or `pairmill curate` with its recipe: either finishes it."
_FINISH = "Run `pairmill curate` with its recipe, or `pairmill retry`: either finishes it."


def verify(dataset: Store, engine: Engine | None = None) -> list[Problem]:
    """Everything that is wrong with a dataset folder, in a fixed order.

    Args:
        engine: where files are read; none takes threads of this process.
    """
    engine = engine or Engine(dataset, EngineConfig(place="process"))
    commits, problems = _commits(dataset)
    try:
        manifest, why = read_manifest(dataset), ""
    except DatasetError as error:
        manifest, why = None, str(error)
    remedies = _remedies(dataset, manifest, commits)
    items = _items(commits, manifest, remedies)
    seen: list[ShardSeen] = [ShardSeen()] * len(items)
    with KeyLog() as keys:
        for number, found in engine.each("verify", _look, list(enumerate(items))):
            keys.add(number, found.hashes)
            seen[number] = replace(found, hashes=found.hashes[:0])
        for found in seen:
            problems += found.problems
        stopped = [commit for commit in commits if commit.stage == FORGET and not commit.facts["done"]]
        if stopped:  # shards and manifest are between two states
            return [*problems, *map(_stopped, stopped)]
        if manifest is None:
            remedy = "Run `pairmill shard` to finish the dataset."
            return [*problems, Problem(MANIFEST, why, "a readable manifest", remedy)]
        cuts = {commit.part: commit for commit in commits if commit.stage == Cut.name}
        if remedies.made != "copied":
            problems += manifest_against_commits(manifest, cuts, remedies)
        problems += beside_the_manifest(dataset, manifest, remedies)
        problems += strangers(dataset, manifest, commits)
        entries = {number: item.entry for number, item in enumerate(items) if isinstance(item, ShardItem)}
        shards = {entry.name: seen[number] for number, entry in entries.items()}
        problems += between_shards(manifest, shards, remedies)
        return [*problems, *twice(dataset, entries, keys, remedies)]


@dataclass(frozen=True)
class _FileItem:
    """The files of a commit that is no shard of the manifest."""

    commit: Commit
    remedy: str


def _remedies(dataset: Store, manifest: Manifest | None, commits: Sequence[Commit]) -> Remedies:
    if not commits and not dataset.exists("dataset.json"):
        return Remedies("copied")
    if manifest is None:
        return Remedies()
    earlier = manifest.generations[:-1]
    counts = {name: sum(generation.shards.get(name, 0) for generation in earlier) for name in manifest.splits}
    finished = [entry.id for name, split in manifest.splits.items() for entry in split.shards[: counts[name]]]
    return Remedies("merged") if manifest.sources else Remedies("cut", frozenset(finished))


def _items(
    commits: Sequence[Commit], manifest: Manifest | None, remedies: Remedies
) -> list[ShardItem | _FileItem]:
    """What to look at: each file belongs to one item."""
    cuts = {commit.part: commit for commit in commits if commit.stage == Cut.name}
    shards: list[ShardItem | _FileItem] = []
    for entry, generation in () if manifest is None else with_generations(manifest):
        assert manifest is not None
        seed, merged = (None, None) if generation is None else (generation.seed, generation.dataset)
        says = (manifest.name, entry.name) if merged is None else (merged, None)
        shards.append(ShardItem(entry, cuts.pop(entry.id, None), seed, *says, remedies.of_shard(entry)))
    others = [commit for commit in commits if commit.stage != Cut.name or commit.part in cuts]
    return [*(_FileItem(commit, remedies.of_part(commit)) for commit in others), *shards]


def _look(dataset: Store, numbered: tuple[int, ShardItem | _FileItem]) -> tuple[int, ShardSeen]:
    """Read the files of one item."""
    number, item = numbered
    if isinstance(item, _FileItem):
        look = _LOOKS.get(item.commit.stage, _files)
        return number, ShardSeen(list(look(dataset, item.commit, item.remedy)))
    seen = look_at_shard(dataset, item)
    if item.commit is not None:
        rest = [stamp for stamp in item.commit.files if stamp.name not in (item.entry.tar, item.entry.index)]
        seen.problems += _files(dataset, replace(item.commit, files=tuple(rest)), item.remedy)
    return number, seen


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


def _files(dataset: Store, commit: Commit, remedy: str) -> Iterator[Problem]:
    for stamp in commit.files:
        try:
            size = dataset.size(stamp.name)
            digest = _sha256(dataset, stamp.name) if size == stamp.bytes else None
        except StoreError:
            yield Problem(stamp.name, "missing or unreadable", f"a file of {stamp.bytes} bytes", remedy)
            continue
        if size != stamp.bytes:
            state = "truncated" if size < stamp.bytes else "too long"
            yield Problem(stamp.name, f"{size} bytes ({state})", f"{stamp.bytes} bytes", remedy)
        elif digest != stamp.sha256:
            yield Problem(stamp.name, f"altered: sha256 {digest[:16]}", f"sha256 {stamp.sha256[:16]}", remedy)


def _patch(dataset: Store, commit: Commit, remedy: str) -> list[Problem]:
    """A part that `retry` patched and had no time to put in its place."""
    damaged = list(_files(dataset, _where_it_lies(dataset, commit, WAITING, RAW), remedy))
    if damaged:
        return damaged
    found = f"an interrupted retry: the patched {RAW}{commit.part} is complete, and not in its place yet"
    return [Problem(f"commits/{RETRY}/{commit.part}.json", found, "no retry that waits", _FINISH)]


def _rewritten(dataset: Store, commit: Commit, remedy: str) -> Iterator[Problem]:
    """A part that `forget` rewrote and had no time to put in its place."""
    return _files(dataset, _where_it_lies(dataset, commit, REWRITTEN, ""), remedy)


_LOOKS = {RETRY: _patch, FORGETTING: _rewritten}
"""Stage -> how parts are looked at that wait beside those whose place they take."""


def _where_it_lies(dataset: Store, commit: Commit, waiting: str, place: str) -> Commit:
    """A part on its way from one folder to another: some of its files may have been moved already."""
    moved = []
    for stamp in commit.files:
        there = place + stamp.name.removeprefix(waiting)
        moved.append(stamp if dataset.exists(stamp.name) else replace(stamp, name=there))
    return replace(commit, files=tuple(moved))


def _stopped(request: Commit) -> Problem:
    found = f"an interrupted request to forget {request.counts['samples']:,} samples: some parts still hold them"
    return Problem(f"commits/{FORGET}/{request.part}.json", found, "a request that is carried out", _FINISH_FORGETTING)


def _sha256(dataset: Store, name: str) -> str:
    with dataset.open(name) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
