"""The search against MetaCLIP's rule as it is written: every entry tried as a substring."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.filter.text.entries import Entries, read_entries, spaced

SIGNS = "aB ,.;:?!`\t\n\r'-é"
WORDS = st.lists(st.sampled_from(["a", "b", "a b", "the", ".", "", " "]), max_size=8).map(" ".join)
TEXTS = st.text(SIGNS, max_size=24) | WORDS | st.text(max_size=10)


def naive(text, entries):
    """xu et al.: wrap the marks, blank the breaks, pad, and look for ' entry '."""
    for mark in [",", ".", ";", ":", "?", "!", "`"]:
        text = text.replace(mark, f" {mark} ")
    for blank in ["\t", "\n", "\r"]:
        text = text.replace(blank, " ")
    text = f" {text} "
    first = {entry: i for i, entry in reversed(list(enumerate(entries))) if entry}
    return sorted(i for entry, i in first.items() if f" {entry} " in text)


@given(TEXTS, st.lists(st.text(SIGNS, max_size=6) | WORDS, max_size=12))
def test_equal_to_the_search_for_every_entry(text, entries):
    assert Entries(entries).matches(text) == naive(text, entries)


@given(st.lists(st.sampled_from(["the", "dog", "red", "a"]), min_size=1, max_size=12), st.data())
def test_runs_of_any_length_are_found(tokens, data):
    start = data.draw(st.integers(0, len(tokens) - 1))
    end = data.draw(st.integers(start + 1, len(tokens)))
    entries = [" ".join(tokens[start:end]), "the dog the", "a a"]
    assert Entries(entries).matches(" ".join(tokens)) == naive(" ".join(tokens), entries)


def test_case_counts_unless_the_recipe_says_lower():
    entries = ["Red Dog", "red dog", "cat"]
    assert Entries(entries).matches("a Red Dog, a CAT") == [0]
    assert Entries(entries, "lower").matches("a Red Dog, a CAT") == [0, 2]


def test_marks_end_an_entry():
    assert spaced("dog,cat") == " dog , cat "
    assert Entries(["dog", "dog cat", "St. Louis"]).matches("dog,cat of St. Louis") == [0]


def test_a_text_without_end_is_no_trap():
    assert Entries(["a a a", "b"]).matches("a " * 500_000) == [0]


def test_real_captions_match_as_the_rule_says(real_data):
    lines = (real_data / "url_lists/cc3m_val_5000.tsv").read_text("utf-8").splitlines()
    captions = [line.split("\t")[0] for line in lines]
    words = [spaced(caption).split() for caption in captions[::25]]
    entries = sorted(
        {" ".join(tokens[i : i + n]) for tokens in words for n in (1, 2, 3, 5) for i in range(len(tokens))}
    )
    search = Entries(entries)
    for caption in captions[:60]:
        assert search.matches(caption) == naive(caption, entries)


def test_lists_as_lines_and_as_json_are_the_same(tmp_path):
    lines, listed = tmp_path / "a.txt", tmp_path / "a.json"
    lines.write_bytes("dog\r\n\nété\n".encode())
    listed.write_text(json.dumps(["dog", "", "été"]))
    assert read_entries(str(lines), "x") == read_entries(str(listed), "x") == ["dog", "", "été"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", None, "no such file"),
        ("a.txt", b"\xff\xff", "not UTF-8"),
        ("a.txt", b"\n\n", "holds no entry"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b'{"a": 1}', "wanted a JSON list of strings"),
        ("a.json", b"[1]", "wanted a JSON list of strings"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, name, data, words):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RecipeError, match=rf"score\.concepts\.entries is .*{words}"):
        read_entries(str(path), "score.concepts.entries")
