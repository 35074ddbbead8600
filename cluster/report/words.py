"""Words of the page: foreign ones (`pipeline/words.py`) escaped, numbers and shares as people read them."""

from __future__ import annotations

import html
import math

from pipeline.words import CAPTION_CHARS, plain


def shown(text: str | None, most: int = CAPTION_CHARS) -> str:
    """`text` as HTML."""
    return html.escape(plain(text, most))


def number(value: float) -> str:
    """A number for people: grouped where it is whole, else four digits that matter."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e3 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e3 else f"{value:.3g}"


def rows_of(rows: int) -> str:
    """So many rows, in words."""
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def percent(part: float, whole: float) -> str:
    """A share for people; what is there never reads as nothing, what is missing never as all."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.1f} %"
