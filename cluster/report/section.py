"""A section of the page, and the few forms that sections are made of."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A titled part of the page; `body` is HTML whose every foreign string has been escaped."""

    title: str
    lead: str
    body: str


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An HTML table; numbers are set right, everything is escaped."""
    head = "".join(f"<th{_side(rows, i)}>{html.escape(name)}</th>" for i, name in enumerate(heads))
    lines = ["".join(_cell(value) for value in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def curve(points: Sequence[tuple[float, float]], *, x_name: str, y_name: str) -> str:
    """A line chart as SVG; fewer than two points give a sentence instead."""
    finite = [(x, y) for x, y in points if y == y and abs(y) != float("inf")]
    if len(finite) < 2:
        return f"<p>No curve: {len(finite)} points of {html.escape(y_name)}.</p>"
    width, height, left, foot = 860.0, 240.0, 52.0, 30.0
    (x0, x1), (y0, y1) = _span([x for x, _ in finite]), _span([y for _, y in finite])

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - x0) / (x1 - x0) * (width - left - 10)
        down = 10 + (y1 - y) / (y1 - y0) * (height - foot - 10)
        return across, down

    line = " ".join(f"{a:.1f},{d:.1f}" for a, d in (at(x, y) for x, y in finite))
    marks = []
    for step in range(5):
        value = y0 + (y1 - y0) * step / 4
        _, down = at(x0, value)
        marks.append(f'<line x1="{left}" x2="{width - 10}" y1="{down:.1f}" y2="{down:.1f}" stroke="var(--line)"/>')
        marks.append(f'<text x="{left - 6}" y="{down + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        where = x0 + (x1 - x0) * step / 4
        across, _ = at(where, y0)
        marks.append(f'<text x="{across:.1f}" y="{height - 12}" text-anchor="middle">{where:.0f}</text>')
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{html.escape(y_name)} by '
        f'{html.escape(x_name)}">{"".join(marks)}<polyline points="{line}" fill="none" stroke="var(--mark)" '
        f'stroke-width="1.6"/></svg>'
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{html.escape(str(value))}</td>"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f'<td class="n">{text}</td>'


def _side(rows: Sequence[Sequence[object]], index: int) -> str:
    numbers = rows and all(isinstance(row[index], (int, float)) for row in rows)
    return ' class="n"' if numbers else ""
