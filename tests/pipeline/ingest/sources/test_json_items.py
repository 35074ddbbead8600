"""One list inside a JSON file, item by item: the same items as json.loads, in bounded memory, or one clear error."""

import gzip
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.ingest.sources import json_items as module
from pipeline.ingest.sources.json_items import first_item, json_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def write(tmp_path, data, name="list.json"):
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(tmp_path / name)


@pytest.fixture(params=[1, 3, 1 << 20])
def chunk(request, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_BYTES", request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("json")


@settings(deadline=None)
@given(items=st.lists(VALUES, max_size=5), chunk=st.sampled_from([1, 7, 64]), indent=st.sampled_from([None, 1]),
       is_ascii=st.booleans())
def test_the_same_items_as_json_has(folder, items, chunk, indent, is_ascii):
    before, module._CHUNK_BYTES = module._CHUNK_BYTES, chunk
    try:
        path = write(folder, json.dumps(items, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass"))
        assert list(json_items(path)) == items
        data = {"info": {"a": [1]}, "other": items, "wanted": items, "more": items}
        path = write(folder, json.dumps(data, indent=indent, ensure_ascii=is_ascii))
        assert list(json_items(path, "wanted")) == items
    finally:
        module._CHUNK_BYTES = before


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ("", None, "not a JSON list; .* found the end of the file"),
        ("{}", None, r"not a JSON list; .* found '\{\}'"),
        ("[1, 2", None, "not JSON: character 5: wanted , or ], found the end"),
        ("[1, nope, 2]", None, "not JSON: character 4: Expecting value"),
        ("[1 2]", None, "not JSON: character 3: wanted , or ]"),
        ('["a', None, "not JSON: character 1: Unterminated string"),
        ("[" * 100_000, None, "too deeply nested"),
        ("[]", "images", r"not a JSON object that has a list 'images'; found '\[\]'"),
        ('{"imges": [], "b": 1}', "images", "has no list 'images'; found: imges, b. Did you mean 'imges'"),
        ("{}", "images", "has no list 'images'; found: nothing"),
        ('{"images": 5}', "images", "has no list 'images', but '5}' there"),
        ('{"a": [1, }', "images", "not JSON"),
        ('{"a" 1}', "images", "not JSON: character 5: wanted :"),
    ],
)
def test_what_is_no_list_is_one_error(tmp_path, chunk, data, key, words):
    with pytest.raises(SourceError, match=words) as error:
        list(json_items(write(tmp_path, data), key))
    assert "list.json" in str(error.value)


def test_items_before_a_damage_are_given(tmp_path):
    items = json_items(write(tmp_path, '[{"a": 1}, {"a": 2}, {"a": ]'))
    assert [next(items), next(items)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(SourceError, match="character 27"):
        next(items)


def test_an_error_does_not_read_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_BYTES", 100)
    path = write(tmp_path, "[{]" + " " * 5_000_000)
    tracemalloc.start()
    with pytest.raises(SourceError, match="not JSON"):
        list(json_items(path))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_memory_is_that_of_an_item(tmp_path):
    data = json.dumps({"other": [{"text": "x" * 1000}] * 20_000, "images": [{"text": "y" * 1000}] * 20_000})
    path = write(tmp_path, gzip.compress(data.encode(), 1), "list.json.gz")
    tracemalloc.start()
    assert sum(1 for _ in json_items(path, "images")) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 20_000_000  # of 40 MB
    tracemalloc.stop()


def test_text_that_is_not_utf8_and_a_mark(tmp_path):
    assert list(json_items(write(tmp_path, b'\xef\xbb\xbf["caf\xe9", 1]'))) == ["caf\udce9", 1]


def test_the_first_object_is_looked_at(tmp_path):
    path = write(tmp_path, '[5, {"capton": 1, "id": 2}]')
    assert first_item(path, None, ("id",)) == {"capton": 1, "id": 2}
    with pytest.raises(SourceError, match=r"has no 'caption'; found: capton, id. Did you mean 'capton'"):
        first_item(path, None, ("id", "caption"))
    assert first_item(write(tmp_path, "[]"), None, ("id",)) is None
