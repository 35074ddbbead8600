"""CC3M: one row per line, whatever is in it."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.ingest.sources import open_source, source_config
from pipeline.ingest.sources.files import ListFile
from pipeline.record import sample_key

GOOD = b"a cat\thttp://x.org/1.jpg\n"


def write(tmp_path, data, name="list.tsv"):
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


def test_a_published_row(tmp_path, read):
    (row,) = read(kind="cc3m", path=write(tmp_path, GOOD))
    assert row["url"] == "http://x.org/1.jpg"
    assert row["texts"] == [{"text": "a cat", "kind": "alt", "lang": None}]
    assert (row["source_id"], row["medium"], row["split"], row["fault"]) == ("list#0", "image", None, None)
    assert row["key"] == sample_key("cc3m", "list#0")


MESSY = [
    (b"no tab at all\n", "line: 1 fields, wanted 2"),
    (b"a\tb\tc\n", "line: 3 fields, wanted 2"),
    (b"\n", "line: 1 fields, wanted 2"),
    (b"a caption\t\n", "url: empty"),
    (b"a caption\t   \n", "url: empty"),
    (b"a caption\thttp://x/\xff\xfe.jpg\n", "url: not valid text"),
    (b"a caption\thttp://x/\x00.jpg\n", "url: not valid text"),
    (b"x" * 300_000 + b"\thttp://x/\n", "alt: a text of 300000 bytes, at most 262144 wanted"),
    (b"x" * (17 << 20) + b"\thttp://x/\n", "line: longer than 16777216 bytes"),
]


@pytest.mark.parametrize(("line", "fault"), MESSY)
def test_a_bad_line_is_a_row_with_a_fault(tmp_path, read, line, fault):
    rows = read(kind="cc3m", path=write(tmp_path, GOOD + line + GOOD))
    assert [row["fault"] for row in rows] == [None, fault, None]
    assert [row["source_id"] for row in rows] == ["list#0", "list#1", "list#2"]


@pytest.mark.parametrize(
    ("caption", "text"),
    [(b"caf\xe9", "caf\ufffd"), (b"a\x00b", "ab"), (b"\xed\xa0\x80x", "\ufffdx"), ("日本 🦜".encode(), "日本 🦜"),
     (b'say "hi', 'say "hi'), (b"", None), (b"\x00", None)],
)
def test_captions_are_repaired_and_it_is_noted(tmp_path, read, caption, text):
    (_, row) = read(kind="cc3m", path=write(tmp_path, GOOD + caption + b"\thttp://x/\n"))
    assert row["fault"] is None
    assert [item["text"] for item in row["texts"]] == ([] if text is None else [text])
    assert (row["meta"] == '{"repaired": ["alt"]}') == (text != caption.decode("utf-8", "ignore") and caption != b"")


def test_line_ends_and_marks(tmp_path, read):
    rows = read(kind="cc3m", path=write(tmp_path, b"\xef\xbb\xbfa\thttp://x/1\r\nb\thttp://x/2"))
    assert [(row["texts"][0]["text"], row["url"]) for row in rows] == [("a", "http://x/1"), ("b", "http://x/2")]


def test_compressed(tmp_path, read):
    assert len(read(kind="cc3m", path=write(tmp_path, gzip.compress(GOOD * 3), "list.tsv.gz"))) == 3


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"caption\n", "1 fields"), (b"http://x.org/1.jpg\ta cat\n", "CC12M"), (b"a\tb\n", "no link")],
)
def test_another_layout_is_refused_before_work_starts(tmp_path, read, data, words):
    with pytest.raises(SourceError, match=words) as error:
        read(kind="cc3m", path=write(tmp_path, data))
    assert "list.tsv" in str(error.value)


@given(st.binary())
def test_any_bytes_give_one_row_per_line_with_its_own_key(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tsv") / "list.tsv"
    path.write_bytes(data)
    source = open_source(source_config({"kind": "cc3m", "path": str(path)}))
    rows = [row for batch in source.read(ListFile(0, str(path), "list", "")) for row in batch.to_pylist()]
    assert len(rows) == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert len({row["key"] for row in rows}) == len(rows)


def test_the_real_list(real_data, read):
    rows = read(kind="cc3m", path=str(real_data / "url_lists" / "cc3m_val_5000.tsv"))
    assert len(rows) == 5000
    assert all(row["fault"] is None and row["texts"] for row in rows)
