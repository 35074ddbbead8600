"""Reads the columns that expressions name for one raw part: from its record, its scores, and the list's own columns.

`list.<column>` lies in the record's `meta`, a JSON object per row. Arrow's JSON reader takes the wanted fields of all
rows at once; rows that it cannot take as they are (a number as text, values of mixed kinds) are read one by one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from pipeline.errors import DatasetError
from pipeline.filter.verdicts.expression.check import LIST_TABLE, Kind
from pipeline.filter.verdicts.expression.evaluate import Value, value_of
from pipeline.store import Store

_TYPES = {Kind.NUMBER: pa.float64(), Kind.TEXT: pa.string(), Kind.BOOLEAN: pa.bool_()}


def read_columns(dataset: Store, part: str, columns: Mapping[str, Kind], record: Collection[str] = ()) -> pa.Table:
    """The columns as one table under their full names, and `record` columns of the raw parquet as `record.<name>`.

    Raises: DatasetError: a file lacks a column, or has rows of another part.
    """
    by_table: dict[str, list[str]] = {"record": list(record)}
    for name in columns:
        table, column = name.split(".", 1)
        names = by_table.setdefault(table, [])
        if column not in names:
            names.append(column)
    from_list = by_table.pop(LIST_TABLE, [])
    if from_list and "meta" not in by_table["record"]:
        by_table["record"].append("meta")
    found: dict[str, Any] = {}
    for table, names in by_table.items():
        file = f"raw/{part}.parquet" if table == "record" else f"scores/{table}/{part}.parquet"
        read = _read(dataset, file, names) if names else None
        found.update({} if read is None else {f"{table}.{name}": read.column(name) for name in names})
    if from_list:
        kinds = {name: columns[f"{LIST_TABLE}.{name}"] for name in from_list}
        listed = list_columns(found["record.meta"], kinds)
        found.update({f"{LIST_TABLE}.{name}": array for name, array in listed.items()})
    sizes = {len(column) for column in found.values()}
    if len(sizes) > 1:
        raise DatasetError(f"{dataset.url}: part {part}: scores of other rows than the raw part. Run `pairmill score`.")
    return pa.table(found)


def values_of(table: pa.Table, columns: Mapping[str, Kind]) -> dict[str, Value]:
    """The columns of a read table as expressions see them."""
    return {name: value_of(table.column(name)) for name in columns}


def list_columns(meta: pa.ChunkedArray, kinds: Mapping[str, Kind]) -> dict[str, pa.Array]:
    """Fields of JSON objects as columns of the kinds; what is absent, or of another kind, is null.

    A number may be written as text (`"0.31"`), as lists of tab-separated values have it.
    """
    names = list(kinds)
    plain = {name: _TYPES[kind] for name, kind in kinds.items() if kind in _TYPES}
    if len(plain) == len(names):
        try:
            return _by_arrow(meta, plain)
        except (pa.ArrowException, UnicodeError, OverflowError):
            pass  # some row is of another form: below, each is read by itself
    rows = [_object(text) for text in meta.to_pylist()]
    return {name: pa.array([_as(row.get(name), kinds[name]) for row in rows], _type(kinds[name])) for name in names}


def _by_arrow(meta: pa.ChunkedArray, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """Fast, and strict: an error where a row is not of the wanted types."""
    text = meta.fill_null("{}").to_pylist()
    if any("\n" in row for row in text):
        raise pa.ArrowInvalid("a row of several lines")
    data = "\n".join(text).encode()
    schema = pa.schema(list(types.items()))
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    reading = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
    table = pj.read_json(pa.BufferReader(data), reading, options)
    if table.num_rows != len(meta):
        raise pa.ArrowInvalid("not one object per row")
    return {name: _finite(table.column(name).combine_chunks()) for name in types}


def _finite(array: pa.Array) -> pa.Array:
    """Numbers without infinities and NaN, which JSON does not have and Arrow reads."""
    return pc.if_else(pc.is_finite(array), array, None) if pa.types.is_floating(array.type) else array


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _type(kind: Kind) -> pa.DataType:
    return _TYPES.get(kind, pa.bool_())


def _as(value: Any, kind: Kind) -> Any:
    """A JSON value as a value of the kind, or None. Of any kind: whether there is one."""
    match kind:
        case Kind.NUMBER:
            return _number(value)
        case Kind.TEXT:
            return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
        case Kind.BOOLEAN:
            return value if isinstance(value, bool) else None
    return None if value is None else True


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read(dataset: Store, file: str, names: list[str]) -> pa.Table:
    """Some columns of one file; a local one without a detour through Python's files, of which there are thousands."""
    if dataset.is_local and dataset.exists(file):
        with pq.ParquetFile(dataset.local_path(file), memory_map=True) as parquet:
            table = parquet.read(columns=names, use_threads=False)
    else:
        with dataset.open(file) as stream:
            table = pq.ParquetFile(stream).read(columns=names, use_threads=False)
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise DatasetError(
            f"{dataset.url}/{file}: has no column {missing[0]!r}: written by another pairmill. Delete that file's "
            "commit, or run `pairmill score` with its recipe."
        )
    return table
