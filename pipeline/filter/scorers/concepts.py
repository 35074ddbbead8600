"""The concepts of a sample's text: which entries of a list it holds, as MetaCLIP matches them.

The list is the user's: MetaCLIP's has 500,000 entries from WordNet and Wikipedia. How the entries are balanced over the
whole dataset is a step of its own (pipeline/filter/steps/balance.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.filter.named_file import content_sha256, named_file, state_of
from pipeline.filter.ranges import ranged
from pipeline.filter.text.choice import Which, chosen_text, row_texts
from pipeline.filter.text.entries import Case, Entries, read_entries
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources

_SETTING = "score.concepts.entries"


class ConceptsScoreConfig(RecipeTable):
    """The `[score.concepts]` table."""

    entries: str
    """The list: a UTF-8 file of one entry per line, or a JSON list of strings (.json). An entry's id is its place, from
    0; of equal entries the first counts."""
    case: Case = "keep"
    """`keep` compares as written, as MetaCLIP does; `lower` compares both in lower case."""
    which: Which = "all"
    """Which text of a row: the `first`, the `longest`, or `all`: entries that any of them holds."""


class ConceptsScore:
    """matches: ids of the entries held, ascending. num_matches: how many."""

    name: ClassVar[str] = "concepts"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("texts",)
    writes: ClassVar[pa.Schema] = pa.schema([("matches", pa.list_(pa.int32())), ranged("num_matches", pa.int32(), 0)])
    resources: ClassVar[Resources] = Resources(cpus=1)

    def __init__(self, config: ConceptsScoreConfig) -> None:
        self.config = config

    def settings(self) -> Any:
        """The settings, and the list by its content."""
        return {**self.config.model_dump(mode="json"), "entries": content_sha256(self._file())}

    def check(self) -> None:
        """Refuse a list that is not there, or is none."""
        read_entries(self.config.entries, _SETTING)

    def setup(self) -> None:
        """Build the table of entries, once per process: about a second for half a million."""
        self._entries()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Search the texts of each row, one by one: no entry lies across two."""
        entries = self._entries()
        found = [self._matches(entries, texts) for texts in row_texts(table.column("texts"))]
        counts = np.fromiter(map(len, found), np.int32, len(found))
        return pa.table({"matches": found, "num_matches": counts}, schema=self.writes)

    def _matches(self, entries: Entries, texts: Sequence[str]) -> list[int]:
        if self.config.which != "all" or len(texts) == 1:
            return entries.matches(chosen_text(texts, self.config.which))
        return sorted({number for text in texts for number in entries.matches(text)})

    def _file(self) -> Path:
        return named_file(self.config.entries, _SETTING, "a file with one entry per line")

    def _entries(self) -> Entries:
        return _built(self.config.entries, state_of(self._file()), self.config.case)


@lru_cache(maxsize=2)
def _built(path: str, state: tuple[int, int], case: Case) -> Entries:
    """The table of a list as it is now; one worker of Ray makes many parts."""
    return Entries(read_entries(path, _SETTING), case)
