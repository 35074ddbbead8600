"""Parquet lists, read batch by batch; columns of text that is not UTF-8 do not stop the reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import open_list

BATCH_ROWS = 2_000


def parquet_columns(path: str) -> list[str]:
    """The column names of a parquet file. Raises: SourceError: not a readable parquet file."""
    try:
        with open_list(path) as stream:
            return pq.ParquetFile(stream).schema_arrow.names
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{path}: cannot be read as parquet: {reason}") from None


def parquet_rows(path: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file as {column: value}, without pandas' index columns."""
    for batch in parquet_batches(path, columns):
        yield from batch_rows(batch)


def parquet_batches(path: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a parquet file in batches of at most `BATCH_ROWS`, without pandas' index columns."""
    with open_list(path) as stream:
        file = pq.ParquetFile(stream)
        names = file.schema_arrow.names if columns is None else columns
        names = [name for name in names if not name.startswith("__index_level_")]
        yield from file.iter_batches(BATCH_ROWS, columns=names)


def batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch as {column: value}."""
    names = batch.schema.names
    for row in zip(*map(column_values, batch.columns), strict=True):
        yield dict(zip(names, row, strict=True))


def column_values(column: pa.Array) -> list[Any]:
    """Python values of a column; text that is not UTF-8 comes with surrogates in place of the bad bytes.

    A value that Python cannot hold (a date beyond year 9999, nested text that is not UTF-8) comes as text where it
    can be told so, else as empty bytes, which no text or link is.
    """
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
            return [None if item is None else item.decode("utf-8", "surrogateescape") for item in raw.to_pylist()]
        return [_value(item) for item in column]


def _value(item: pa.Scalar) -> Any:
    for read in (item.as_py, lambda: item.cast(pa.string()).as_py()):
        try:
            return read()
        except (ValueError, OverflowError, pa.ArrowException):
            continue
    return b""
