"""WIT, the Wikipedia-based image text dataset: `wit_v1.train.all-00000-of-00010.tsv.gz`, 17 columns with a header.

Reference description, attribution description and alt-text become texts of the kinds `reference`, `attribution` and
`alt`, in that order. Their language is the page's; the attribution's only where the list says that it passed as such.
The other columns go to `meta`, empty ones left out. One row per image on a page: an image of many pages is many rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.ingest.sources.csv_list import csv_columns, csv_rows
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns

_KINDS = {
    "caption_reference_description": "reference",
    "caption_attribution_description": "attribution",
    "caption_alt_text_description": "alt",
}
_OWN = frozenset({"language", "image_url", *_KINDS})


class Wit(Source):
    """WIT. A row's identifier is `<file>#<row>`, for the list has none."""

    suffixes = (".tsv",)
    licence = "CC BY-SA 3.0 for the list and Wikipedia's texts; each image has its own"
    citation = "Srinivasan et al. 2021, WIT, SIGIR 2021, arXiv:2103.01913"

    def check_file(self, file: ListFile) -> None:
        """Language, image_url and at least one of the three descriptions must be there."""
        names = csv_columns(file.path, "\t")
        texts = [name for name in _KINDS if name in names]
        need_columns(file.path, names, ["language", "image_url", *(texts or _KINDS)])

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per record."""
        return csv_rows(file.path, "\t", self._row)

    def _row(self, number: int, row: dict[str, Any]) -> Row:
        texts = [RowText(row.get(name), kind, _language(row, kind)) for name, kind in _KINDS.items()]
        meta = {name: value for name, value in row.items() if name not in _OWN and value != ""}
        return Row(number, row["image_url"], texts, meta=meta)


def _language(row: dict[str, Any], kind: str) -> str | None:
    if kind == "attribution" and row.get("attribution_passes_lang_id", "").lower() != "true":
        return None
    return row["language"]
