"""What a source is: names the files of a list, checks them cheaply, and reads them row by row as CANDIDATE.

A source yields `Row` values as the list has them; `Source.read` makes clean records of them, in batches, for all
sources alike (see `rows.py`): one list row gives one record, whatever it holds. The row number counts all rows of a
file, bad ones included, so an identifier made of it stays the same when the reader's opinion of a row changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import model_validator

from pipeline.errors import SourceError, nearest
from pipeline.ingest.sources.files import UNREADABLE, ListFile, find_lists, stamp_of
from pipeline.ingest.sources.rows import Row, to_record_batch
from pipeline.recipe import RecipeTable

BATCH_ROWS = 2_000


class ListEntry(RecipeTable):
    """One list, or several by a pattern, and what all its rows share."""

    path: str
    """A file, a pattern such as `lists/*.parquet`, or a folder; local, or a URL such as `s3://bucket/lists`."""
    split: str | None = None
    """The split of all rows, such as `train`; none leaves it to the list's own column, or to the key."""


class SourceConfig(RecipeTable):
    """The `[source]` table that all kinds share."""

    kind: str
    """What reads the list: a name in `pipeline.ingest.sources.SOURCES`."""
    name: str | None = None
    """Name of the source in every record and in every key; none takes `kind`. Two lists in one dataset need two."""
    path: str | None = None
    """The list: a file, a pattern or a folder. Either this or `lists`."""
    lists: tuple[ListEntry, ...] = ()
    """Several lists, each of which may set the split of its rows."""
    max_text_bytes: int = 262_144
    """A row with a longer text gets a fault (and so the status `bad_row`); nothing is ever cut."""

    @model_validator(mode="after")
    def _one_way_to_name_lists(self) -> SourceConfig:
        if (self.path is None) == (not self.lists):
            raise ValueError("give either path, or lists = [{path = ..., split = ...}]")
        return self

    @property
    def source_name(self) -> str:
        """The name that records and keys carry."""
        return self.name if self.name is not None else self.kind

    @property
    def entries(self) -> tuple[ListEntry, ...]:
        """The lists, in whichever way they were named."""
        return self.lists if self.path is None else (ListEntry(path=self.path),)


class Source(ABC):
    """Reads one kind of published list."""

    Config: ClassVar[type[SourceConfig]] = SourceConfig
    suffixes: ClassVar[tuple[str, ...]]
    """Endings of this source's files, for a path that is a folder."""
    licence: ClassVar[str]
    """Under what terms the list may be used; the media behind its links have their own."""
    citation: ClassVar[str]
    """Where the list was published."""
    medium: str = "image"
    adopted: ClassVar[Literal["no", "by_status", "all"]] = "no"
    """Whether the media already lie in tars (`tar_of`), and so are taken over instead of fetched: not at all; those of
    rows whose `meta.status` is success, as img2dataset writes it; or those of all rows without a fault."""

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.name = config.source_name
        self._files: list[ListFile] | None = None

    def files(self) -> list[ListFile]:
        """The files of the list, sorted by path inside each entry. Raises: SourceError: there are none."""
        if self._files is None:
            found = find_lists([(entry.path, entry.split) for entry in self.config.entries], self.suffixes)
            self._files = [self._with_further(file) for file in found]
        return self._files

    def further(self, path: str) -> list[str]:
        """Paths of the files that are read together with the list file at `path`: its rows change when they do."""
        return []

    def tar_of(self, path: str) -> str:
        """The tar that holds the media of the list file at `path`, where `adopted` says that there is one."""
        raise NotImplementedError(f"{type(self).__name__} adopts nothing")

    def _with_further(self, file: ListFile) -> ListFile:
        further = self.further(file.path)
        return replace(file, stamp="+".join([file.stamp, *map(stamp_of, further)])) if further else file

    def check(self) -> None:
        """Look at the schema or the first row of every file. Raises: SourceError: one cannot be read as this kind."""
        with ThreadPoolExecutor(16) as pool:  # lists of a hundred files lie in buckets a tenth of a second away
            for _ in pool.map(self.check_file, self.files()):
                pass

    def read(self, file: ListFile) -> Iterator[pa.RecordBatch]:
        """The rows of one file as CANDIDATE batches, in list order and in bounded memory.

        Raises: SourceError: the file ends in the middle, or cannot be read there.
        """
        rows = self.rows(file)
        num_rows = 0
        try:
            while batch := list(islice(rows, BATCH_ROWS)):
                num_rows += len(batch)
                yield to_record_batch(batch, file, self.name, self.medium, self.config.max_text_bytes)
        except (*UNREADABLE, pa.ArrowException) as error:
            raise SourceError(
                f"{file.path}: damaged after about row {num_rows}: {type(error).__name__}: {error}. "
                "Get the list again, or take it out of the recipe's [source]."
            ) from error

    @abstractmethod
    def check_file(self, file: ListFile) -> None:
        """Raise a `SourceError` where `file` cannot be read as this kind."""

    @abstractmethod
    def rows(self, file: ListFile) -> Iterator[Row]:
        """The rows of one file as the list has them, none left out."""


def need_columns(path: str, found: list[str], wanted: list[str]) -> None:
    """Raise a `SourceError` that names the first of `wanted` that is not among `found`."""
    for column in wanted:
        if column not in found:
            have = ", ".join(found[:40]) or "none"
            other_case = [name for name in found if name.lower() == column.lower()]
            raise SourceError(
                f"{path}: has no column {column!r}; found: {have}. {nearest(column, other_case or found)} "
                "Correct the recipe's [source], or the path."
            )
