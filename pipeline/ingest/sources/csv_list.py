"""Lists in csv or tsv with quoting and a header line, as rows of {column: text}."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import UNREADABLE, open_list
from pipeline.ingest.sources.lines import as_rows, csv_fields, csv_header, read_lines
from pipeline.ingest.sources.rows import Row


def csv_columns(path: str, delimiter: str) -> list[str]:
    """The column names in the header line. Raises: SourceError: the file cannot be read, or is empty."""
    try:
        with open_list(path) as stream:
            names = csv_header(read_lines(stream), delimiter)
    except UNREADABLE as error:
        raise SourceError(f"{path}: cannot be read: {error}") from None
    if not names:
        raise SourceError(f"{path}: has no header line; wanted one of column names.")
    return names


def csv_rows(path: str, delimiter: str, make: Callable[[int, dict[str, Any]], Row]) -> Iterator[Row]:
    """`make(number, record)` of each record; one that cannot be read, or has too few fields, gives a fault."""
    with open_list(path) as stream:
        yield from as_rows(csv_fields(read_lines(stream), delimiter, None), make)
