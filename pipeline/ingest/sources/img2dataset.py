"""A folder written by img2dataset (1.47 and before): `00000.tar`, `00000.parquet`, `00000_stats.json`.

Its parquet files are the list: all rows, failures included. The media are taken out of the tars by the `adopt`
stage, so nothing is downloaded again. A row's identifier is its img2dataset key; its status, error message, sizes
and sha256 travel in `meta`, under the names img2dataset gave them.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile, find_lists
from pipeline.ingest.sources.parquet import parquet_columns, parquet_rows
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns

_OWN = ("url", "caption", "key")


class Img2dataset(Source):
    """An output folder of img2dataset in its `webdataset` format."""

    suffixes = (".parquet",)
    adopted = "by_status"
    licence = "that of the list img2dataset was given"
    citation = "Beaumont 2021, github.com/rom1504/img2dataset"

    def check_file(self, file: ListFile) -> None:
        """The columns that img2dataset writes must be there, and the tar beside it."""
        need_columns(file.path, parquet_columns(file.path), ["url", "key", "status"])
        try:
            find_lists([(self.tar_of(file.path), None)], (".tar",))
        except SourceError:
            raise SourceError(
                f"{file.path}: no {self.tar_of(file.name)} beside it; wanted a folder that img2dataset wrote with "
                "output_format = webdataset. To download its rows again, use source.kind = 'table'."
            ) from None

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per row, those that img2dataset could not download included."""
        for number, row in enumerate(parquet_rows(file.path)):
            meta = {name: value for name, value in row.items() if name not in _OWN}
            texts = (RowText(row.get("caption"), "caption"),)
            yield Row(number, row.get("url"), texts, row.get("key"), row.get("md5"), meta=meta)

    def tar_of(self, path: str) -> str:
        """The tar beside the parquet file."""
        return path.removesuffix(".parquet") + ".tar"
