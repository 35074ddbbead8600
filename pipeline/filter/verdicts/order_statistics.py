"""Exact order statistics of more numbers than fit into memory, from sorted runs that are read a few times.

A float64 has 64 bits that, suitably flipped, order as the numbers do. The first pass counts numbers by their first 16
bits, which says in which of 65,536 ranges each wanted rank lies; the next pass takes the numbers of that range out
and sorts them, or, where they are too many, counts by the next 16 bits. Four passes decide any rank. The result is
a number of the data itself, and does not depend on how the data are cut into runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_HELD = 1_000_000
"""Numbers held in memory at once for one range."""
_DIGIT_BITS = 16
_SIGN = np.uint64(1 << 63)


@dataclass
class _Search:
    """Where a rank is: among the numbers whose first `bits` bits are `prefix`, of which there are `rows`."""

    rank: int
    rows: int
    prefix: int = 0
    bits: int = 0
    found: float | None = None

    def bounds(self) -> tuple[np.uint64, np.uint64]:
        """The first and last bit pattern of the range."""
        free = 64 - self.bits
        low = self.prefix << free
        return np.uint64(low), np.uint64(low + (1 << free) - 1)


def order_statistics(
    runs: Callable[[], Iterable[np.ndarray]], ranks: Sequence[int], rows: int, max_held: int = MAX_HELD
) -> list[float]:
    """The numbers at `ranks` (from 0, ascending) of all runs together.

    Args:
        runs: gives the runs anew at each call; each is sorted float64 without NaN.
        rows: how many numbers there are; every rank is below it.
    """
    searches = {rank: _Search(rank, rows) for rank in ranks}
    while open_ := {wanted: search for wanted, search in searches.items() if search.found is None}:
        held: dict[int, list[np.ndarray]] = {}
        counts: dict[int, np.ndarray] = {}
        for bits in map(_to_bits, runs()):
            for wanted, search in open_.items():
                inside = _slice(bits, search)
                if search.rows <= max_held:
                    held.setdefault(wanted, []).append(inside.copy())  # not a view that keeps the run
                else:
                    counted = counts.setdefault(wanted, np.zeros(1 << _DIGIT_BITS, np.int64))
                    shift = np.uint64(64 - search.bits - _DIGIT_BITS)
                    digit = (inside >> shift) & np.uint64((1 << _DIGIT_BITS) - 1)
                    counted += np.bincount(digit.astype(np.int64), minlength=1 << _DIGIT_BITS)
        for wanted, search in open_.items():
            if wanted in held:
                together = np.sort(np.concatenate(held[wanted]))
                search.found = _from_bits(together[search.rank])
            elif wanted in counts:
                _narrow(search, counts[wanted])
    return [_found(searches[rank]) for rank in ranks]


def _slice(bits: np.ndarray, search: _Search) -> np.ndarray:
    low, high = search.bounds()
    return bits[np.searchsorted(bits, low) : np.searchsorted(bits, high, side="right")]


def _narrow(search: _Search, counts: np.ndarray) -> None:
    """Go on inside the range of the next digit that holds the rank."""
    ends = np.cumsum(counts)
    digit = int(np.searchsorted(ends, search.rank, side="right"))
    search.rank -= int(ends[digit] - counts[digit])
    search.rows = int(counts[digit])
    search.prefix = (search.prefix << _DIGIT_BITS) | digit
    search.bits += _DIGIT_BITS
    if search.bits == 64:
        search.found = _from_bits(np.uint64(search.prefix))


def _to_bits(numbers: np.ndarray) -> np.ndarray:
    """float64 -> uint64 in the same order."""
    raw = (numbers + 0.0).view(np.uint64)  # + 0.0: there is one zero
    return np.where(raw & _SIGN != 0, ~raw, raw | _SIGN)


def _from_bits(bits: np.uint64) -> float:
    raw = np.array([bits ^ _SIGN if bits & _SIGN else ~bits], np.uint64)
    return float(raw.view(np.float64)[0])


def _found(search: _Search) -> float:
    assert search.found is not None
    return search.found
