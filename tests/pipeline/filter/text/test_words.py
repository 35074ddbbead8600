"""Word facts against definitions written the slow way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.text.words import word_facts


def slowly(text):
    words = [word.lower() for word in text.split()]
    n = len(words)
    facts = {
        "num_words": len(text.split()),
        "max_word_share": max((words.count(word) for word in words), default=0) / (n or 1),
        "unique_share": sum(words.index(word) == i for i, word in enumerate(words)) / (n or 1),
        "mean_word_chars": sum(len(word) for word in text.split()) / (n or 1),
        "max_word_chars": max([0, *(len(word) for word in text.split())]),
        "capital_word_share": len([w for w in text.split() if w[0].isupper()]) / (n or 1),
    }
    for size in (2, 3):
        grams = [words[i : i + size] for i in range(n - size + 1)]
        again = sum(gram in grams[:i] for i, gram in enumerate(grams))
        facts[f"repeated_{size}gram_share"] = again / len(grams) if grams else 0
    return facts


@given(st.lists(st.text("aAbß \n\u00a0\u2003\x1c", max_size=24) | st.text(max_size=20), max_size=5))
def test_equal_to_the_definitions(texts):
    found = word_facts(texts)
    for row, text in enumerate(texts):
        wanted = slowly(text)
        assert set(found) == set(wanted)
        for name, value in wanted.items():
            assert found[name][row] == pytest.approx(value), (name, text)


def test_a_repeated_phrase_shows_in_its_pairs():
    found = word_facts(["a dog a dog a dog", "a dog and a cat"])
    assert found["repeated_2gram_share"].tolist() == pytest.approx([3 / 5, 0])
    assert found["max_word_share"].tolist() == pytest.approx([1 / 2, 2 / 5])
