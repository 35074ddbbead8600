"""Which text of a row a scorer speaks of: one setting, the same word in the table of every scorer of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

Which = Literal["first", "longest", "all"]
"""The first text, the longest (the earlier of two), or all joined by line breaks."""


def chosen_texts(rows: Iterable[Sequence[dict[str, Any]] | None], which: Which) -> list[str]:
    """One text per row of the record's column `texts`; the empty text where a row has none."""
    return [chosen_text(row or (), which) for row in rows]


def chosen_text(texts: Sequence[dict[str, Any]], which: Which) -> str:
    """The text of one row that a recipe speaks of."""
    found = [text["text"] or "" for text in texts]
    if which == "all":
        return "\n".join(found)
    if which == "longest":
        return max(found, key=len, default="")
    return found[0] if found else ""
