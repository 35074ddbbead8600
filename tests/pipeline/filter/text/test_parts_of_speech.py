"""The tagger on captions tagged by hand; docs/filter-text.md has its agreement with a statistical tagger."""

import pytest

from pipeline.filter.text.parts_of_speech import COLUMNS, part_of_speech_facts, tag_words

TAGGED = [
    # text, has_noun, has_determiner, has_preposition
    ("A brown dog is running after the black dog .", True, True, True),
    ("two men", True, False, False),
    ("children playing soccer", True, False, False),
    ("the quick one", False, True, False),
    ("click here", False, False, False),
    ("very beautiful !", False, False, False),
    ("so happy", False, False, False),
    ("running fast", False, False, False),
    ("he is looking up", False, False, False),
    ("a woman in black", True, True, True),
    ("his dog sleeps", True, False, False),
    ("dogs that run", True, False, False),
    ("that dog", True, True, False),
    ("he climbs down the ladder", True, True, True),
    ("she likes to swim", False, False, False),
    ("walking to school", True, False, True),
    ("before he jumps", False, False, False),
    ("the Building", True, True, False),
    ("butterfly", True, False, False),
    ("it was lovely", False, False, False),
    ("all the people of this world", True, True, True),
    ("12345", False, False, False),
    ("!!!", False, False, False),
    ("", False, False, False),
]


@pytest.mark.parametrize(("text", "noun", "determiner", "preposition"), TAGGED)
def test_captions_tagged_by_hand(text, noun, determiner, preposition):
    found = part_of_speech_facts([text])
    assert [bool(found[name][0]) for name in COLUMNS[:3]] == [noun, determiner, preposition]


def test_the_share_of_nouns_leaves_punctuation_out():
    found = part_of_speech_facts(["The dog, the cat.", ""])
    assert found["noun_share"].tolist() == [0.5, 0]


def test_one_tag_per_token():
    assert tag_words(["A", "dog", "runs", "."]) == ["D", "N", "V", "."]
    assert tag_words([]) == []


def test_a_caption_of_a_million_characters_is_no_trap():
    found = part_of_speech_facts(["dog " * 250_000, "a-" * 500_000, "x" * 1_000_000, "1," * 500_000])
    assert found["has_noun"].tolist() == [True, False, False, False]
