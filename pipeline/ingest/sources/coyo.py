"""COYO-700M: parquet files of url, text and id, with scores for similarity, safety, watermarks and beauty in `meta`."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.parquet import parquet_columns, parquet_rows
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns


class Coyo(Source):
    """COYO-700M. A row's identifier is its `id`, or `<file>#<row>` in a copy without that column."""

    suffixes = (".parquet",)
    licence = "CC-BY 4.0 for the list; each image and text keeps its own"
    citation = "Byeon et al. 2022, COYO-700M, github.com/kakaobrain/coyo-dataset"

    def check_file(self, file: ListFile) -> None:
        """The columns url and text must be there."""
        need_columns(file.path, parquet_columns(file.path), ["url", "text"])

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per row; all columns but url, text and id go to `meta`."""
        for number, row in enumerate(parquet_rows(file.path)):
            url, text, own_id = row.pop("url"), row.pop("text"), row.pop("id", None)
            yield Row(number, url, (RowText(text, "alt"),), own_id, meta=row)
