"""Tables of languages, and of whatever else scorers say in words: rows per word, merged over parts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.report.columns import ScoreColumn
from cluster.report.part import DROPPED, KEPT, UNJUDGED, PartView, coded, merge, tally
from cluster.report.section import Section, bar, share, table
from pipeline.words import plain

SHOWN = 20
MOST_WORDS = 400
"""A column with more distinct words is of free text, and gets no table."""


class WordSurvey:
    """Rows of each word of the columns that hold words, and the languages that lists state of their texts."""

    STATED = "stated by the list"

    def __init__(self, columns: Sequence[ScoreColumn], names: Mapping[str, list[str]]) -> None:
        self.columns = [column for column in columns if column.form == "word" and column.scorer != "record"]
        self.names = names
        self.words: dict[str, dict[str, np.ndarray]] = {}
        self.too_many: set[str] = set()

    def of(self, part: PartView) -> dict[str, dict[str, np.ndarray]]:
        """Counts of one part, by column and word."""
        found = {}
        for column in self.columns:
            scores = part.scores(column.scorer, self.names[column.scorer])
            if scores is not None and column.name in scores.column_names:
                found[column.full] = _words(scores.column(column.name), part.tone)
        stated = [name for name in ("texts",) if name in part.raw.column_names]
        if stated:
            texts = part.raw.column("texts").combine_chunks()
            parent = pc.list_parent_indices(texts).to_numpy(zero_copy_only=False)
            langs = pc.struct_field(pc.list_flatten(texts), "lang")
            found[self.STATED] = _words(langs, part.tone[parent])
        return found

    def add(self, found: dict[str, dict[str, np.ndarray]]) -> None:
        """Take in a part."""
        for name, words in found.items():
            into = self.words.setdefault(name, {})
            if name not in self.too_many:
                merge(into, words)
                if len(into) > MOST_WORDS:
                    self.too_many.add(name)
                    into.clear()

    def section(self) -> Section:
        """Languages first, then whatever else scorers said in words."""
        language = [name for name in self.words if name.rpartition(".")[2] in ("lang", "language")]
        blocks = []
        for name in [*language, *(name for name in self.words if name not in (*language, self.STATED)), self.STATED]:
            words = self.words.get(name)
            if words:
                title = "Language of each text, as the list states it" if name == self.STATED else plain(name)
                blocks.append(f"<h3>{html.escape(title)}</h3>{_table(words, name)}")
        for name in sorted(self.too_many):
            blocks.append(f"<p>{html.escape(plain(name))}: more than {MOST_WORDS} different words, not counted.</p>")
        if not language:
            blocks.insert(0, "<p>No scorer of languages ran: <code>[score.language]</code> in the recipe adds one.</p>")
        return Section("Languages", "Rows per word of the scores that are words.", "".join(blocks))


def _words(column: pa.ChunkedArray | pa.Array, tone: np.ndarray) -> dict[str, np.ndarray]:
    names, codes = coded(column)
    counts = tally(codes, tone, len(names))
    return {str(name): counts[:, i] for i, name in enumerate(names)}


def _table(words: dict[str, np.ndarray], name: str) -> str:
    order = sorted(words, key=lambda word: (-int(words[word].sum()), word))
    whole = int(sum(counts.sum() for counts in words.values()))
    most = int(words[order[0]].sum())
    rows = []
    for word in order[:SHOWN]:
        kept, dropped, other = (int(words[word][tone]) for tone in (KEPT, DROPPED, UNJUDGED))
        rows.append((plain(word, 60) or "(empty)", kept + dropped + other, share(kept + dropped + other, whole),
                     kept, bar(kept, dropped, most, other)))  # fmt: skip
    if len(order) > SHOWN:
        rest = int(sum(words[word].sum() for word in order[SHOWN:]))
        rows.append((f"({len(order) - SHOWN} others)", rest, share(rest, whole),
                     int(sum(words[word][KEPT] for word in order[SHOWN:])), ""))  # fmt: skip
    return table(("word", "rows", "share", "kept", ""), rows, name=name)
