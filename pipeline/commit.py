"""The commit protocol: a part exists when its commit record does.

    commits/<stage>/<part>.json = {stage, part, made_by, files: [{name, bytes, sha256}],
                                   rows_in, rows_out, counts, facts}
                                   and of a part that `forget` took rows out of: forgot

Order of publication: remove a stale record, put the files, put the record. A kill between any two of these leaves
either the old part, or no part; never a record that speaks of other bytes. `made_by` is the hash of what made the
part (stage, its version and settings, and the content of its inputs): a rerun redoes a part exactly when that
hash differs. Taking rows out of a part, and of all that was made of it, makes nothing stale: the part stands for the
content that it had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DatasetError
from pipeline.recipe import digest_of
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.stage import Made


RETRY, WAITING, RAW = "retry", "retried/", "raw/"
"""A part that `retry` patched: its stage, and the folders where its files wait and where they belong."""

FORGET, FORGETTING, REWRITTEN = "forget", "forgetting", "forgetting/"
"""Requests to forget; parts rewritten for one that are not in their place yet, and the folder where they lie."""

MAX_REMEMBERED = 200_000
"""Commit records that one store object keeps in memory, about 2 kB each."""


@dataclass(frozen=True)
class FileStamp:
    """A published file: its name in the dataset, its size and the sha256 of its bytes."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Forgot:
    """What `forget` did to a part: the requests it was rewritten by, and what it was when its stage had made it.

    `content` is the hash of that content; `sha256` has that of each file that was rewritten since, by name.
    """

    by: tuple[str, ...]
    content: str
    sha256: Mapping[str, str]
    rows_out: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Commit:
    """The record of one finished part."""

    stage: str
    part: str
    made_by: str
    files: tuple[FileStamp, ...]
    rows_in: int
    rows_out: int
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    forgot: Forgot | None = None

    def content(self) -> str:
        """Hash of the part's content; a redo that gives the same bytes makes nothing after it stale."""
        return self._content if self.forgot is None else self.forgot.content

    def as_made(self) -> Commit:
        """The record as the stage wrote it: what plans are made by, so that forgetting makes none of them stale."""
        if self.forgot is None:
            return self
        before = self.forgot
        files = tuple(replace(stamp, sha256=before.sha256.get(stamp.name, stamp.sha256)) for stamp in self.files)
        return replace(self, files=files, rows_out=before.rows_out, counts=before.counts, forgot=None)

    @cached_property
    def _content(self) -> str:  # a step over the whole dataset asks for it once per part and bucket
        return digest_of([[stamp.name, stamp.sha256] for stamp in self.files] + [self.facts])

    def file(self, suffix: str) -> str:
        """Name of the part's file that ends in `suffix`."""
        for stamp in self.files:
            if stamp.name.endswith(suffix):
                return stamp.name
        raise DatasetError(f"commit {self.stage}/{self.part}: holds no {suffix} file. Run it again.")

    def to_json(self) -> bytes:
        """The record as it is stored: the same commit gives the same bytes."""
        said = asdict(self)
        if self.forgot is None:
            del said["forgot"]
        return json.dumps(said, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Commit:
        """Read a stored record. Raises: DatasetError: not a commit record."""
        try:
            return cls.of(json.loads(data))
        except (ValueError, TypeError, KeyError):
            raise DatasetError(
                f"{where}: not a commit record (damaged or foreign). Delete it, and run again to redo that part."
            ) from None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Commit:
        """The commit that `asdict` made a dictionary of. Raises: TypeError, KeyError: it is none."""
        files = tuple(FileStamp(**stamp) for stamp in said["files"])
        forgot = said.get("forgot")
        if forgot is not None:
            forgot = Forgot(**{**forgot, "by": tuple(forgot["by"])})
        return cls(**{**said, "files": files, "forgot": forgot})


def made_by_hash(stage: str, version: int, settings: Any, inputs: Iterable[Commit]) -> str:
    """Hash of everything that decides a part's content."""
    return digest_of([stage, version, settings, [[commit.stage, commit.part, commit.content()] for commit in inputs]])


def publish(dataset: Store, stage: str, part: str, made_by: str, made: Made) -> Commit:
    """Publish the files of a part, then its record. Returns the record that stands."""
    record = _record(stage, part)
    standing = read_commit(dataset, stage, part)
    if standing is not None and standing.made_by == made_by:
        return standing  # another attempt of the same work was first; ours is dropped with its scratch folder
    files = tuple(stamp_of(name, local, made.sha256.get(name)) for name, local in made.files.items())
    files += tuple(FileStamp(name, there.bytes, there.sha256) for name, there in made.copies.items())
    commit = Commit(stage, part, made_by, files, made.rows_in, made.rows_out, dict(made.counts), dict(made.facts))
    if made.unforgotten:
        forgot = Forgot((), "", dict(made.unforgotten), commit.rows_out, commit.counts)
        commit = replace(commit, forgot=replace(forgot, content=replace(commit, forgot=forgot).as_made().content()))
    if standing is not None:
        dataset.delete(record)
        for stamp in standing.files:
            if stamp.name not in made.files and stamp.name not in made.copies:
                dataset.delete(stamp.name)
    for name, local in made.files.items():
        dataset.put_file(local, name)
    for name, there in made.copies.items():
        dataset.copy_within(Store(there.url), there.name, name)
    dataset.put_bytes(record, commit.to_json())
    return commit


def replace_part(dataset: Store, new: Commit, lying_at: Mapping[str, str]) -> None:
    """Put `new` in the place of the part that stands; its files lie in the dataset already, under other names.

    A kill leaves the old part, or moved files without a record: call it again with the same arguments.

    Args:
        lying_at: name in the record -> name where the file lies until it is moved; the others are in their place.
    """
    wanted = {stamp.name for stamp in new.files}
    standing = read_commit(dataset, new.stage, new.part)
    dataset.delete(_record(new.stage, new.part))
    for stamp in () if standing is None else standing.files:
        if stamp.name not in wanted:
            dataset.delete(stamp.name)
    for name, there in lying_at.items():
        if dataset.exists(there):  # else an earlier call has moved it
            dataset.move(there, name)
    write_commit(dataset, new)


def write_commit(dataset: Store, commit: Commit) -> None:
    """Put a record whose files are in their place, whole or not at all."""
    dataset.put_bytes(_record(commit.stage, commit.part), commit.to_json())


def stamp_of(name: str, local: Path, sha256: str | None = None) -> FileStamp:
    """Size and sha256 of a finished local file, under the name it will have; it is read where nobody hashed it yet."""
    if sha256 is None:
        with local.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileStamp(name, local.stat().st_size, sha256)


def read_commit(dataset: Store, stage: str, part: str) -> Commit | None:
    """The record of one part, or None where the part does not exist."""
    name = _record(stage, part)
    if not dataset.exists(name):
        return None
    return Commit.from_json(dataset.read_bytes(name), f"{dataset.url}/{name}")


def read_commits(dataset: Store, stage: str) -> dict[str, Commit]:
    """Part id -> record of every finished part of a stage, sorted by part id.

    Every stage of a run asks for the records of those before it. The store is listed each time, and only records that
    it shows to be new are read.
    """
    versions = dataset.versions(f"commits/{stage}", ".json")
    remembered: dict[str, _Remembered] = dataset.memory.setdefault("commits", {})
    before = remembered.pop(stage, {})
    known = {name: before[name][1] for name, version in versions.items() if _is_known(before.get(name), version)}

    def read(name: str) -> Commit:
        path = f"commits/{stage}/{name}"
        return Commit.from_json(dataset.read_bytes(path), f"{dataset.url}/{path}")

    unknown = [name for name in versions if name not in known]
    if unknown:
        with ThreadPoolExecutor(1 if dataset.is_local else 16) as pool:
            known.update(zip(unknown, pool.map(read, unknown), strict=True))
    remembered[stage] = {name: (version, known[name]) for name, version in versions.items()}
    while len(remembered) > 1 and sum(map(len, remembered.values())) > MAX_REMEMBERED:
        del remembered[next(iter(remembered))]  # the stage asked for longest ago
    commits = [known[name] for name in versions]
    return {commit.part: commit for commit in commits}


_Remembered = dict[str, tuple[tuple[Any, ...] | None, Commit]]


def _is_known(remembered: tuple[tuple[Any, ...] | None, Commit] | None, version: tuple[Any, ...] | None) -> bool:
    return remembered is not None and version is not None and remembered[0] == version


def drop_part(dataset: Store, commit: Commit) -> None:
    """Remove a part: its record first, so that no record ever speaks of missing files."""
    dataset.delete(_record(commit.stage, commit.part))
    for stamp in commit.files:
        dataset.delete(stamp.name)


def _record(stage: str, part: str) -> str:
    return f"commits/{stage}/{part}.json"
