"""Which text of a row a scorer speaks of: one setting, the same word in the table of every scorer of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Which = Literal["first", "longest", "all"]
"""The first text, the longest (the earlier of two), or all joined by line breaks."""


def row_texts(column: pa.ChunkedArray) -> list[list[str]]:
    """The texts of each row of the record's column `texts`; a null counts as the empty text, no list as an empty one.

    Takes strings alone out of Arrow: a dictionary per text would cost as much as scoring it.
    """
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # of no chunks
        return []
    found = [text or "" for text in pc.struct_field(lists.flatten(), "text").to_pylist()]
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(sizes).tolist()
    return [found[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]


def chosen_text(texts: Sequence[str], which: Which) -> str:
    """The text of one row that a recipe speaks of; the empty text where a row has none."""
    if which == "all":
        return "\n".join(texts)
    if which == "longest":
        return max(texts, key=len, default="")
    return texts[0] if texts else ""
