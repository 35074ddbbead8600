"""Clotho: `clotho_captions_development.csv`, a file name and five captions a row. The sounds come as archives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.ingest.sources.csv_list import csv_columns, csv_rows
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.media import OwnMediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns

_CAPTIONS = tuple(f"caption_{i}" for i in range(1, 6))


class Clotho(Source):
    """Clotho captions. A row's identifier is its file name; `source.media` says where the files are."""

    Config = OwnMediaConfig
    suffixes = (".csv",)
    medium = "audio"
    licence = "Captions: non-commercial with attribution (Tampere University); each sound has its Freesound licence"
    citation = "Drossos et al. 2020, Clotho, ICASSP 2020, arXiv:1910.09387"
    config: OwnMediaConfig

    def check_file(self, file: ListFile) -> None:
        """The file name and all five captions must be there."""
        need_columns(file.path, csv_columns(file.path, ","), ["file_name", *_CAPTIONS])

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per sound."""
        return csv_rows(file.path, ",", self._row)

    def _row(self, number: int, row: dict[str, Any]) -> Row:
        texts = [RowText(row[name], "caption", "en") for name in _CAPTIONS]
        return Row(number, media_url(self.config.media, row["file_name"]), texts, row["file_name"])
