"""Columns of the list out of JSON, against json.loads; and what a part lacks."""

import json
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from pipeline.filter.verdicts.expression.check import Kind
from pipeline.filter.verdicts.expression.read import list_columns, read_columns

JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("0.25")
META = st.none() | st.dictionaries(st.sampled_from(["a", "b c", "d"]), JSON | st.lists(JSON, max_size=2)).map(
    json.dumps
)
KINDS = (Kind.NUMBER, Kind.TEXT, Kind.BOOLEAN, Kind.ANY)


def wanted(text, name, kind):
    """What the column is by its definition."""
    value = json.loads(text or "{}").get(name)
    if kind is Kind.ANY:
        return None if value is None else True
    if kind is Kind.TEXT:
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
    if kind is Kind.BOOLEAN:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value) if math.isfinite(float(value)) else None
    except (ValueError, OverflowError):
        return None


@given(st.lists(META | st.sampled_from(["nonsense", "[1]", ""]), max_size=6), st.sampled_from(KINDS))
def test_equal_to_json(rows, kind):
    sound = [row if row not in ("nonsense", "[1]", "") else "{}" for row in rows]
    found = list_columns(pa.chunked_array([pa.array(rows, pa.string())]), {"a": kind, "b c": kind})
    for name, column in found.items():
        values = [None if isinstance(value, float) and math.isnan(value) else value for value in column.to_pylist()]
        assert values == [wanted(row, name, kind) for row in sound]


def test_floats_come_back_to_the_last_bit():
    numbers = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2**53 + 1.0, 0.28000000000000003]
    meta = pa.chunked_array([[json.dumps({"s": number, "u": "x"}) for number in numbers]])
    assert list_columns(meta, {"s": Kind.NUMBER})["s"].to_pylist() == numbers


def test_columns_of_all_tables_come_together(raw_parts):
    engine, _ = raw_parts([[{"id": "a", "meta": '{"similarity": 0.5}'}, {"id": "b"}]])
    columns = {"list.similarity": Kind.NUMBER, "record.bytes": Kind.NUMBER}
    found = read_columns(engine.dataset, "00000", columns, record=("key",))
    assert found.column("list.similarity").to_pylist() == [0.5, None]
    assert found.column("record.bytes").to_pylist() == [1000, 1000]
    with pytest.raises(DatasetError, match="has no column 'nothing': written by another pairmill"):
        read_columns(engine.dataset, "00000", {"record.nothing": Kind.NUMBER})
