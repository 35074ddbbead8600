"""Whole columns against one row at a time: every drawn expression comes with a function of a row, made beside it."""

import math
import operator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filter.verdicts.expression.check import Kind, Known, compile_expression
from pipeline.filter.verdicts.expression.evaluate import Batch, evaluate, numbers, passes, value_of
from pipeline.filter.verdicts.expression.parse import parse
from pipeline.filter.verdicts.expression.render import render
from pipeline.record import key_fraction

SCHEMA = pa.schema(
    [
        ("t.int", pa.int32()),
        ("t.float", pa.float64()),
        ("t.small", pa.float32()),
        ("t.flag", pa.bool_()),
        ("t.word", pa.string()),
        ("t.items", pa.list_(pa.int32())),
    ]
)
KNOWN = Known({field.name: field for field in SCHEMA})
NUMBERS = st.sampled_from([-2, 0, 1, 3, 0.5, -0.25, 1e9])
WORDS = ("en", "de", "", "it's", "é")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "t.int": st.none() | st.integers(-4, 4),
            "t.float": st.none() | st.sampled_from([math.nan, -1.5, 0.0, 0.5, 1.0, 3.0]),
            "t.small": st.none() | st.sampled_from([math.nan, -0.25, 0.0, 0.5, 2.0]),
            "t.flag": st.none() | st.booleans(),
            "t.word": st.none() | st.sampled_from(WORDS),
            "t.items": st.none() | st.lists(st.integers(0, 9), max_size=3),
        }
    ),
    max_size=12,
)
COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def plain(row, name):
    """A row's value; NaN is none."""
    value = row[name]
    return None if isinstance(value, float) and math.isnan(value) else value


def lifted(function):
    """Null where an argument is null, or where the result is no finite number."""

    def call(*values):
        if any(value is None for value in values):
            return None
        try:
            found = function(*values)
        except ZeroDivisionError:
            return None
        return None if isinstance(found, float) and not math.isfinite(found) else found

    return call


def compose(function, *parts):
    return lambda row: function(*[part(row) for part in parts])


def both(left, right):
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left, right):
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


@st.composite
def number(draw, depth=3):
    """(text, function of a row) of a number."""
    kind = draw(st.sampled_from(["column", "literal", "two", "one", "coalesce", "if", "len"] if depth else ["column"]))
    if kind == "column":
        name = draw(st.sampled_from(["t.int", "t.float", "t.small"]))
        return name, lambda row: plain(row, name)
    if kind == "literal":
        value = draw(NUMBERS)
        return f"({value!r})", lambda row: value
    if kind == "len":
        name = draw(st.sampled_from(["t.word", "t.items"]))
        return f"len({name})", compose(lifted(len), lambda row: plain(row, name))
    first, of_first = draw(number(depth - 1))
    if kind == "one":
        name, function = draw(st.sampled_from([("-", operator.neg), ("abs", abs)]))
        return f"{name}({first})", compose(lifted(function), of_first)
    second, of_second = draw(number(depth - 1))
    if kind == "coalesce":
        return f"coalesce({first}, {second})", compose(lambda a, b: b if a is None else a, of_first, of_second)
    if kind == "if":
        question, of_question = draw(condition(depth - 1))
        chosen = {None: lambda a, b: None, True: lambda a, b: a, False: lambda a, b: b}
        return f"if_else({question}, {first}, {second})", lambda row: chosen[of_question(row)](
            of_first(row), of_second(row)
        )
    mark = draw(st.sampled_from(["+", "-", "*", "/", "min", "max"]))
    functions = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "min": min, "max": max}
    text = f"{mark}({first}, {second})" if mark in ("min", "max") else f"({first} {mark} {second})"
    return text, compose(lifted(lambda a, b: functions[mark](float(a), float(b))), of_first, of_second)


@st.composite
def condition(draw, depth=3):
    """(text, function of a row) of true, false or null."""
    kinds = ["flag", "word", "number", "in", "chain", "null"] + (["and", "or", "not"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "flag":
        return "t.flag", lambda row: row["t.flag"]
    if kind == "word":
        word, mark = draw(st.sampled_from(WORDS)), draw(st.sampled_from(["==", "!="]))
        return f't.word {mark} "{word}"', compose(lifted(COMPARE[mark]), lambda row: row["t.word"], lambda row: word)
    if kind == "in":
        words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
        listed = ", ".join(f'"{word}"' for word in words)
        if draw(st.booleans()):
            return f"t.word in [{listed}]", compose(lifted(lambda word: word in words), lambda row: row["t.word"])
        return f"t.word not in [{listed}]", compose(lifted(lambda word: word not in words), lambda row: row["t.word"])
    if kind in ("and", "or"):
        first, of_first = draw(condition(depth - 1))
        second, of_second = draw(condition(depth - 1))
        return f"({first} {kind} {second})", compose(both if kind == "and" else either, of_first, of_second)
    if kind == "not":
        first, of_first = draw(condition(depth - 1))
        return f"not ({first})", compose(lifted(operator.not_), of_first)
    first, of_first = draw(number(max(depth - 1, 0)))
    if kind == "null":
        return f"is_null({first})", compose(lambda value: value is None, of_first)
    second, of_second = draw(number(max(depth - 1, 0)))
    mark = draw(st.sampled_from(sorted(COMPARE)))
    once = compose(lifted(COMPARE[mark]), of_first, of_second)
    if kind == "number":
        return f"{first} {mark} {second}", once
    third, of_third = draw(number(0))
    return f"{first} {mark} {second} <= {third}", compose(both, once, compose(lifted(operator.le), of_second, of_third))


def batch_of(rows):
    table = pa.Table.from_pylist(rows, SCHEMA)
    columns = {name: value_of(table.column(name)) for name in SCHEMA.names}
    return Batch(len(rows), columns, {}, pa.array([str(place) for place in range(len(rows))]))


@settings(max_examples=400, deadline=None)
@given(condition(), ROWS)
def test_conditions_equal_one_row_at_a_time(drawn, rows):
    text, of_row = drawn
    root = compile_expression(text, Kind.BOOLEAN, KNOWN).root
    wanted = [of_row(row) for row in rows]
    value = evaluate(root, batch_of(rows))
    valid = np.broadcast_to(value.valid, len(rows))
    data = np.broadcast_to(value.data, len(rows))
    found = [bool(data[place]) if valid[place] else None for place in range(len(rows))]
    assert found == wanted
    assert passes(root, batch_of(rows)).tolist() == [value is True for value in wanted]
    assert parse(render(root)) is not None
    assert render(parse(render(root))) == render(root)


@settings(max_examples=200, deadline=None)
@given(number(), ROWS)
def test_numbers_equal_one_row_at_a_time(drawn, rows):
    text, of_row = drawn
    data, valid = numbers(compile_expression(text, Kind.NUMBER, KNOWN).root, batch_of(rows))
    found = [data[place] if valid[place] else None for place in range(len(rows))]
    assert found == [of_row(row) for row in rows]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('lower(t.word) == "abc"', [True, False, False]),
        ('contains(t.word, "bC")', [True, False, False]),
        ('starts_with(t.word, "x")', [False, True, False]),
        ('ends_with(t.word, "y")', [False, True, False]),
        ('is_null(t.word) or t.word == "xy"', [False, True, True]),
        ('coalesce(t.word, "xy") == "xy"', [False, True, True]),
        ('if_else(t.flag, t.word, "no") == "no"', [False, True, False]),
        ("t.flag == true", [True, False, False]),
        ("not (t.int > 3)", [True, False, False]),
        ("t.int in [1, 2.5, -3]", [True, False, False]),
        ("true", [True, True, True]),
        ("t.int + 1 == 2 and 1 / 0 > 0", [False, False, False]),
        ("is_null(1 / (t.int - 1))", [True, False, True]),
    ],
)
def test_examples(text, wanted):
    rows = [
        {"t.int": 1, "t.word": "abC", "t.flag": True},
        {"t.int": 4, "t.word": "xy", "t.flag": False},
        {"t.int": None, "t.word": None, "t.flag": None},
    ]
    assert passes(compile_expression(text, Kind.BOOLEAN, KNOWN).root, batch_of(rows)).tolist() == wanted


def test_a_written_number_has_the_precision_of_its_column():
    """0.7 at 32 bits is below 0.7 at 64, and yet what was stored as 0.7 passes x >= 0.7."""
    rows = [{"t.small": 0.7, "t.float": 0.7}]
    for text in ("t.small >= 0.7", "t.small <= 0.7", "t.small == 0.7", "t.small in [0.7]", "t.float == 0.7"):
        assert passes(compile_expression(text, Kind.BOOLEAN, KNOWN).root, batch_of(rows)).tolist() == [True], text


def test_large_integers_compare_exactly():
    known = Known({"t.hash": pa.field("t.hash", pa.uint64()), "t.int8": pa.field("t.int8", pa.int8())})
    columns = {
        "t.hash": value_of(pa.array([2**63 + 1, 2**53 + 1], pa.uint64())),
        "t.int8": value_of(pa.array([-128, 127], pa.int8())),
    }
    batch = Batch(2, columns, {})

    def run(text):
        return passes(compile_expression(text, Kind.BOOLEAN, known).root, batch).tolist()

    assert run("t.hash == 9007199254740993") == [False, True]
    assert run("t.hash != 9007199254740992") == [True, True]
    assert run("abs(t.int8) == 128") == [True, False]
    assert run("t.int8 < 100000000000") == [True, True]
    assert run("t.int8 * 2 == 254") == [False, True]


def test_draws_are_those_of_the_key():
    rows = [{}, {}, {}]
    data, _ = numbers(compile_expression('draw("salt")', Kind.NUMBER, KNOWN).root, batch_of(rows))
    assert data.tolist() == [key_fraction(str(place), "salt") for place in range(3)]


def test_a_part_without_rows():
    for text in ("t.int > 1 and t.flag", 't.word in ["a"]', "coalesce(t.float, t.int) > 0", 'draw("x") < 1'):
        assert passes(compile_expression(text, Kind.BOOLEAN, KNOWN).root, batch_of([])).tolist() == []
