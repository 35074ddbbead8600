"""A section of the page, and the forms that sections are made of: tables, bars, tiles."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.report.words import percent


@dataclass(frozen=True)
class Section:
    """A titled part of the page; `body` is HTML whose every foreign string has been escaped."""

    title: str
    lead: str
    body: str

    @property
    def anchor(self) -> str:
        """What links to this section name."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is HTML already."""

    html: str
    side: str = ""
    """`n` where it is set right, as numbers are."""


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, name: str = "") -> str:
    """An HTML table; numbers are set right, everything but a `Cell` is escaped."""
    head = "".join(f'<th scope="col"{_side(rows, i)}>{html.escape(head)}</th>' for i, head in enumerate(heads))
    lines = ["".join(_cell(value) for value in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    # what can be scrolled has to be reached by the keyboard
    label = html.escape(name or heads[0], quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {label}"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def share(part: float, whole: float) -> Cell:
    """A cell with the share of `part` in `whole`."""
    return Cell(percent(part, whole), "n")


def bar(kept: float, dropped: float, most: float, other: float = 0) -> Cell:
    """A cell with a bar of up to three tones; `most` fills the cell."""
    parts = ((kept, "kept"), (dropped, "left"), (other, "other"))
    drawn = "".join(
        f'<i class="{tone}" style="width:{100 * value / (most or 1):.2f}%"></i>' for value, tone in parts if value
    )
    return Cell(f'<div class="bar" aria-hidden="true">{drawn}</div>')


def tiles(items: Sequence[tuple[str, str, str]]) -> str:
    """Numbers to see first: (number, what it is, a word more)."""
    drawn = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd><dd class='more'>{html.escape(more)}</dd></div>"
        for value, name, more in items
    )
    return f'<dl class="tiles">{drawn}</dl>'


def pairs(items: Sequence[tuple[str, str]]) -> str:
    """What is said of things, one to a line: (thing, what is said)."""
    drawn = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in items)
    return f'<dl class="pairs">{drawn}</dl>'


def legend(*tones: str) -> str:
    """What the tones mean."""
    names = {"kept": "kept", "left": "dropped", "other": "not judged yet"}
    drawn = "".join(f'<span><i class="{tone}"></i>{names[tone]}</span>' for tone in tones)
    return f'<p class="legend">{drawn}</p>'


def _cell(value: object) -> str:
    if isinstance(value, Cell):
        return f'<td class="{value.side}">{value.html}</td>' if value.side else f"<td>{value.html}</td>"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{html.escape(str(value))}</td>"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f'<td class="n">{text}</td>'


def _side(rows: Sequence[Sequence[object]], index: int) -> str:
    cells = [row[index] for row in rows]
    numbers = bool(cells) and all(
        cell.side.startswith("n") if isinstance(cell, Cell) else isinstance(cell, (int, float)) for cell in cells
    )
    return ' class="n"' if numbers else ""
