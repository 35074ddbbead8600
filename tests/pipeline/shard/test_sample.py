"""The members of one sample."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shard.sample import JSON_FIELDS, caption_of, extension_of, is_shard_key, sample_json


def row(**changes):
    return dict.fromkeys((*JSON_FIELDS, "meta")) | {"key": "ab12", "texts": []} | changes


def test_json_says_what_is_known_and_nothing_else():
    texts = [{"text": "a cat", "kind": "caption", "lang": None}, {"text": "eine Katze", "kind": "alt", "lang": "de"}]
    found = json.loads(sample_json(row(texts=texts, width=3, weight=0.5, meta='{"license": "CC0", "nsfw": null}')))
    assert found == {
        "key": "ab12",
        "caption": "a cat",
        "width": 3,
        "texts": [{"text": "a cat", "kind": "caption"}, {"text": "eine Katze", "kind": "alt", "lang": "de"}],
        "weight": 0.5,
        "meta": {"license": "CC0"},
    }


@given(
    meta=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_meta_gives_strict_json(meta):
    def refuse(constant):
        raise AssertionError(constant)

    json.loads(sample_json(row(meta=json.dumps(meta))), parse_constant=refuse)


@pytest.mark.parametrize("meta", ["{not json", "", "[" * 100_000, "1" * 5000])
def test_meta_that_is_no_json_stays_text(meta):
    assert json.loads(sample_json(row(meta=meta)))["meta"] == meta


def test_an_overflowing_number_is_null():
    assert json.loads(sample_json(row(meta='{"x": [1e999]}')))["meta"] == {"x": [None]}


@pytest.mark.parametrize(
    ("member", "mime", "extension"),
    [
        ("x.jpeg", "image/jpeg", "jpg"),
        ("x.jpg", "image/webp", "webp"),
        ("a.b/x.HEIC", "image/heic", "heic"),
        ("x.json", None, "bin"),
        ("x.txt", "text/html", "bin"),
        (None, None, "bin"),
        ("x.../..", "evil/type", "bin"),
    ],
)
def test_extension(member, mime, extension):
    assert extension_of(member, mime) == extension


def test_caption_of_no_text_is_empty():
    assert [caption_of(None), caption_of([]), caption_of([{"text": None}])] == ["", "", ""]


@pytest.mark.parametrize(("key", "good"), [("ab-1_Z", True), ("a.b", False), ("a/b", False), ("", False), ("é", False)])
def test_keys(key, good):
    assert is_shard_key(key) is good
