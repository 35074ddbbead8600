"""Conceptual Captions 3M: `Train_GCC-training.tsv`, lines of `caption <tab> url` without a header or quoting."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import UNREADABLE, ListFile, open_list
from pipeline.ingest.sources.lines import Record, read_lines, tab_fields
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source


class Cc3m(Source):
    """CC3M and lists of its shape. A row's identifier is `<file>#<line>`, for the list has none."""

    suffixes = (".tsv",)
    licence = "Free for any purpose, acknowledgement appreciated (Google, Conceptual Captions)"
    citation = "Sharma et al. 2018, Conceptual Captions, ACL 2018, aclanthology.org/P18-1238"

    def check_file(self, file: ListFile) -> None:
        """The first line must be two fields, of which the second looks like a link."""
        try:
            with open_list(file.path) as stream:
                first: Record | None = next(tab_fields(read_lines(stream), 2), None)
        except UNREADABLE as error:
            raise SourceError(f"{file.path}: cannot be read: {error}") from None
        if first is None:
            raise SourceError(f"{file.path}: empty; wanted lines of caption <tab> url.")
        if first.fault is not None:
            raise SourceError(
                f"{file.path}: first {first.fault}; wanted caption <tab> url without a header. "
                "For another layout use source.kind = 'table'."
            )
        caption, url = first.value
        if "://" not in url:
            swapped = " The first field does: is this CC12M's url <tab> caption?" if "://" in caption else ""
            raise SourceError(
                f"{file.path}: the second field of line 1 is no link; wanted caption <tab> url.{swapped} "
                "For another layout use source.kind = 'table'."
            )

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per line."""
        with open_list(file.path) as stream:
            for line in tab_fields(read_lines(stream), 2):
                if line.fault is not None:
                    yield Row(line.number, fault=line.fault)
                else:
                    caption, url = line.value
                    yield Row(line.number, url, (RowText(caption, "alt"),))
