"""Text lists, read line by line: raw tab-separated lines, csv records, JSON lines. Nothing here raises on bad data.

Lines are bytes that need not be UTF-8: they are decoded with surrogates in place of what is not, which
`rows.clean` repairs and notes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import UNREADABLE, open_list
from pipeline.ingest.sources.rows import Row

MAX_LINE_BYTES = 16 << 20
"""A longer line is read in pieces, of which the first makes a faulty row and the others nothing."""

csv.field_size_limit(MAX_LINE_BYTES)


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a text list: its number from 0, its value (fields or object), or what is wrong with it."""

    number: int
    value: Any = None
    fault: str | None = None


def read_lines(stream: IO[bytes]) -> Iterator[Record]:
    """The lines of a file as text without their end; a last line without an end counts, an empty rest does not."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield Record(number, fault=f"line: longer than {MAX_LINE_BYTES} bytes")
        else:
            if number == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield Record(number, line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape"))
        number += 1


def first_records(path: str, parse: Callable[[Iterator[Record]], Iterator[Record]], most: int) -> list[Record]:
    """Up to `most` records that `parse` makes of a file's first lines. Raises: SourceError: it cannot be read."""
    try:
        with open_list(path) as stream:
            return list(islice(parse(read_lines(stream)), most))
    except UNREADABLE as error:
        raise SourceError(f"{path}: cannot be read: {error}") from None


def tab_fields(lines: Iterable[Record], num_fields: int) -> Iterator[Record]:
    """Lines split at tabs, without any quoting; a line with another number of fields gets a fault."""
    for line in lines:
        if line.fault is not None:
            yield line
            continue
        yield _counted(line.number, line.value.split("\t"), num_fields)


def csv_fields(lines: Iterable[Record], delimiter: str, header: Sequence[str] | None) -> Iterator[Record]:
    """Quoted csv records as {column: text}, numbered from 0 after the header; blank lines are no rows.

    `header` None takes the first record as the names. A record that csv cannot read gets a fault, and reading goes
    on with the next line. A quote that is never closed swallows lines up to `MAX_LINE_BYTES`, as RFC 4180 has it.
    """
    reader = csv.reader(_CsvLines(lines), delimiter=delimiter)
    number = 0
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(number, fault=f"line: {error}")
            number += 1
            continue
        if not fields:
            continue
        if header is None:
            header = fields
            continue
        record = _counted(number, fields, len(header))
        yield record if record.fault is not None else Record(number, dict(zip(header, fields, strict=True)))
        number += 1


def csv_header(lines: Iterable[Record], delimiter: str) -> list[str]:
    """The column names in the first record; none where the file is empty, or the record cannot be read."""
    try:
        return next(csv.reader(_CsvLines(lines), delimiter=delimiter), [])
    except csv.Error:
        return []


class _CsvLines:
    """Feeds csv.reader; unlike a generator it can go on after it raised."""

    def __init__(self, lines: Iterable[Record]) -> None:
        self._lines = iter(lines)

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if line.fault is not None:
            raise csv.Error(line.fault.removeprefix("line: "))
        return line.value + "\n"


def json_objects(lines: Iterable[Record]) -> Iterator[Record]:
    """JSON lines as objects; a line that is no object gets a fault. Blank lines are rows too, so numbers stay."""
    for line in lines:
        if line.fault is not None:
            yield line
            continue
        try:
            value = json.loads(line.value)
        except (ValueError, RecursionError) as error:
            yield Record(line.number, fault=f"line: not JSON: {str(error)[:80]}")
            continue
        yield json_object(line.number, value)


def json_object(number: int, value: Any) -> Record:
    """`value` as a row where it is an object, else a fault."""
    if isinstance(value, dict):
        return Record(number, value)
    return Record(number, fault=f"line: {type(value).__name__}, wanted an object")


def as_rows(records: Iterable[Record], make: Callable[[int, Any], Row]) -> Iterator[Row]:
    """A row of each record: `make(number, value)`, or a row that has the record's fault."""
    for record in records:
        yield Row(record.number, fault=record.fault) if record.fault is not None else make(record.number, record.value)


def _counted(number: int, fields: list[str], wanted: int) -> Record:
    if len(fields) == wanted:
        return Record(number, fields)
    return Record(number, fault=f"line: {len(fields)} fields, wanted {wanted}")
