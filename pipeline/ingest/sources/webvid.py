"""WebVid and lists of its shape: csv with videoid, contentUrl, duration, page_dir and name, the caption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.ingest.sources.csv_list import csv_columns, csv_rows
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns

_NEEDED = ("videoid", "contentUrl", "name")


class Webvid(Source):
    """WebVid-2M and WebVid-10M. A row's identifier is its videoid."""

    suffixes = (".csv",)
    medium = "video"
    licence = "Non-commercial research; the publisher has withdrawn the list, and the videos are their owners'"
    citation = "Bain et al. 2021, Frozen in Time, ICCV 2021, arXiv:2104.00650"

    def check_file(self, file: ListFile) -> None:
        """The columns videoid, contentUrl and name must be there."""
        need_columns(file.path, csv_columns(file.path, ","), list(_NEEDED))

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per record; the other columns go to `meta`."""
        return csv_rows(file.path, ",", self._row)

    def _row(self, number: int, row: dict[str, Any]) -> Row:
        meta = {name: value for name, value in row.items() if name not in _NEEDED}
        return Row(number, row["contentUrl"], (RowText(row["name"]),), row["videoid"], meta=meta)
