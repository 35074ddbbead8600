"""Checkpoints of a run: folders that count once their record is written, and the newest whole one to resume from.

    checkpoints/step-000100/...              what every rank wrote
    checkpoints/step-000100/COMMITTED.json   step, world size, samples consumed, files with size and sha256; put last

A kill between any two writes leaves a folder without a record, which is not a checkpoint. A checkpoint whose files
do not match its record is passed over for the one before, and said so.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from pipeline.commit import FileStamp, stamp_of
from pipeline.errors import StoreError, TrainingError
from pipeline.recipe import RecipeTable
from pipeline.stage import scratch_folder
from pipeline.store import Store
from pretrain.world import World

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
RECORD = "COMMITTED.json"


class CheckpointConfig(RecipeTable):
    """The `[checkpoint]` table of a training recipe."""

    every_steps: int = Field(ge=1)
    """Steps between checkpoints; the last step always makes one."""
    keep: int = Field(default=2, ge=1)
    """Checkpoints to keep, newest first; two, so that a damaged one has a fall-back."""


class Saves(Protocol):
    """What can write and read its training state as files, all ranks together."""

    def save(self, folder: Path) -> None:
        """Write this rank's share into `folder`, its own."""

    def load(self, folder: Path) -> None:
        """Read from a folder that holds the shares of all ranks."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The record of a committed checkpoint: after `step` steps, written by `world` ranks."""

    step: int
    world: int
    samples: int
    stage: int
    files: tuple[FileStamp, ...]
    loader: dict[str, Any] = field(default_factory=dict)
    """Where the stream of samples stands, as `TrainLoader.state` gives it."""

    @property
    def folder(self) -> str:
        """Name of its folder in the run."""
        return f"{FOLDER}/step-{self.step:06d}"

    def to_json(self) -> bytes:
        """The record as it is stored."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Checkpoint:
        """Read a stored record. Raises: ValueError: not a record."""
        try:
            raw = json.loads(data)
            return cls(**raw | {"files": tuple(FileStamp(**stamp) for stamp in raw["files"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a checkpoint record: {error}") from None


def save(run: Store, state: Saves, checkpoint: Checkpoint, world: World) -> Checkpoint:
    """Write and commit a checkpoint; `checkpoint` says everything but the files. Collective; returns the record."""
    if world.rank == 0:
        run.delete(f"{checkpoint.folder}/{RECORD}")
        run.delete(checkpoint.folder)
    world.barrier()
    stamps = []
    with scratch_folder(run) as scratch:
        state.save(scratch)
        for local in sorted(path for path in scratch.rglob("*") if path.is_file()):
            name = f"{checkpoint.folder}/{local.relative_to(scratch)}"
            stamps.append(stamp_of(name, local))
            run.put_file(local, name)
    files = sorted((stamp for share in world.gather(stamps) for stamp in share), key=lambda stamp: stamp.name)
    made = replace(checkpoint, files=tuple(files))
    if world.rank == 0:
        run.put_bytes(f"{made.folder}/{RECORD}", made.to_json())
        log.info("checkpoint step=%d files=%d mb=%.1f", made.step, len(files), sum(f.bytes for f in files) / 1e6)
    world.barrier()
    return made


def newest(run: Store) -> Checkpoint | None:
    """The newest checkpoint whose files are what its record says, or None where the run has none."""
    for record in committed(run):
        fault = _fault(run, record)
        if fault is None:
            return record
        log.warning("checkpoint step=%d passed over: %s", record.step, fault)
    return None


def load(run: Store, state: Saves, checkpoint: Checkpoint) -> None:
    """Bring `state` to what it was at `checkpoint`. Collective."""
    with fetched(run, checkpoint) as folder:
        state.load(folder)


@contextmanager
def fetched(run: Store, checkpoint: Checkpoint) -> Iterator[Path]:
    """The checkpoint's files as a local folder: itself where local, else a copy that goes away afterwards."""
    if run.is_local:
        yield run.local_path(checkpoint.folder)
        return
    with tempfile.TemporaryDirectory(prefix=f"pairmill-{os.getpid()}-") as temporary:
        for stamp in checkpoint.files:
            target = Path(temporary) / stamp.name.removeprefix(f"{checkpoint.folder}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with run.fetched(stamp.name) as local:
                shutil.copyfile(local, target)
        yield Path(temporary)


def prune(run: Store, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what killed runs left; records go before their files.

    For rank 0, while no rank writes a checkpoint.
    """
    kept = {checkpoint.folder for checkpoint in committed(run)[:keep]}
    for name in _folders(run):
        folder = f"{FOLDER}/{name}"
        if folder not in kept:
            run.delete(f"{folder}/{RECORD}")
            run.delete(folder)


def committed(run: Store) -> list[Checkpoint]:
    """Records of all committed checkpoints, newest first; a damaged record is passed over, and said so."""
    found = []
    for folder in _folders(run):
        name = f"{FOLDER}/{folder}/{RECORD}"
        if not run.exists(name):
            continue
        try:
            found.append(Checkpoint.from_json(run.read_bytes(name)))
        except ValueError as error:
            log.warning("checkpoint %s passed over: %s", name, error)
    return sorted(found, key=lambda checkpoint: -checkpoint.step)


def check_world(checkpoint: Checkpoint, world: int, where: str) -> None:
    """Raises: TrainingError: the checkpoint cannot be read by another number of ranks than wrote it."""
    if checkpoint.stage > 0 and checkpoint.world != world:
        raise TrainingError(
            f"{where}/{checkpoint.folder}: written by {checkpoint.world} workers under ZeRO stage {checkpoint.stage}, "
            f"which keeps a share per worker; this run has {world}. Resume with {checkpoint.world} workers, or start "
            "a new run folder."
        )


def _fault(run: Store, checkpoint: Checkpoint) -> str | None:
    """What is wrong with the files of a checkpoint, or None."""
    for stamp in checkpoint.files:
        try:
            with run.fetched(stamp.name) as local:
                found = stamp_of(stamp.name, local)
        except (StoreError, OSError) as error:
            return f"{stamp.name} cannot be read: {error}"
        if found != stamp:
            return f"{stamp.name} holds {found.bytes} bytes of sha256 {found.sha256[:12]}, wanted {stamp.sha256[:12]}"
    return None


def _folders(run: Store) -> list[str]:
    try:
        entries = run.fs.ls(run.path(FOLDER), detail=True)
    except FileNotFoundError:
        return []
    return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")
