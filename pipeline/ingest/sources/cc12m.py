"""Conceptual 12M: `cc12m.tsv`, lines of `url <tab> caption` without a header; names in captions are `<PERSON>`."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.link_lines import check_links, link_rows
from pipeline.ingest.sources.rows import Row
from pipeline.ingest.sources.source import Source


class Cc12m(Source):
    """CC12M and lists of its shape. A row's identifier is `<file>#<line>`, for the list has none."""

    suffixes = (".tsv",)
    licence = "Free for any purpose, acknowledgement appreciated (Google, Conceptual 12M)"
    citation = "Changpinyo et al. 2021, Conceptual 12M, CVPR 2021, arXiv:2102.08981"

    def check_file(self, file: ListFile) -> None:
        """The first line must be two fields, of which the first looks like a link."""
        check_links(file, "url caption")

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per line."""
        return link_rows(file, "url caption")
