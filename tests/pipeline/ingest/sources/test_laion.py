"""LAION's lists, told apart by their columns."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError


def write(tmp_path, name="part-00000.snappy.parquet", **columns):
    pq.write_table(pa.table(columns), tmp_path / name)
    return str(tmp_path / name)


def test_laion_400m(tmp_path, read):
    path = write(
        tmp_path, SAMPLE_ID=[7.0, None], URL=["http://x/1", "http://x/2"], TEXT=["a", "b"], HEIGHT=[10.0, None],
        WIDTH=[20, 30], LICENSE=["?", "?"], NSFW=["UNLIKELY", None], similarity=[0.3, float("nan")],
    )
    first, second = read(kind="laion", path=path)
    assert (first["source_id"], second["source_id"]) == ("7", "part-00000#1")
    assert first["texts"] == [{"text": "a", "kind": "alt", "lang": None}]
    assert json.loads(first["meta"]) == {
        "HEIGHT": 10.0, "WIDTH": 20, "LICENSE": "?", "NSFW": "UNLIKELY", "similarity": 0.3,
    }
    assert json.loads(second["meta"]) == {"WIDTH": 30, "LICENSE": "?", "similarity": None}


def test_laion_2b_multi_with_hashes(tmp_path, read):
    md5 = "d41d8cd98f00b204e9800998ecf8427e"
    path = write(
        tmp_path, URL=["http://x/1"] * 3, TEXT=["ein Hund"] * 3, LANGUAGE=["de", "", None], md5=[md5, None, "zz"],
        hash=[1, 2, 3], punsafe=[0.1, 0.2, 0.3],
    )
    rows = read(kind="laion", path=path)
    assert [row["texts"][0]["lang"] for row in rows] == ["de", None, None]
    assert [row["hash"] for row in rows] == [f"md5:{md5}", None, None]
    assert [row["fault"] for row in rows] == [None, None, "hash: neither an md5 nor a sha256 in hex"]
    assert json.loads(rows[1]["meta"])["hash"] == 2


def test_laion_coco(tmp_path, read):
    path = write(tmp_path, url=["http://x/1"], text=["alt"], top_caption=["b"], all_captions=[["a", "b", None]])
    (row,) = read(kind="laion", path=path)
    assert [(item["text"], item["kind"]) for item in row["texts"]] == [
        ("alt", "alt"), ("b", "synthetic"), ("a", "synthetic"),
    ]


@pytest.mark.parametrize("column", [[1, 2], [b"\xff", b"a"], [["x"], ["y"]]])
def test_columns_of_the_wrong_type_are_faults(tmp_path, read, column):
    for names in ({"URL": column, "TEXT": ["a", "b"]}, {"URL": ["http://x/"] * 2, "TEXT": column}):
        rows = read(kind="laion", path=write(tmp_path, **names))
        assert all("wanted text" in row["fault"] for row in rows)


def test_text_that_is_not_utf8(tmp_path, read):
    bad = pa.array([b"caf\xe9", b"ok", None]).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, bad.buffers())
    rows = read(kind="laion", path=write(tmp_path, URL=["http://x/"] * 3, TEXT=text))
    assert [[item["text"] for item in row["texts"]] for row in rows] == [["caf\ufffd"], ["ok"], []]


def test_many_row_groups(tmp_path, read):
    table = pa.table({"URL": [f"http://x/{i}" for i in range(7001)], "TEXT": [str(i) for i in range(7001)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    rows = read(kind="laion", path=str(tmp_path))
    assert [row["source_id"] for row in rows] == [f"a#{i}" for i in range(7001)]
    assert [row["texts"][0]["text"] for row in rows] == [str(i) for i in range(7001)]


def test_a_missing_column_is_named(tmp_path, read):
    with pytest.raises(SourceError, match=r"has no column 'TEXT'; found: URL, TEXTS\. Did you mean 'TEXTS'"):
        read(kind="laion", path=write(tmp_path, URL=["x"], TEXTS=["y"]))


def test_no_parquet(tmp_path, read):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match=r"a\.parquet: cannot be read as parquet"):
        read(kind="laion", path=str(tmp_path))


def test_the_real_list(real_data, read):
    rows = read(kind="laion", path=str(real_data / "url_lists" / "laion_like_1000.parquet"))
    assert len(rows) == 1000
    assert rows[0]["url"].startswith("http://direct.rhapsody.com")
    assert rows[0]["meta"] is None
