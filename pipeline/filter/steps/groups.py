"""Runs of equal values in sorted tables, and columns put back at their rows: what all global steps end with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def groups(table: pa.Table, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Size of the run of equal `columns` that each row of a sorted table is in, and its place in that run."""
    rows = table.num_rows
    starts = np.zeros(rows, bool)
    starts[:1] = True
    for name in columns:
        column = table.column(name).combine_chunks()
        starts[1:] |= pc.not_equal(column.slice(1), column.slice(0, max(rows - 1, 0))).to_numpy(zero_copy_only=False)
    first = np.flatnonzero(starts)
    sizes = np.diff(np.append(first, rows))
    return np.repeat(sizes, sizes).astype(np.int64), (np.arange(rows) - np.repeat(first, sizes)).astype(np.int64)


def place(table: pa.Table, column: str, rows: int) -> pa.Array:
    """A column of `table` at the row numbers in its column `row`, of `rows` in all; null elsewhere."""
    found = table.column(column).to_numpy()
    values, mask = np.zeros(rows, found.dtype), np.ones(rows, bool)
    at = table.column("row").to_numpy()
    values[at] = found
    mask[at] = False
    return pa.array(values, mask=mask)
