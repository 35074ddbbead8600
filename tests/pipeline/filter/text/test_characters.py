"""Every fact against Python's own `str` methods, one character after the other."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.text import characters
from pipeline.filter.text.characters import character_facts

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("aB1 .ǅÉ犬٣ⅷ", max_size=9))


def by_the_methods(text):
    n = len(text) or 1
    letters = [c for c in text if c.isalpha()]
    first = letters[0] if letters else ""
    return {
        "num_chars": len(text),
        "letter_share": len(letters) / n,
        "upper_share": sum(c.isupper() for c in text) / n,
        "digit_share": sum(c.isdigit() for c in text) / n,
        "punctuation_share": sum(unicodedata.category(c)[0] in "PS" for c in text) / n,
        "first_is_capital": first.isupper() or (bool(first) and unicodedata.category(first) == "Lt"),
    }


@given(TEXTS)
def test_equal_to_the_methods_of_str(texts):
    found = character_facts(texts)
    for row, text in enumerate(texts):
        for name, wanted in by_the_methods(text).items():
            if name == "upper_share":
                wanted = sum(c.isupper() or unicodedata.category(c) == "Lt" for c in text) / (len(text) or 1)
            assert found[name][row] == pytest.approx(wanted), (name, text)


@given(TEXTS, st.integers(1, 20))
def test_the_size_of_batches_does_not_matter(texts, batch_chars):
    whole = character_facts(texts)
    standing, characters._BATCH_CHARS = characters._BATCH_CHARS, batch_chars
    try:
        for name, values in character_facts(texts).items():
            assert np.array_equal(values, whole[name])
    finally:
        characters._BATCH_CHARS = standing
