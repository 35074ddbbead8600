"""Lists of two fields a line, a caption and a link, separated by a tab; without a header and without quoting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile, open_list
from pipeline.ingest.sources.lines import first_records, read_lines, tab_fields
from pipeline.ingest.sources.rows import Row, RowText

Order = Literal["caption url", "url caption"]
_LISTS: dict[Order, str] = {"caption url": "CC3M", "url caption": "CC12M"}


def check_links(file: ListFile, order: Order) -> None:
    """The first line must be two fields, of which the right one looks like a link. Raises: SourceError: it does not."""
    wanted = " <tab> ".join(order.split())
    other = "source.kind = 'table'"
    found = first_records(file.path, lambda lines: tab_fields(lines, 2), 1)
    if not found:
        raise SourceError(f"{file.path}: empty; wanted lines of {wanted}.")
    first = found[0]
    if first.fault is not None:
        raise SourceError(
            f"{file.path}: first {first.fault}; wanted {wanted} without a header. For another layout use {other}."
        )
    place = order.split().index("url")
    if "://" not in first.value[place]:
        swapped = next(item for item in _LISTS if item != order)
        guess = f" The other does: is this {_LISTS[swapped]}'s {' <tab> '.join(swapped.split())}?"
        raise SourceError(
            f"{file.path}: the {('first', 'second')[place]} field of line 1 is no link; wanted {wanted}."
            f"{guess if '://' in first.value[1 - place] else ''} For another layout use {other}."
        )


def link_rows(file: ListFile, order: Order) -> Iterator[Row]:
    """One row per line; its text is an alt-text."""
    place = order.split().index("url")
    with open_list(file.path) as stream:
        for line in tab_fields(read_lines(stream), 2):
            if line.fault is not None:
                yield Row(line.number, fault=line.fault)
            else:
                yield Row(line.number, line.value[place], (RowText(line.value[1 - place], "alt"),))
