"""Facts about a sample's text, from the text alone: length, repetition, casing, patterns, boilerplate, grammar.

Counts follow what the published rule sets count (DataComp: characters and whitespace-separated words; CC12M: the
largest share of one repeated word), so that their thresholds can be used as printed. What each column says, and how
far the patterns can be trusted, is in docs/filter-text.md; the facts themselves are in pipeline/filter/text/.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pyarrow as pa

from pipeline.filter.ranges import ranged
from pipeline.filter.text.boilerplate import boilerplate_facts
from pipeline.filter.text.characters import character_facts, class_table
from pipeline.filter.text.choice import Which, chosen_text, row_texts
from pipeline.filter.text.parts_of_speech import part_of_speech_facts
from pipeline.filter.text.personal import personal_facts
from pipeline.filter.text.word_list import WordList
from pipeline.filter.text.words import word_facts
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources


class TextScoreConfig(RecipeTable):
    """The `[score.text]` table."""

    which: Which = "first"
    """Which text of a row: the `first`, the `longest` (the earlier of two), or `all` joined by line breaks, so that a
    pattern found in any of them counts."""
    parts_of_speech: Literal["off", "english"] = "off"
    """`english` adds has_noun, has_determiner, has_preposition and noun_share, for the rules of CC3M and CC12M."""
    profanity: str | None = None
    """A file of words or phrases, one per line; adds the column `profanity`, the number of them in the text."""


_CHARACTERS = pa.schema(
    [
        ranged("num_chars", pa.int32(), 0),
        ranged("letter_share", pa.float64(), 0, 1),
        ranged("upper_share", pa.float64(), 0, 1),
        ranged("digit_share", pa.float64(), 0, 1),
        ranged("punctuation_share", pa.float64(), 0, 1),
        ("first_is_capital", pa.bool_()),
    ]
)
_WORDS = pa.schema(
    [
        ranged("num_words", pa.int32(), 0),
        ranged("mean_word_chars", pa.float64(), 0),
        ranged("max_word_chars", pa.int32(), 0),
        ranged("max_word_share", pa.float64(), 0, 1),
        ranged("unique_share", pa.float64(), 0, 1),
        ranged("capital_word_share", pa.float64(), 0, 1),
        ranged("repeated_2gram_share", pa.float64(), 0, 1),
        ranged("repeated_3gram_share", pa.float64(), 0, 1),
    ]
)
_PATTERNS = pa.schema(
    [
        ("has_url", pa.bool_()),
        ("has_email", pa.bool_()),
        ("has_phone", pa.bool_()),
        ("has_ip_address", pa.bool_()),
        ("has_card_number", pa.bool_()),
        ("has_iban", pa.bool_()),
        ("is_boilerplate", pa.bool_()),
        ("has_file_name", pa.bool_()),
        ("has_dimensions", pa.bool_()),
    ]
)
_GRAMMAR = pa.schema(
    [
        ("has_noun", pa.bool_()),
        ("has_determiner", pa.bool_()),
        ("has_preposition", pa.bool_()),
        ranged("noun_share", pa.float64(), 0, 1),
    ]
)
_PROFANITY = pa.schema([ranged("profanity", pa.int32(), 0)])
_ALWAYS = pa.schema([*_CHARACTERS, *_WORDS, *_PATTERNS, ranged("num_texts", pa.int32(), 0)])


class TextScore:
    """The columns of `writes`; those of grammar and profanity where the recipe asks for them."""

    name: ClassVar[str] = "text"
    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("texts",)
    writes: pa.Schema = pa.schema([*_ALWAYS, *_GRAMMAR, *_PROFANITY])
    """Of the class: every column there may be. Of a scorer: those that its settings give."""
    resources: ClassVar[Resources] = Resources(cpus=1)

    def __init__(self, config: TextScoreConfig) -> None:
        self.config = config
        grammar = [] if config.parts_of_speech == "off" else [*_GRAMMAR]
        profanity = [] if config.profanity is None else [*_PROFANITY]
        self.writes = pa.schema([*_ALWAYS, *grammar, *profanity])
        self._profanity: WordList | None = None

    def settings(self) -> Any:
        """The recipe's settings; a word list counts by its content, wherever it lies."""
        settings = self.config.model_dump(mode="json")
        if self.config.profanity is not None:
            settings["profanity"] = self._word_list().sha256
        return settings

    def check(self) -> None:
        """Refuse a word list that is not there."""
        if self.config.profanity is not None:
            self._word_list()

    def setup(self) -> None:
        """Load the table of characters, and the word list."""
        class_table()
        self.check()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Score one text of each row; a row without texts counts as the empty text."""
        rows = row_texts(table.column("texts"))
        texts = [chosen_text(row, self.config.which) for row in rows]
        column = pa.array(texts, pa.large_string())
        columns: dict[str, Any] = {
            **character_facts(texts),
            **word_facts(texts),
            **personal_facts(column),
            **boilerplate_facts(column),
            "num_texts": list(map(len, rows)),
        }
        if self.config.parts_of_speech == "english":
            columns |= part_of_speech_facts(texts)
        if self.config.profanity is not None:
            columns["profanity"] = self._word_list().count(texts)
        return pa.table({field.name: columns[field.name] for field in self.writes}, schema=self.writes)

    def _word_list(self) -> WordList:
        if self._profanity is None:
            self._profanity = WordList(str(self.config.profanity), "score.text.profanity")
        return self._profanity
