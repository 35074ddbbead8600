"""Conceptual Captions 3M: `Train_GCC-training.tsv`, lines of `caption <tab> url` without a header or quoting."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.link_lines import check_links, link_rows
from pipeline.ingest.sources.rows import Row
from pipeline.ingest.sources.source import Source


class Cc3m(Source):
    """CC3M and lists of its shape. A row's identifier is `<file>#<line>`, for the list has none."""

    suffixes = (".tsv",)
    licence = "Free for any purpose, acknowledgement appreciated (Google, Conceptual Captions)"
    citation = "Sharma et al. 2018, Conceptual Captions, ACL 2018, aclanthology.org/P18-1238"

    def check_file(self, file: ListFile) -> None:
        """The first line must be two fields, of which the second looks like a link."""
        check_links(file, "caption url")

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per line."""
        return link_rows(file, "caption url")
