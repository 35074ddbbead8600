"""What a stage is: work on one partition that reads committed parts and makes new files.

A stage declares its name, its settings and its resources; `make` turns one `Part` into local files. It never
publishes anything itself: the engine calls `run_part`, which gives the stage a scratch folder, publishes what it
made and writes the commit record last. A stage therefore may be killed and run again at any moment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pipeline.commit import Commit, publish
from pipeline.store import Store
from pipeline.turns import Turns, TurnTable

SCRATCH = ".scratch"


@dataclass(frozen=True)
class Resources:
    """What one worker of a stage needs. cpus, gpus may be fractions; memory_gb is a reservation, 0 for none.

    turns: `shared` asks for turns that all workers of the stage take from one table.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float = 0.0
    turns: Literal["own", "shared"] = "own"


@dataclass(frozen=True)
class Part:
    """One partition of a stage: its id and what it reads.

    `inputs` are (stage, part id) of the commits it depends on; `facts` is what the planner tells the stage.
    """

    id: str
    inputs: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Copy:
    """A file of another dataset, `name` in the folder at `url`, that the store is to copy by itself."""

    url: str
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Made:
    """What a stage made of one part, still in scratch.

    `files` maps the name in the dataset to the local file. `counts` are the funnel's numbers: reason -> rows.
    `facts` travels in the commit record for later stages: small and JSON. `sha256` has the digests of those files that
    were hashed while they were written, by name. `copies` are files that need not come here first. `unforgotten` has
    the digests that files would have if nothing had been forgotten (pipeline/tombstones.py), by name: what depends on
    them then stays as it is.
    """

    files: Mapping[str, Path]
    rows_in: int
    rows_out: int
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, Copy] = field(default_factory=dict)
    unforgotten: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Workspace:
    """What `make` may touch: the dataset to read from, and a scratch folder of its own to write into.

    `turns` are for what several workers may not do at the same time (pipeline/turns.py).
    """

    dataset: Store
    scratch: Path
    turns: Turns = field(default_factory=TurnTable)


class Stage(Protocol):
    """One hop of the pipeline, run once per partition. A class may inherit what is said here of one without needs."""

    name: ClassVar[str]
    """Name of the stage's commits and of its share of the funnel."""
    version: ClassVar[int]
    """Raised when the stage's code gives other output for the same settings; makes old parts stale."""
    resources: Resources = Resources()

    def settings(self) -> Any:
        """The JSON-like settings that the output depends on, and no others; here none."""
        return {}

    def setup(self) -> None:
        """Load what is needed once per worker: weights, tables, contexts; here nothing."""

    def make(self, part: Part, work: Workspace) -> Made:
        """Do the work of one partition."""


def run_part(stage: Stage, part: Part, made_by: str, dataset: Store, turns: Turns | None = None) -> Commit:
    """Make one part of `stage` and publish it with its commit record, which carries `made_by`.

    Args:
        turns: those that other workers take from as well; none gives the part its own.
    """
    with scratch_folder(dataset) as scratch:
        made = stage.make(part, Workspace(dataset, scratch, TurnTable() if turns is None else turns))
        return publish(dataset, stage.name, part.id, made_by, made)


@contextlib.contextmanager
def scratch_folder(dataset: Store) -> Iterator[Path]:
    """A folder for unfinished files: inside a local dataset, so that publishing is a rename, else in TMPDIR."""
    parent = None
    if dataset.is_local:
        parent = dataset.local_path(SCRATCH)
        parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
