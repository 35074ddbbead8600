"""The `forgetting` stage: one committed part without the samples of a request, made beside it.

Takes a commit of any stage. Gives its changed files under `forgetting/`, and in the record what the part becomes;
`settle` puts them in its place. A part that holds none of the samples gives nothing. The order of the rows that stay,
and every file that holds none of the samples, are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np

from pipeline.commit import (
    FORGETTING,
    REWRITTEN,
    Commit,
    FileStamp,
    Forgot,
    drop_part,
    read_commit,
    read_commits,
    replace_part,
)
from pipeline.errors import DatasetError
from pipeline.forget.hops import Edit, Rewritten, rewritten
from pipeline.forget.request import read_request
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import Store


class Rewrite(Stage):
    """Rewrites parts for one request."""

    name: ClassVar[str] = FORGETTING
    version: ClassVar[int] = 1

    def __init__(self, request: str, nodes: Mapping[str, np.ndarray] | None = None) -> None:
        """`nodes`: step -> values that no row has any more, which its tables are rid of: see `nodes.py`."""
        self.request, self.nodes = request, dict(nodes or {})

    def settings(self) -> Any:
        """The request."""
        return [self.request]

    @staticmethod
    def part(commit: Commit) -> Part:
        """The descriptor of a part to rewrite."""
        return Part(f"{commit.stage}@{commit.part}", ((commit.stage, commit.part),))

    def make(self, part: Part, work: Workspace) -> Made:
        """Rewrite one part. Raises: DatasetError: a file is not what its record says."""
        stage, id = part.inputs[0]
        old = read_commit(work.dataset, stage, id)
        if old is None:
            raise DatasetError(f"{work.dataset.url}: {stage} part {id} is gone. Run `pairmill curate`; forget again.")
        if old.forgot is not None and self.request in old.forgot.by:
            return Made({}, 0, 0)
        removal = read_request(work.dataset, self.request).removal
        new = rewritten(Edit(old, removal, work, self.nodes))
        if not new.files and new.counts in (None, old.counts):
            return Made({}, 0, 0)
        becomes = _becomes(old, new, self.request)
        files = {REWRITTEN + name: local for name, local in new.files.items()}
        return Made(files, old.rows_in, becomes.rows_out, {}, {"becomes": asdict(becomes)})


def _becomes(old: Commit, new: Rewritten, request: str) -> Commit:
    """The record of the rewritten part, with the stamps of the old files."""
    sha256 = {stamp.name: stamp.sha256 for stamp in old.files if stamp.name in new.files}
    forgot = Forgot((request,), old.content(), sha256, old.rows_out, old.counts)
    if old.forgot is not None:
        forgot = replace(old.forgot, by=(*old.forgot.by, request), sha256=sha256 | dict(old.forgot.sha256))
    return replace(
        old,
        rows_out=old.rows_out if new.rows_out is None else new.rows_out,
        counts=old.counts if new.counts is None else new.counts,
        facts=old.facts if new.facts is None else new.facts,
        forgot=forgot,
    )


def settle(dataset: Store) -> None:
    """Put every rewritten part in its place; may be stopped and called again at any moment."""
    for waiting in read_commits(dataset, FORGETTING).values():
        if "becomes" in waiting.facts:
            replace_part(dataset, *as_part(waiting))
        drop_part(dataset, waiting)


def as_part(waiting: Commit) -> tuple[Commit, dict[str, str]]:
    """The record that the rewritten part will have, and where each of its files lies until then."""
    becomes = Commit.of(waiting.facts["becomes"])
    stamps = {stamp.name.removeprefix(REWRITTEN): stamp for stamp in waiting.files}
    files = tuple(_in_place(stamps.get(stamp.name, stamp)) for stamp in becomes.files)
    return replace(becomes, files=files), {name: stamp.name for name, stamp in stamps.items()}


def _in_place(stamp: FileStamp) -> FileStamp:
    return replace(stamp, name=stamp.name.removeprefix(REWRITTEN))
