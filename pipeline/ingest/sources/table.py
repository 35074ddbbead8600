"""Any list as a table: parquet, csv, tsv, json lines or json, with the columns that matter named in the recipe.

    [source]
    kind = "table"
    path = "lists/*.parquet"
    url = "image_url"
    text = [{ column = "alt", kind = "alt" }, { column = "title", kind = "title", lang_column = "language" }]
    id = "uid"
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal
from urllib.parse import urljoin

from pydantic import field_validator

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import UNREADABLE, ListFile, open_list, plain_name
from pipeline.ingest.sources.json_items import json_items
from pipeline.ingest.sources.lines import Record, csv_fields, json_object, json_objects, read_lines
from pipeline.ingest.sources.parquet import parquet_columns, parquet_rows
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, SourceConfig, need_columns
from pipeline.recipe import RecipeTable

Format = Literal["parquet", "csv", "tsv", "jsonl", "json"]
_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}


class TextColumn(RecipeTable):
    """A column that holds a text, or a list of texts."""

    column: str
    kind: str = "caption"
    """What the text is: caption, alt, title, reference, question, ..."""
    lang: str | None = None
    """The language of all its texts, as an ISO 639 code."""
    lang_column: str | None = None
    """A column that holds the language of each."""


class TableConfig(SourceConfig):
    """Settings of the `table` source: which column is what. Columns that nothing names go to `meta`."""

    format: Literal["auto"] | Format = "auto"
    """`auto` goes by the file's ending. `json` is one array of objects."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a csv or tsv without a header line; none takes the first line as the header."""
    url: str
    text: tuple[TextColumn, ...]
    """The text columns: one name, or a list of names and tables."""
    id: str | None = None
    """A column whose value is unique in the list; without it a row is `<file>#<row number>`."""
    split: str | None = None
    hash: str | None = None
    """A column of md5 or sha256 in hex that the medium must have."""
    base_url: str | None = None
    """What relative links are joined to."""
    medium: Literal["image", "video", "audio"] = "image"

    @field_validator("text", mode="before")
    @classmethod
    def _names_are_columns(cls, value: Any) -> Any:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple({"column": item} if isinstance(item, str) else item for item in items)

    @property
    def named_columns(self) -> list[str]:
        """Every column that the settings name, once each."""
        names = [self.url, self.id, self.split, self.hash]
        names += [name for item in self.text for name in (item.column, item.lang_column)]
        return list(dict.fromkeys(name for name in names if name is not None))


class Table(Source):
    """A list whose layout the recipe describes."""

    Config = TableConfig
    suffixes = tuple(_FORMATS)
    licence = "that of the list: see its publisher"
    citation = "none: a list of the user's own"
    config: TableConfig

    def __init__(self, config: TableConfig) -> None:
        super().__init__(config)
        self.medium = config.medium

    def check_file(self, file: ListFile) -> None:
        """Every column that the recipe names must be there; of json lines, in one of the first hundred rows."""
        wanted = self.config.named_columns
        if self._format(file) == "parquet":
            need_columns(file.path, parquet_columns(file.path), wanted)
            return
        try:
            records = list(islice(self._records(file), 100))
        except UNREADABLE as error:
            raise SourceError(f"{file.path}: cannot be read: {error}") from None
        found = list(dict.fromkeys(name for record in records if record.value for name in record.value))
        if not records:
            raise SourceError(f"{file.path}: has no rows.")
        if not found and records[0].fault is not None:
            raise SourceError(f"{file.path}: no row can be read as {self._format(file)}: first {records[0].fault}.")
        need_columns(file.path, found, wanted)

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per row; a line that is no row gets a fault."""
        config = self.config
        named = set(config.named_columns)
        for record in self._records(file):
            if record.fault is not None:
                yield Row(record.number, fault=record.fault)
                continue
            value = record.value
            yield Row(
                record.number,
                self._url(value.get(config.url)),
                [text for column in config.text for text in _texts(column, value)],
                source_id=None if config.id is None else value.get(config.id),
                hash=None if config.hash is None else value.get(config.hash),
                split=None if config.split is None else value.get(config.split),
                meta={key: item for key, item in value.items() if key not in named},
            )

    def _url(self, url: Any) -> Any:
        if self.config.base_url is None or not isinstance(url, str) or not url:
            return url
        try:
            return urljoin(self.config.base_url, url)
        except ValueError:
            return url  # fetch says what is wrong with it

    def _format(self, file: ListFile) -> Format:
        if self.config.format != "auto":
            return self.config.format
        name = plain_name(file.path)
        for ending, kind in _FORMATS.items():
            if name.endswith(ending):
                return kind
        known = ", ".join(dict.fromkeys(_FORMATS.values()))
        raise SourceError(f"{file.path}: its ending tells no format; set source.format to one of {known}.")

    def _records(self, file: ListFile) -> Iterator[Record]:
        kind = self._format(file)
        if kind == "parquet":
            yield from (Record(i, row) for i, row in enumerate(parquet_rows(file.path)))
            return
        if kind == "json":
            yield from (json_object(i, value) for i, value in enumerate(json_items(file.path)))
            return
        with open_list(file.path) as stream:
            if kind == "jsonl":
                yield from json_objects(read_lines(stream))
            else:
                header = self.config.columns or None
                yield from csv_fields(read_lines(stream), "," if kind == "csv" else "\t", header)


def _texts(column: TextColumn, row: dict[str, Any]) -> Iterator[RowText]:
    value = row.get(column.column)
    lang = column.lang if column.lang_column is None else row.get(column.lang_column)
    for text in value if isinstance(value, list) else [value]:
        yield RowText(text, column.kind, lang)
