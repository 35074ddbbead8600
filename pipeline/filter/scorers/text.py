"""Facts about a sample's first text: its length, and how much it repeats itself.

Counts follow what the published rule sets count (DataComp: characters and whitespace-separated words; CC12M: the
largest share of one repeated word), so that their thresholds can be used as printed.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import pyarrow as pa

from pipeline.recipe import RecipeTable
from pipeline.stage import Resources


class TextScoreConfig(RecipeTable):
    """The `[score.text]` table."""


class TextScore:
    """num_chars, num_words, max_word_share (0 to 1: share of the most frequent word), letter_share, num_texts."""

    name: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("texts",)
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("num_chars", pa.int32()),
            ("num_words", pa.int32()),
            ("max_word_share", pa.float32()),
            ("letter_share", pa.float32()),
            ("num_texts", pa.int32()),
        ]
    )
    resources: ClassVar[Resources] = Resources(cpus=1)

    def __init__(self, config: TextScoreConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Score each row's first text; a row without texts counts as the empty text."""
        rows = [_facts(texts or []) for texts in table.column("texts").to_pylist()]
        return pa.Table.from_pylist(rows, schema=self.writes)


def _facts(texts: list[dict[str, str | None]]) -> dict[str, float]:
    text = (texts[0]["text"] or "") if texts else ""
    words = text.split()
    most = Counter(word.lower() for word in words).most_common(1)
    letters = sum(map(str.isalpha, text))
    return {
        "num_chars": len(text),
        "num_words": len(words),
        "max_word_share": most[0][1] / len(words) if most else 0.0,
        "letter_share": letters / len(text) if text else 0.0,
        "num_texts": len(texts),
    }
