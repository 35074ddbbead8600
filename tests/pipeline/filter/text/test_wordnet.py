"""The first sense of a word, against the rule as it is written, on a small WordNet.

On the whole of WordNet 3.0, 94,055 words and forms had the first synset that NLTK 3.8.1 gives (docs/log.md).
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.filter.text.wordnet import MAX_WORD_CHARS, WordNet

LEMMAS = {
    "noun": {"dog": [1, 90], "bus": [2], "wolf": [3], "box": [4], "man": [5], "city": [6], "run": [7, 8], "s": [9],
             "ice_cream": [10], "match": [11], "axis": [12], "ax": [13], "glass": [14], "leaf": [15], "bed": [16]},
    "verb": {"run": [20], "make": [21], "leave": [22], "see": [23], "dog": [24], "be": [25], "sing": [26], "d": [27]},
    "adj": {"red": [30], "fine": [31], "good": [32]},
    "adv": {"well": [40]},
}  # fmt: skip
EXCEPTIONS = {
    "noun": {"axes": ["axis", "ax"], "men": ["man"], "nothing": ["nowhere"]},
    "verb": {"ran": ["run"], "was": ["be"], "left": ["leave"]},
    "adj": {"better": ["good", "well"]},
}


@pytest.fixture(scope="module")
def wordnet(write_wordnet, tmp_path_factory):
    return WordNet(write_wordnet(tmp_path_factory.mktemp("wordnet"), LEMMAS, EXCEPTIONS), "here")


@pytest.mark.parametrize(
    ("word", "sense"),
    [
        ("dog", 1), ("Dogs", 1), ("DOG", 1), ("run", 7), ("ran", 20), ("running", None), ("making", 21), ("wolves", 3),
        ("leaves", 15), ("leaving", 22), ("left", 22), ("axes", 12), ("nothing", None), ("seeing", 23), ("better", 32),
        ("finest", 31), ("well", 40), ("dogss", 1), ("ice_cream", 10), ("dog,", None), ("", None), ("men", 5),
        ("glasses", 14),
    ],
)  # fmt: skip
def test_words_by_hand(wordnet, first_synset, word, sense):
    assert wordnet.first_sense(word) == sense
    assert first_synset(word, LEMMAS, EXCEPTIONS) == sense


STEMS = st.sampled_from([*(lemma for lemmas in LEMMAS.values() for lemma in lemmas), "", "x", "cit", "wol", "mak"])
TAILS = st.lists(st.sampled_from(["s", "es", "ed", "ing", "er", "est", "men", "ies", "ves", "ses", "a"]), max_size=4)


@given(STEMS, TAILS)
def test_equal_to_the_rule(wordnet, first_synset, stem, tails):
    word = stem + "".join(tails)
    assert wordnet.first_sense(word) == first_synset(word, LEMMAS, EXCEPTIONS)


def test_a_word_of_a_million_letters_is_no_trap(wordnet):
    assert wordnet.first_sense("s" * MAX_WORD_CHARS) == 9
    assert wordnet.first_sense("seses" * 200_000) is None
    assert wordnet.first_sense("d" + "ed" * (MAX_WORD_CHARS // 2 - 1)) == 27


def test_what_is_not_wordnet_is_refused(write_wordnet, tmp_path):
    with pytest.raises(RecipeError, match=r"here is '.*nowhere.index\.noun'.*no such file.*Name WordNet's folder"):
        WordNet(str(tmp_path / "nowhere"), "here")
    folder = tmp_path / "wordnet"
    write_wordnet(folder, LEMMAS, EXCEPTIONS)
    (folder / "index.verb").write_text("run v 1\n")
    with pytest.raises(RecipeError, match=r"here: .*index\.verb is no index of WordNet \(found the line 'run v 1'"):
        WordNet(str(folder), "here")
