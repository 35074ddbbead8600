"""Runs a checked expression on whole columns: numbers and truths in numpy, texts in Arrow, no row by row in Python.

A value is null where it is null or NaN in its column, where an operand is null, and where a sum, product or quotient
is no finite number. `and`, `or` and `not` are those of SQL: what null decides stays null, and null passes no rule. A
number written in the expression is compared at the precision of its column, as numpy does: 0.7 passes
`x >= 0.7` also where x is stored in 32 bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filter.verdicts.expression.check import WHOLE, Whole, constant
from pipeline.filter.verdicts.expression.parse import Among, Call, Column, Compare, Literal, Logic, Node
from pipeline.record import key_fraction

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "min": np.minimum,
    "max": np.maximum,
}
_TEXT_TESTS = {"contains": pc.match_substring, "starts_with": pc.starts_with, "ends_with": pc.ends_with}


@dataclass(frozen=True)
class Value:
    """A column, or one value for all rows; `data` says nothing where `valid` is false.

    `data` is a numpy array or a Python number or bool, or for texts and lists an Arrow array or a str.
    """

    data: Any
    valid: np.ndarray | np.bool_


@dataclass(frozen=True)
class Batch:
    """Rows to run expressions on: `columns` by full name, `wholes` the numbers of the whole dataset by their key.

    `wholes` holds None for a number of no values.
    """

    num_rows: int
    columns: Mapping[str, Value]
    wholes: Mapping[str, float | None]
    keys: pa.Array | None = None
    """The rows' keys; only `draw` needs them."""


def value_of(column: pa.ChunkedArray | pa.Array) -> Value:
    """A column as expressions see it: NaN is null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of several chunks too large for one
        array = pa.concat_arrays(array.chunks)
    type_ = array.type
    if pa.types.is_dictionary(type_):
        return value_of(array.cast(type_.value_type))
    valid = np.True_ if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(type_):
        return Value(array.fill_null(False).to_numpy(zero_copy_only=False), valid)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        array = array.cast(pa.float32()) if pa.types.is_float16(type_) else array
        data = (array if array.null_count == 0 else array.fill_null(0)).to_numpy(zero_copy_only=False)
        if data.dtype.kind == "f" and np.isnan(data).any():
            valid = valid & ~np.isnan(data)
        return Value(data, valid)
    return Value(array, valid)


def evaluate(node: Node, batch: Batch) -> Value:
    """The value of a checked tree on the rows of `batch`."""
    match node:
        case Literal():
            return Value(node.value, np.bool_(node.value is not None))
        case Column():
            return batch.columns[node.name]
        case Compare():
            return _compare(node.operator, evaluate(node.left, batch), evaluate(node.right, batch))
        case Among():
            return _among(evaluate(node.item, batch), [choice.value for choice in node.choices])
        case Logic():
            return _logic(node.operator, [evaluate(operand, batch) for operand in node.operands])
        case Call():
            return _call(node, batch)
    raise AssertionError(node)


def passes(node: Node, batch: Batch) -> np.ndarray:
    """Where a condition is true; null is not."""
    value = evaluate(node, batch)
    return np.broadcast_to(_truth(value), batch.num_rows)


def numbers(node: Node, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a tree as float64, and where there are any."""
    value = evaluate(node, batch)
    data = np.asarray(value.data if value.data is not None else 0.0, np.float64)
    return np.broadcast_to(data, batch.num_rows), np.broadcast_to(value.valid, batch.num_rows)


def _truth(value: Value) -> Any:
    return np.bool_(False) if value.data is None else np.logical_and(value.data, value.valid)


def _compare(mark: str, left: Value, right: Value) -> Value:
    valid = left.valid & right.valid
    if left.data is None or right.data is None:
        return Value(False, np.False_)
    if _is_text(left) or _is_text(right):
        if isinstance(left.data, str) and isinstance(right.data, str):
            return Value(_COMPARE[mark](left.data, right.data), valid)
        equal = _plain(pc.equal(left.data, right.data))
        return Value(equal if mark == "==" else ~equal, valid)
    with np.errstate(all="ignore"):  # a written 1e300 is infinite at 32 bits, which compares as it should
        return Value(_COMPARE[mark](left.data, right.data), valid)


def _among(item: Value, choices: list[Any]) -> Value:
    if item.data is None:
        return Value(False, np.False_)
    if isinstance(item.data, pa.Array):
        return Value(_plain(pc.is_in(item.data, value_set=pa.array(choices, item.data.type))), item.valid)
    found: Any = np.False_
    for choice in choices:
        found = found | _compare("==", item, Value(choice, np.True_)).data
    return Value(found, item.valid)


def _logic(word: str, operands: list[Value]) -> Value:
    true = [_truth(value) for value in operands]
    if word == "not":
        return Value(~true[0], operands[0].valid)
    false = [value.valid & ~truth for value, truth in zip(operands, true, strict=True)]
    decided, every = (false, true) if word == "and" else (true, false)
    some, whole = decided[0], every[0]
    for one, other in zip(decided[1:], every[1:], strict=True):
        some, whole = some | one, whole & other
    return Value(whole if word == "and" else some, some | whole)


def _call(node: Call, batch: Batch) -> Value:
    if node.name in WHOLE:
        share = constant(node.arguments[1])
        assert share is not None  # the checker has seen to it
        number = batch.wholes[Whole(node.name, node.arguments[0], float(share)).key]
        return Value(None if number is None else np.float64(number), np.bool_(number is not None))
    values = [evaluate(argument, batch) for argument in node.arguments]
    match node.name:
        case "draw":
            salt = values[0].data
            assert batch.keys is not None
            drawn = [key_fraction(key, salt) for key in batch.keys.to_pylist()]
            return Value(np.array(drawn, np.float64), np.True_)
        case "is_null":
            return Value(~values[0].valid, np.True_)
        case "coalesce":
            return _coalesce(values, batch.num_rows)
        case "if_else":
            return _if_else(*values, batch.num_rows)
        case "neg" | "abs":
            return _signed(node.name, values[0])
        case "len" | "lower" | "contains" | "starts_with" | "ends_with":
            return _of_text(node.name, values)
        case "min" | "max" if len(values) == 1:
            return values[0]
    result = values[0]
    for value in values[1:]:
        result = _arithmetic(node.name, result, value)
    return result


def _arithmetic(name: str, left: Value, right: Value) -> Value:
    if left.data is None or right.data is None:
        return Value(None, np.False_)
    with np.errstate(all="ignore"):
        data = _ARITHMETIC[name](_float(left.data), _float(right.data))
        valid = left.valid & right.valid & np.isfinite(data)
    if type(left.data) in (int, float) and type(right.data) in (int, float):
        data = float(data)  # of written numbers, and so still a written number
    return Value(data, valid)


def _signed(name: str, value: Value) -> Value:
    if value.data is None:
        return value
    data = value.data
    if isinstance(data, np.ndarray):
        data = data.astype(np.float64)  # the least of 8 bits has no opposite in 8 bits
        return Value(np.abs(data) if name == "abs" else -data, value.valid)
    return Value(abs(data) if name == "abs" else -data, value.valid)


def _of_text(name: str, values: list[Value]) -> Value:
    data, valid = values[0].data, values[0].valid
    if data is None:
        return Value(None, np.False_)
    array = data if isinstance(data, pa.Array) else pa.array([data])
    if name == "len":
        listed = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
        found: Any = _plain(pc.list_value_length(array) if listed else pc.utf8_length(array))
    elif name == "lower":
        found = pc.utf8_lower(array)
    else:
        found = _plain(_TEXT_TESTS[name](array, pattern=values[1].data))
    if isinstance(data, pa.Array):
        return Value(found, valid)
    return Value(found[0].as_py() if name == "lower" else found[0], valid)


def _coalesce(values: list[Value], num_rows: int) -> Value:
    result = values[-1]
    for value in reversed(values[:-1]):
        result = _if_else(Value(value.valid, np.True_), value, result, num_rows)
    return result


def _if_else(condition: Value, yes: Value, no: Value, num_rows: int) -> Value:
    chosen = _truth(condition)
    valid = np.where(chosen, yes.valid, no.valid) & (condition.valid | np.zeros(num_rows, bool))
    if _is_text(yes) or _is_text(no):
        mask = pa.array(np.broadcast_to(chosen, num_rows))
        return Value(pc.if_else(mask, _arrow_text(yes.data), _arrow_text(no.data)), valid)
    left, right = (0 if value.data is None else value.data for value in (yes, no))
    if np.result_type(left, right) != np.bool_:
        left, right = _precise(left, right), _precise(right, left)
    return Value(np.where(chosen, left, right), valid)


def _precise(data: Any, other: Any) -> Any:
    """Numbers of one kind as they are, else as float64: a written 0.7 keeps the precision of the column beside it."""
    if isinstance(data, np.ndarray) and isinstance(other, np.ndarray) and data.dtype != other.dtype:
        return data.astype(np.float64)
    if isinstance(other, np.ndarray) and other.dtype.kind in "iu" and isinstance(data, int | float):
        return np.float64(data)
    return data


def _plain(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Truths or counts out of Arrow; nulls say nothing, `valid` knows them."""
    empty = False if pa.types.is_boolean(array.type) else 0
    return array.fill_null(empty).to_numpy(zero_copy_only=False)


def _float(data: Any) -> Any:
    return data.astype(np.float64) if isinstance(data, np.ndarray) else np.float64(data)


def _is_text(value: Value) -> bool:
    return isinstance(value.data, str | pa.Array)


def _arrow_text(data: Any) -> Any:
    return pa.scalar(data, pa.string()) if data is None or isinstance(data, str) else data
