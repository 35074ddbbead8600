"""Charts as inline SVG, in the page's colours: a histogram with thresholds, a curve. No script, no font, no request."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cluster.report.histogram import Axis, Counts
from cluster.report.part import DROPPED, KEPT, UNJUDGED
from cluster.report.rules import Line
from cluster.report.words import number

WIDTH, HEIGHT = 360.0, 150.0
LEFT, RIGHT, TOP, FOOT = 8.0, 8.0, 24.0, 18.0
BROKEN = 4.0
"""A bar so many times higher than the next is drawn broken, so that the others can be seen."""
_TONES = ((KEPT, "kept"), (DROPPED, "left"), (UNJUDGED, "other"))


def histogram(counts: Counts, lines: Sequence[Line], *, label: str) -> str:
    """Bars of the rows per bin, one tone on the other, with the thresholds of the verdict drawn in."""
    per_bin = counts.inside.sum(axis=0)
    top, broken = _ceiling(per_bin)
    axis = counts.axis
    places = [_across(axis, float(edge)) for edge in axis.edges]
    drawn = [_shade(axis, line) for line in lines if line.weight == "needed"]
    floor = np.zeros(len(per_bin))
    for tone, name in _TONES:
        ceiling = floor + counts.inside[tone]
        path = _bars(places, np.minimum(floor, top), np.minimum(ceiling, top), top)
        drawn.append(f'<path class="{name}" d="{path}"/>' if path else "")
        floor = ceiling
    drawn += [_broken(places[i], places[i + 1], int(per_bin[i])) for i in broken]
    drawn += [_tick(axis, value) for value in axis.ticks()]
    drawn += [_threshold(axis, line, row) for row, line in enumerate(lines[:3])]
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{html.escape(label, quote=True)}">'
        f'<line class="axis" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{HEIGHT - FOOT:g}" y2="{HEIGHT - FOOT:g}"/>'
        f"{''.join(drawn)}</svg>"
    )


def curve(points: Sequence[tuple[float, float]], *, x_name: str, y_name: str) -> str:
    """A line chart; fewer than two points give a sentence instead."""
    finite = [(x, y) for x, y in points if y == y and abs(y) != float("inf")]
    if len(finite) < 2:
        return f"<p>No curve: {len(finite)} points of {html.escape(y_name)}.</p>"
    width, height, left, foot, top, right = 420.0, 190.0, 46.0, 22.0, 10.0, 10.0
    (x0, x1), (y0, y1) = _span([x for x, _ in finite]), _span([y for _, y in finite])

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - x0) / (x1 - x0) * (width - left - right)
        return across, top + (y1 - y) / (y1 - y0) * (height - foot - top)

    line = " ".join(f"{a:.1f},{d:.1f}" for a, d in (at(x, y) for x, y in finite))
    marks = []
    for value in Axis(np.array([y0, y1])).ticks():
        down = at(x0, value)[1]
        marks.append(f'<line class="grid" x1="{left:g}" x2="{width - right:g}" y1="{down:.1f}" y2="{down:.1f}"/>')
        marks.append(f'<text x="{left - 6:g}" y="{down + 4:.1f}" text-anchor="end">{short(value)}</text>')
    for value in Axis(np.array([x0, x1])).ticks():
        across = at(value, y0)[0]
        marks.append(f'<text x="{across:.1f}" y="{height - 6:g}" text-anchor="middle">{short(value)}</text>')
    first, last = finite[0], finite[-1]
    ends = f"from {number(first[1])} at {number(first[0])} to {number(last[1])} at {number(last[0])}"
    label = f"{y_name} by {x_name}: {ends}"
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{html.escape(label, quote=True)}">'
        f'{"".join(marks)}<polyline class="curve" points="{line}"/></svg>'
    )


def short(value: float) -> str:
    """A number beside an axis: 1500000 is 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and not (size == 1e3 and abs(value) < 1e4):
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def _ceiling(per_bin: np.ndarray) -> tuple[float, list[int]]:
    """The count at the top of the drawing, and the bins that rise above it."""
    by_height = np.sort(per_bin)[::-1]
    for first, second in pairwise(by_height[:3]):
        if second and first > BROKEN * second:
            top = 1.8 * float(second)
            return top, np.flatnonzero(per_bin > top).tolist()
    return float(by_height[0] if len(by_height) else 0) or 1.0, []


def _across(axis: Axis, value: float) -> float:
    return LEFT + axis.at(value) * (WIDTH - LEFT - RIGHT)


def _bars(places: Sequence[float], low: np.ndarray, high: np.ndarray, top: float) -> str:
    """One path of all bars of a tone; a bar that holds any row is at least half a unit high."""
    room, ground = HEIGHT - TOP - FOOT, HEIGHT - FOOT
    path = []
    for i, (begin, end) in enumerate(zip(low, high, strict=True)):
        if end > begin:
            left, width = places[i], max(places[i + 1] - places[i] - 0.6, 0.6)
            height = max((end - begin) / top * room, 0.5)
            path.append(f"M{left:.1f} {ground - begin / top * room:.1f}v-{height:.1f}h{width:.1f}v{height:.1f}z")
    return "".join(path)


def _broken(left: float, right: float, rows: int) -> str:
    """A cut through a bar that goes on, and how many rows it stands for."""
    middle, at = (left + right) / 2, TOP + 12
    anchor = "start" if middle < WIDTH / 2 else "end"
    beside = right + 3 if anchor == "start" else left - 3
    slash = f"M{left - 2:.1f} {at + 4:.1f}L{right + 1:.1f} {at - 2:.1f}v4L{left - 2:.1f} {at + 8:.1f}z"
    return (
        f'<path class="cut" d="{slash}"/><text x="{beside:.1f}" y="{at - 2:.1f}" text-anchor="{anchor}">{rows:,}</text>'
    )


def _tick(axis: Axis, value: float) -> str:
    across = _across(axis, value)
    anchor = "start" if across < 20 else "end" if across > WIDTH - 20 else "middle"
    ground = HEIGHT - FOOT
    return (
        f'<line class="axis" x1="{across:.1f}" x2="{across:.1f}" y1="{ground:g}" y2="{ground + 3:g}"/>'
        f'<text x="{across:.1f}" y="{HEIGHT - 4:g}" text-anchor="{anchor}">{short(value)}</text>'
    )


def _shade(axis: Axis, line: Line) -> str:
    """The side that does not pass."""
    at = _threshold_at(axis, line)
    left, right = (LEFT, at) if line.mark in (">=", ">") else (at, WIDTH - RIGHT)
    if right - left < 0.5:
        return ""
    room = HEIGHT - TOP - FOOT
    return f'<rect class="shade" x="{left:.1f}" y="{TOP:g}" width="{right - left:.1f}" height="{room:g}"/>'


def _threshold(axis: Axis, line: Line, row: int) -> str:
    at = _threshold_at(axis, line)
    anchor, beside = ("end", at - 4) if at > WIDTH * 0.75 else ("start", at + 4)
    ground = HEIGHT - FOOT
    return (
        f'<line class="threshold {line.weight}" x1="{at:.1f}" x2="{at:.1f}" y1="{4 + 10 * row}" y2="{ground:g}"/>'
        f'<text class="threshold" x="{beside:.1f}" y="{13 + 10 * row}" text-anchor="{anchor}">'
        f"{html.escape(str(line))}</text>"
    )


def _threshold_at(axis: Axis, line: Line) -> float:
    """The place of a threshold; between whole numbers, where bars are of whole numbers."""
    if axis.is_whole and float(line.number).is_integer():
        return _across(axis, line.number + (-0.5 if line.mark in (">=", "<") else 0.5))
    return _across(axis, line.number)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
