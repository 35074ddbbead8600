"""LAION parquet lists: 400M, 2B, 5B, Re-LAION, their aesthetic subsets and LAION-COCO, told apart by their columns.

What they share is a URL and a TEXT column, in either case. SAMPLE_ID, where there, is the row's identifier;
`md5` its promised hash; LANGUAGE the language of TEXT; `top_caption`, `all_captions` further (made) texts.
All other columns go to `meta`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.parquet import parquet_columns, parquet_rows
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns

_ROLES = {
    "url": "url",
    "text": "text",
    "sample_id": "id",
    "language": "lang",
    "md5": "hash",
    "top_caption": "top",
    "all_captions": "all",
}


class Laion(Source):
    """Any published LAION parquet list."""

    suffixes = (".parquet",)
    licence = "CC-BY 4.0 for the list; each image and text keeps its own"
    citation = "Schuhmann et al. 2021, arXiv:2111.02114; Schuhmann et al. 2022, arXiv:2210.08402"

    def check_file(self, file: ListFile) -> None:
        """URL and TEXT must be there, in either case."""
        names = parquet_columns(file.path)
        roles = _by_role(names)
        need_columns(file.path, names, [role.upper() for role in ("url", "text") if role not in roles])

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per row."""
        names = parquet_columns(file.path)
        need_columns(file.path, [name.lower() for name in names], ["url", "text"])
        column = _by_role(names)
        rest = [name for name in names if name not in column.values() and not name.startswith("__index_level_")]
        for number, row in enumerate(parquet_rows(file.path)):
            lang = row.get(column["lang"]) if "lang" in column else None
            texts = [RowText(row[column["text"]], "alt", lang)]
            made = [row.get(column["top"])] if "top" in column else []
            made += (row.get(column["all"]) or []) if "all" in column else []
            texts += [RowText(text, "synthetic") for text in dict.fromkeys(map(_hashable, made))]
            yield Row(
                number,
                row[column["url"]],
                texts,
                source_id=row.get(column["id"]) if "id" in column else None,
                hash=row.get(column["hash"]) if "hash" in column else None,
                meta={name: row[name] for name in rest},
            )


def _by_role(names: list[str]) -> dict[str, str]:
    return {_ROLES[name.lower()]: name for name in names if name.lower() in _ROLES}


def _hashable(value: object) -> object:
    return value if value is None or isinstance(value, str) else repr(value)
