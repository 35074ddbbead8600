"""Counts of a score column over bins, part by part: bins are fixed first, from a sample, then parts are added.

Bins are numpy's: every one holds its left edge, the last one its right edge too. What lies beyond the first and the
last is counted there, so no row is lost. Whole numbers get bins of whole numbers. An axis is logarithmic where values
spread so far that a linear one would show one bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cluster.report.part import TONES

BINS = 60
FEWEST = 6
"""Bins of whole numbers that an axis has at least, so that two bars do not fill it."""
SPREAD = 20.0
"""The axis is logarithmic where the 99th percentile is so many times the median."""
FAR = 1.0
"""A tail that would make the axis longer by this share is left out of the drawing, but for the 0.1 % quantile."""

_EXACT = 2.0**50
"""Whole numbers below have exact halves between them."""
_MOST = 1e300
"""Differences of numbers below are finite."""


@dataclass(frozen=True)
class Axis:
    """Where values lie on the way from left (0) to right (1)."""

    edges: np.ndarray
    scale: Literal["linear", "log"] = "linear"
    shift: float = 0.0
    """Added before the logarithm: 1 where an axis of counts begins at 0."""

    @property
    def is_whole(self) -> bool:
        """Whether bins are of whole numbers: edges then lie halfway between two."""
        return bool(np.all(np.mod(self.edges, 1) == 0.5))

    def at(self, value: float) -> float:
        """Place of a value, held inside the axis."""
        low, high, here = (self._along(float(item)) for item in (self.edges[0], self.edges[-1], value))
        return min(1.0, max(0.0, (here - low) / (high - low)))

    def ticks(self) -> list[float]:
        """A few round values inside."""
        low, high = float(self.edges[0]), float(self.edges[-1])
        if self.scale == "log":
            first, last = math.floor(math.log10(low + self.shift)), math.ceil(math.log10(high + self.shift))
            powers = [10.0**n for n in range(first, last + 1)]
            fine = [m * power for power in powers for m in (1, 2, 5)]
            found = [value for value in ([0.0] if self.shift else []) + fine if low <= value <= high]
            return found if len(found) <= 6 else [value for value in found if value == 0 or value in powers]
        step = max(nice((high - low) / 4), 1.0 if self.is_whole else 0.0)
        return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]

    def _along(self, value: float) -> float:
        return math.log10(max(value + self.shift, 1e-300)) if self.scale == "log" else value


@dataclass
class Counts:
    """What was counted of one column. `lines` are the numbers whose sides are counted as well."""

    axis: Axis
    lines: tuple[float, ...] = ()
    inside: np.ndarray = field(default_factory=lambda: np.zeros((TONES, 0), np.int64))
    beyond: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))
    """Rows below the first edge, and above the last."""
    sides: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    """Per line, rows below, at and above it."""
    missing: int = 0
    zeros: int = 0
    """Rows that are exactly 0, which many scores mostly are."""
    low: float = math.inf
    high: float = -math.inf

    @property
    def rows(self) -> int:
        """Rows that have a value."""
        return int(self.inside.sum() + self.beyond.sum())

    @classmethod
    def of(cls, axis: Axis, lines: Sequence[float], values: np.ndarray, tone: np.ndarray, missing: int) -> Counts:
        """Count `values`, finite or not; those that are not are missing."""
        finite = np.isfinite(values)
        if not finite.all():
            missing += int(len(values) - finite.sum())
            values, tone = values[finite], tone[finite]
        num = len(axis.edges) - 1
        at = np.searchsorted(axis.edges, values, side="right") - 1
        at[values == axis.edges[-1]] = num - 1
        below, above = at < 0, at >= num
        inner = ~(below | above)
        cells = tone[inner].astype(np.int64) * num + at[inner]
        sides = [[np.count_nonzero(values < x), np.count_nonzero(values == x), 0] for x in lines]
        for side in sides:
            side[2] = len(values) - side[0] - side[1]
        return cls(
            axis, tuple(lines), np.bincount(cells, minlength=TONES * num).reshape(TONES, num),
            np.array([below.sum(), above.sum()]), np.array(sides, np.int64).reshape(len(lines), 3), missing,
            int(np.count_nonzero(values == 0)),
            float(values.min()) if len(values) else math.inf, float(values.max()) if len(values) else -math.inf,
        )  # fmt: skip

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.axis, self.lines, self.inside + other.inside, self.beyond + other.beyond, self.sides + other.sides,
            self.missing + other.missing, self.zeros + other.zeros, min(self.low, other.low),
            max(self.high, other.high),
        )  # fmt: skip

    def about(self, share: float) -> float:
        """The value that `share` of the rows lie below, to within one bin."""
        per_bin = self.inside.sum(axis=0)
        wanted = share * self.rows - self.beyond[0]
        before = np.cumsum(per_bin)
        place = int(np.searchsorted(before, max(wanted, 0), side="left"))
        if wanted < 0 or place >= len(per_bin):
            return self.low if wanted < 0 else self.high
        part = (wanted - (before[place] - per_bin[place])) / per_bin[place] if per_bin[place] else 0.0
        left, right = self.axis.edges[place], self.axis.edges[place + 1]
        if self.axis.is_whole:
            return min(self.high, max(self.low, float(round(left + part * (right - left)))))
        return min(self.high, max(self.low, float(left + part * (right - left))))


def choose_axis(sample: np.ndarray, lines: Sequence[float] = (), *, is_whole: bool = False) -> Axis:
    """An axis for values like those of `sample`, which holds the thresholds `lines` where they are not far off."""
    values = sample[np.isfinite(sample)].astype(np.float64)
    if not len(values):
        return Axis(np.array([0.0, 1.0]))
    values = np.clip(values, -_MOST, _MOST)
    low, high = float(values.min()), float(values.max())
    is_whole = is_whole and max(-low, high) < _EXACT
    shift = 1.0 if is_whole and low == 0 else 0.0
    middle, most = np.quantile(values + shift, [0.5, 0.99])
    is_log = low + shift > 0 and most >= SPREAD * middle
    along = np.log10(values + shift) if is_log else values
    first, last = _bounds(along, [math.log10(x + shift) if is_log else x for x in lines if not is_log or x + shift > 0])
    if is_whole:
        low, high = (10**first - shift, 10**last - shift) if is_log else (first, last)
        return Axis(_whole_edges(round(low), round(high), is_log, shift), "log" if is_log else "linear", shift)
    size = max(abs(first), abs(last))
    if last - first <= 1e-9 * size or first == last:
        beside = max(0.5, 0.01 * size) if not is_log else 0.5
        first, last = first - beside, last + beside
    if is_log:
        edges = 10 ** np.linspace(first, last, BINS + 1)
        for end, bound in ((0, low), (-1, high)):  # powers of logarithms come back a little off
            edges[end] = bound if math.isclose(edges[end], bound, rel_tol=1e-9) else edges[end]
        return Axis(edges, "log", shift)
    return Axis(_round_edges(first, last))


def nice(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= step * (1 - 1e-9))


def _bounds(values: np.ndarray, lines: Sequence[float]) -> tuple[float, float]:
    """First and last place to draw: a tail that is far off is left out, a threshold that is not is taken in."""
    low, high = float(values.min()), float(values.max())
    first, last = (float(x) for x in np.quantile(values, [0.001, 0.999]))
    span = last - first
    low = first if first - low > FAR * span > 0 else low
    high = last if high - last > FAR * span > 0 else high
    reach = (high - low) or 1.0
    near = [x for x in lines if low - reach <= x <= high + reach]
    return min([low, *near]), max([high, *near])


def _round_edges(first: float, last: float) -> np.ndarray:
    """Edges at multiples of a round number, from at most `first` to at least `last`."""
    step = nice((last - first) / BINS)
    begin, end = math.floor(first / step), math.ceil(last / step)
    begin, end = begin - (begin * step > first), end + (end * step < last)
    return np.arange(begin, end + 1) * step


def _whole_edges(low: int, high: int, is_log: bool, shift: float) -> np.ndarray:
    """Edges between whole numbers, halfway."""
    if is_log:
        return np.unique(np.round(np.geomspace(low + shift, high + shift + 1, BINS + 1))) - shift - 0.5
    high = max(high, low + FEWEST - 1)
    step = max(1, math.ceil((high - low + 1) / BINS))
    return low - 0.5 + step * np.arange(math.ceil((high - low + 1) / step) + 1)
