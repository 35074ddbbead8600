"""Counts by name over many parts, added up as columns: a million names are a few tens of megabytes.

Where there are more names than may be held, those with the fewest are let go, and what they counted is kept together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

_AHEAD = 100_000
"""Rows that are held before names are put together."""


class Tally:
    """One row per name, with its counts; the first of them ranks the names.

    `num_let_go` is at least the number of names that were let go: one that comes again counts again.
    """

    def __init__(self, counts: Sequence[str], most: int) -> None:
        """`most` names are held at least, and four times as many at most."""
        self.counts, self._most = tuple(counts), most
        self._held: list[pa.Table] = []
        self._rows = self._together = 0
        self.let_go = np.zeros(len(self.counts), np.int64)
        self.num_let_go = 0

    def add(self, found: pa.Table) -> None:
        """Take in rows of `name` and the counts, int64; a name may come any number of times."""
        self._held.append(found.select(["name", *self.counts]))
        self._rows += found.num_rows
        if self._rows > max(_AHEAD, 2 * self._together):
            self._put_together()

    def ranked(self) -> pa.Table:
        """The names with their counts, the largest first count first, then by name."""
        self._put_together()
        if not self._held:
            return pa.table({name: pa.array([], pa.int64()) for name in ("name", *self.counts)})
        return _ranked(self._held[0], self.counts[0])

    def whole(self) -> np.ndarray:
        """The counts of all names together, [counts], int64."""
        self._put_together()
        return sum((_sums(table, self.counts) for table in self._held), self.let_go.copy())

    def _put_together(self) -> None:
        if not self._held:
            return
        wanted = [(name, "sum") for name in self.counts]
        table = pa.concat_tables(self._held).group_by("name", use_threads=False).aggregate(wanted)
        table = table.select(["name", *(f"{name}_sum" for name in self.counts)]).rename_columns(["name", *self.counts])
        if table.num_rows > 2 * self._most:
            table = _ranked(table, self.counts[0])
            self.let_go += _sums(table.slice(self._most), self.counts)
            self.num_let_go += table.num_rows - self._most
            table = table.slice(0, self._most)
        self._held, self._rows = [table], table.num_rows
        self._together = table.num_rows


def _ranked(table: pa.Table, by: str) -> pa.Table:
    return table.sort_by([(by, "descending"), ("name", "ascending")])


def _sums(table: pa.Table, counts: Sequence[str]) -> np.ndarray:
    return np.array([table.column(name).to_numpy().sum() for name in counts], np.int64)
