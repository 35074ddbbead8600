"""Shingles and their overlap against sets of substrings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.text.shingles import MAX_CHARS, plain, shingles, similarities

TEXTS = st.lists(st.text("abc é犬.", max_size=14).map(plain).filter(bool), max_size=8)


def set_of(text, kind, size):
    tokens = list(text) if kind == "characters" else text.split(" ")
    tokens += [None] * (size - len(tokens))
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}


@pytest.mark.parametrize("kind", ["characters", "words"])
@given(TEXTS, st.integers(1, 5))
def test_equal_to_sets_of_runs(kind, texts, size):
    found = shingles(texts, kind, size)
    sets = [set_of(text, kind, size) for text in texts]
    assert found.sizes().tolist() == [len(runs) for runs in sets]
    if not texts:
        return
    again = np.roll(np.arange(len(texts)), 1)
    other = shingles([texts[i] for i in again], kind, size)
    wanted = [len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in enumerate(again)]
    assert similarities(found, other).tolist() == wanted


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_other_texts_around_it_change_nothing(kind):
    alone = shingles(["a red dog"], kind, 2).hashes
    among = shingles(["x", "a red dog", "y z"], kind, 2)
    assert among.hashes[among.starts[1] : among.starts[2]].tolist() == alone.tolist()


def test_plain_texts_differ_by_words_alone():
    assert plain(" A red, red  DOG!\n") == plain("a red red dog") == "a red red dog"
    assert plain("?! ...") == ""
    assert plain("a" * 50_000) == "a" * MAX_CHARS
