"""All pairs of 64-bit hashes that differ in few bits, without comparing all pairs.

The bits are cut into `radius + exact` blocks. Two hashes within `radius` differ in at most `radius` blocks, so some
`exact` blocks of both are equal: one sort per choice of blocks brings all pairs together (Manku et al. 2007, Detecting
Near-Duplicates for Web Crawling; for `exact` = 1 it is the pigeonhole). More exact blocks mean more sorts and fewer
strangers that meet in each, so `exact` follows from the number of hashes: work stays close to linear.

To spread the work, each hash is sent to the buckets of its first `radius + 1` blocks: every choice of blocks begins
with one of these, so a pair meets whole in the bucket of the first block that it shares.

No hash is compared with more than MAX_LAG others per sort, those that follow it in the sort, however many share its
blocks. Where more do, as for countless images that are all but flat, pairs may be missed; they are counted as
`crowded`, and other choices of blocks still see them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from pipeline.filter.steps.components import stars

BITS = 64
MAX_RADIUS = 16
MAX_LAG = 512
_SORT_COST, _PAIR_COST = 40.0, 3.0
"""Nanoseconds per hash and sort, and per pair compared, as measured."""
_SKEW = 4.0
"""How many times more strangers meet than among evenly spread hashes; hashes of photos are not spread evenly."""
_PENDING_PAIRS = 1 << 22


@dataclass(frozen=True)
class Banding:
    """How hashes are cut: blocks of bits from the top, of which `exact` have to be equal."""

    radius: int
    exact: int

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(shift, width) of each block; widths differ by one bit at most."""
        count = self.radius + self.exact
        ends = [BITS * i // count for i in range(count + 1)]
        return [(BITS - end, end - start) for start, end in pairwise(ends)]

    def choices(self, first: int) -> Iterator[tuple[int, ...]]:
        """The choices of exact blocks that begin with `first`."""
        rest = range(first + 1, self.radius + self.exact)
        return ((first, *more) for more in combinations(rest, self.exact - 1))

    def copies(self) -> range:
        """The blocks that each hash is sent to."""
        return range(self.radius + 1)

    def value(self, hashes: np.ndarray, block: int) -> np.ndarray:
        """The bits of one block."""
        shift, width = self.blocks[block]
        return (hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)


def choose_banding(radius: int, num_hashes: int) -> Banding:
    """The number of exact blocks that costs least for so many hashes."""

    def cost(exact: int) -> float:
        sorts = math.comb(radius + exact, exact)
        meeting = _SKEW * num_hashes / 2 ** (BITS * exact / (radius + exact)) / 2
        return sorts * (_SORT_COST + _PAIR_COST * meeting)

    return Banding(radius, min(range(1, 7), key=cost))


def near_links(hashes: np.ndarray, first: int, banding: Banding) -> tuple[np.ndarray, np.ndarray, int]:
    """What hangs together of distinct hashes, by pairs within the radius that share block `first` exactly.

    Returns: links as `components.stars` gives them, and how many hashes were crowded in some sort.
    """
    forest = _Forest()
    crowded = 0
    for choice in banding.choices(first):
        segments = _segments(choice, banding)
        moved = np.sort(_move(hashes, segments))
        key = moved >> np.uint64(BITS - sum(banding.blocks[block][1] for block in choice))
        at = np.arange(len(moved))
        for lag in range(1, MAX_LAG + 1):
            at = at[: np.searchsorted(at, len(moved) - lag)]
            at = at[key[at] == key[at + lag]]  # equal keys lie together: who differs at this lag differs at the next
            if not len(at):
                break
            close = at[np.bitwise_count(moved[at] ^ moved[at + lag]) <= banding.radius]
            forest.add(*(_move_back(moved[place], segments) for place in (close, close + lag)))
        crowded = max(crowded, len(at))
    return *forest.links(), crowded


class _Forest:
    """Pairs, made links whenever they become many: a crowd of n has up to n^2 pairs, and n links."""

    def __init__(self) -> None:
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._count = 0

    def add(self, left: np.ndarray, right: np.ndarray) -> None:
        if not len(left):
            return
        self._pairs.append((left, right))
        self._count += len(left)
        if self._count > _PENDING_PAIRS:
            links = self.links()
            self._pairs, self._count = [links], 0

    def links(self) -> tuple[np.ndarray, np.ndarray]:
        """The links of all pairs so far."""
        if not self._pairs:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        left, right = (np.concatenate([pair[side] for pair in self._pairs]) for side in (0, 1))
        return stars(left, right)


def _segments(choice: tuple[int, ...], banding: Banding) -> list[tuple[int, int, int]]:
    """(shift, width, new shift) of runs of bits that put the chosen blocks first, the others behind them."""
    order = [*choice, *(block for block in range(len(banding.blocks)) if block not in choice)]
    found: list[tuple[int, int, int]] = []
    left = BITS
    for block in order:
        shift, width = banding.blocks[block]
        left -= width
        if found and found[-1][0] == shift + width:
            found[-1] = (shift, found[-1][1] + width, left)
        else:
            found.append((shift, width, left))
    return found


def _move(hashes: np.ndarray, segments: list[tuple[int, int, int]]) -> np.ndarray:
    moved = np.zeros_like(hashes)
    for shift, width, new_shift in segments:
        moved |= ((hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)) << np.uint64(new_shift)
    return moved


def _move_back(moved: np.ndarray, segments: list[tuple[int, int, int]]) -> np.ndarray:
    return _move(moved, [(new_shift, width, shift) for shift, width, new_shift in segments])
