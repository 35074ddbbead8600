"""Facts about words: how many, how long, how much they repeat, how many are capitalised.

A word is what `str.split()` gives, as the published rule sets count (DataComp: `len(text.split())`), so that their
thresholds can be used as printed. Repetition compares words in lower case (CC12M: the largest share of one repeated
word; CC3M's open re-implementation: unique words over all words). Repeated n-grams follow the idea of Table A1 of
"Scaling Language Models" (arXiv 2112.11446), on words instead of characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

NGRAMS = (2, 3)
"""Lengths of the word sequences whose repetition is measured."""


def word_facts(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of this file, one value per text; shares are 0 to 1, and 0 where there is nothing to share.

    num_words. mean_word_chars. max_word_chars. max_word_share: of the most frequent word among all. unique_share:
    different words over all words. repeated_2gram_share, repeated_3gram_share: sequences of so many words that
    occurred before in the text, over all such sequences. capital_word_share: words that begin with a capital.
    """
    facts: dict[str, list[Any]] = {name: [] for name in _facts("")}
    for text in texts:
        for name, value in _facts(text).items():
            facts[name].append(value)
    whole = {"num_words", "max_word_chars"}
    return {name: np.array(found, np.int32 if name in whole else np.float64) for name, found in facts.items()}


def _facts(text: str) -> dict[str, float]:
    words = text.split()
    number = len(words)
    lower = text.lower().split()
    unique = len(set(lower))
    all_differ = unique == number  # true of most captions, and then no sequence of words repeats either
    most = min(number, 1) if all_differ else max(Counter(lower).values())
    whole = number or 1
    facts = {
        "num_words": number,
        "mean_word_chars": sum(map(len, words)) / whole,
        "max_word_chars": max(map(len, words), default=0),
        "max_word_share": most / whole,
        "unique_share": unique / whole,
        "capital_word_share": sum(word[0].isupper() for word in words) / whole,
    }
    for n in NGRAMS:
        facts[f"repeated_{n}gram_share"] = 0.0 if all_differ else _repeated_share(lower, n)
    return facts


def _repeated_share(words: Sequence[str], n: int) -> float:
    number = len(words) - n + 1
    if number <= 0:
        return 0.0
    return 1.0 - len(set(zip(*(words[i:] for i in range(n)), strict=False))) / number
