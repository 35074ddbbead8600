"""A dataset folder as the report sees it: whatever is there, and a note for whatever is not.

Nothing that is missing, old or half done stops the page. What stops it is a folder that holds no dataset at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import Commit, read_commits
from pipeline.errors import AskedWrongly, DatasetError, RunFailed
from pipeline.funnel import STAGES, Funnel, read_funnel
from pipeline.store import Store


@dataclass
class Folder:
    """A dataset; `notes` are sentences for the top of the page."""

    dataset: Store
    name: str
    recipe: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, url: str) -> Folder:
        """Read the card. Raises: AskedWrongly: there is no dataset at `url`, or its card is damaged."""
        dataset = Store(url)
        if not dataset.exists("dataset.json"):
            raise AskedWrongly(
                f"{url}: holds no dataset (no dataset.json). Name a folder that `pairmill curate` wrote."
            )
        try:
            card = json.loads(dataset.read_bytes("dataset.json"))
            return cls(dataset, str(card["name"]), dict(card["recipe"]))
        except (ValueError, TypeError, KeyError):
            raise AskedWrongly(
                f"{url}/dataset.json: not the card of a dataset. Run `pairmill curate` again, which writes it."
            ) from None

    @cached_property
    def fetched(self) -> dict[str, Commit]:
        """The raw parts."""
        return self._commits("fetch")

    @cached_property
    def judged(self) -> dict[str, Commit]:
        """The verdicts, by raw part."""
        return self._commits("judge")

    @cached_property
    def cut(self) -> dict[str, Commit]:
        """The shards."""
        return self._commits("cut")

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Names of all stages that have records."""
        return tuple(self.dataset.folders("commits"))

    def commits(self, stage: str) -> dict[str, Commit]:
        """The records of a stage; a damaged one is noted, and the stage taken as absent."""
        known = {"fetch": "fetched", "judge": "judged", "cut": "cut"}
        return getattr(self, known[stage]) if stage in known else self._commits(stage)

    @cached_property
    def funnel(self) -> Funnel:
        """The funnel as far as it adds up."""
        for until in reversed(STAGES):
            try:
                return read_funnel(self.dataset, until)  # type: ignore[arg-type]
            except DatasetError as error:
                self.note(f"The funnel is shown without its last hops: {error}")
        return Funnel((), {})

    @cached_property
    def scorers(self) -> dict[str, dict[str, str]]:
        """Scorer -> raw part -> file of its scores: what records name, or all files where a scorer has no records."""
        found = {}
        for name in self.dataset.folders("scores"):
            by_record = {
                part: f"scores/{name}/{part}.parquet"
                for part, commit in self._commits(f"score-{name}").items()
                if any(stamp.name == f"scores/{name}/{part}.parquet" for stamp in commit.files)
            }
            files = {file.removesuffix(".parquet") for file in self.dataset.list(f"scores/{name}", ".parquet")}
            if files and not by_record:
                self.note(f"Scores of {name!r} have no commit records, so nothing says that they are of this data.")
            parts = by_record or {part: f"scores/{name}/{part}.parquet" for part in files}
            found[name] = {part: parts[part] for part in sorted(parts) if part in self.fetched}
        return {name: parts for name, parts in found.items() if parts}

    @cached_property
    def wholes(self) -> dict[str, float]:
        """Numbers of the whole dataset that rules were judged by: `top(clip.similarity, 0.3)` -> the number."""
        found: dict[str, float] = {}
        for stage in self.stages:
            if stage.startswith("quantile-") and stage.endswith("-found"):
                for commit in self._commits(stage).values():
                    numbers = commit.facts.get("numbers")
                    found |= {key: value for key, value in dict(numbers or {}).items() if value is not None}
        return found

    def schema(self, file: str) -> pa.Schema | None:
        """Columns of a parquet file; None, and a note, where it cannot be read."""
        try:
            with self.dataset.open(file) as stream:
                return pq.ParquetFile(stream).schema_arrow
        except (RunFailed, pa.ArrowException, OSError) as error:
            self.note(f"{file} cannot be read: {type(error).__name__}. Run `pairmill verify`.")
            return None

    def read(self, file: str, columns: Sequence[str]) -> pa.Table:
        """Those of `columns` that the file has. Raises: DatasetError: it cannot be read."""
        try:
            if self.dataset.is_local:
                return pq.ParquetFile(self.dataset.local_path(file)).read(columns=list(columns), use_threads=False)
            with self.dataset.open(file) as stream:
                return pq.ParquetFile(stream).read(columns=list(columns), use_threads=False)
        except (RunFailed, pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{self.dataset.url}/{file}: cannot be read: {type(error).__name__}. Run `pairmill verify`."
            ) from error

    def note(self, sentence: str) -> None:
        """Say `sentence` at the top of the page, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _commits(self, stage: str) -> dict[str, Commit]:
        try:
            return read_commits(self.dataset, stage)
        except DatasetError as error:
            self.note(f"The records of {stage!r} are left out: {error}")
            return {}
