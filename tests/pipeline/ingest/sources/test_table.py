"""Any table, with its columns named in the recipe."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RecipeError, SourceError

ROWS = [
    {"link": "http://x/1", "alt": "one", "title": "t1", "uid": "u1", "part": "train", "extra": "e"},
    {"link": "http://x/2", "alt": "two", "title": "", "uid": "u2", "part": "test", "extra": ""},
]
COLUMNS = {
    "url": "link",
    "text": ["alt", {"column": "title", "kind": "title", "lang": "en"}],
    "id": "uid",
    "split": "part",
}


def write(tmp_path, kind):
    path = tmp_path / f"list.{kind}"
    header = list(ROWS[0])
    separator = "," if kind == "csv" else "\t"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.write_text("\n".join(separator.join(line) for line in [header, *(row.values() for row in ROWS)]))
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl", "csv", "tsv"])
def test_every_format_gives_the_same_rows(tmp_path, read, kind):
    first, second = read(kind="table", path=write(tmp_path, kind), **COLUMNS)
    assert (first["source_id"], first["url"], first["split"]) == ("u1", "http://x/1", "train")
    assert first["texts"] == [
        {"text": "one", "kind": "caption", "lang": None}, {"text": "t1", "kind": "title", "lang": "en"},
    ]
    assert [item["text"] for item in second["texts"]] == ["two"]
    assert json.loads(first["meta"]) == {"extra": "e"}


def test_csv_as_people_write_it(tmp_path, read):
    path = tmp_path / "list.csv"
    path.write_bytes(
        b'url,text\r\nhttp://x/0,"two\nlines, and a ""quote"""\r\nhttp://x/1\r\nhttp://x/2,a,b\r\n\r\nhttp://x/3,caf\xe9\r\n'
        b"http://x/4," + b"y" * (17 << 20) + b"\r\nhttp://x/5,nul\0\r\n"
    )
    rows = read(kind="table", path=str(path), url="url", text="text")
    assert [row["fault"] and row["fault"].split(",")[0] for row in rows] == [
        None, "line: 1 fields", "line: 3 fields", None, "line: longer than 16777216 bytes", None,
    ]
    assert [row["source_id"] for row in rows] == [f"list#{i}" for i in range(6)]
    assert rows[0]["texts"][0]["text"] == 'two\nlines, and a "quote"'
    assert rows[3]["texts"][0]["text"] == "caf\ufffd"
    assert rows[5]["texts"][0]["text"] == "nul"


def test_csv_without_a_header(tmp_path, read):
    (tmp_path / "l.csv").write_text("http://x/0,a\nhttp://x/1,b\n")
    rows = read(kind="table", path=str(tmp_path / "l.csv"), columns=["u", "t"], url="u", text="t")
    assert [row["url"] for row in rows] == ["http://x/0", "http://x/1"]


def test_bad_json_lines(tmp_path, read):
    good = '{"u": "http://x/0", "t": ["a", "b"]}'
    lines = [good, "nonsense", "[1]", '{"u": 5}', '{"t": "no url"}', "{" * 100_000, ""]
    (tmp_path / "l.jsonl").write_text("\n".join(lines) + "\n")
    rows = read(kind="table", path=str(tmp_path / "l.jsonl"), url="u", text="t")
    assert [item["text"] for item in rows[0]["texts"]] == ["a", "b"]
    assert [row["fault"] is None for row in rows] == [True] + [False] * 6
    assert rows[2]["fault"] == "line: list, wanted an object"
    assert (rows[3]["fault"], rows[4]["fault"]) == ("url: int, wanted text", "url: none")


def test_hashes_and_relative_links(tmp_path, read):
    (tmp_path / "l.jsonl").write_text('{"u": "a/1.jpg", "t": "x", "h": "' + "AB" * 32 + '"}\n')
    (row,) = read(kind="table", path=str(tmp_path / "l.jsonl"), url="u", text="t", hash="h", base_url="http://x/d/")
    assert (row["url"], row["hash"]) == ("http://x/d/a/1.jpg", "sha256:" + "ab" * 32)


def test_other_media(tmp_path, read):
    (tmp_path / "l.jsonl").write_text('{"u": "http://x/1.mp4", "t": "x"}\n')
    (row,) = read(kind="table", path=str(tmp_path / "l.jsonl"), url="u", text="t", medium="video")
    assert row["medium"] == "video"


def test_a_column_of_the_recipe_is_missing(tmp_path, read):
    for kind in ("parquet", "csv", "tsv", "jsonl", "json"):
        with pytest.raises(SourceError, match=r"has no column 'links'; found: link, .* Did you mean 'link'"):
            read(kind="table", path=write(tmp_path, kind), url="links", text="alt")


def test_unknown_ending(tmp_path, read):
    (tmp_path / "l.dat").write_text("u,t\nhttp://x/,b\n")
    with pytest.raises(SourceError, match=r"set source\.format"):
        read(kind="table", path=str(tmp_path / "l.dat"), url="u", text="t")
    assert len(read(kind="table", path=str(tmp_path / "l.dat"), format="csv", url="u", text="t")) == 1


def test_the_url_column_must_be_named(read):
    with pytest.raises(RecipeError, match="url: missing"):
        read(kind="table", path="x.csv", text="t")


def test_real_json_lines(real_data, read):
    path = str(real_data / "url_lists" / "tate_300.jsonl")
    rows = read(kind="table", path=path, url="thumbnailUrl", text=["title"])
    assert len(rows) == 300
    assert {row["fault"] for row in rows} == {None, "url: none"}


def test_deeply_nested_columns_are_left_out(tmp_path, read):
    depths = [10, 500, 900, 950, 980, 990, 995]
    lines = ['{"u": "http://x/", "t": "x", "deep": ' + "[" * depth + "]" * depth + "}" for depth in depths]
    (tmp_path / "l.jsonl").write_text("\n".join(lines))
    rows = read(kind="table", path=str(tmp_path / "l.jsonl"), url="u", text="t")
    assert len(rows) == len(depths)
    assert rows[0]["fault"] is None
    assert all(row["meta"] is not None or row["fault"] is not None for row in rows)


def test_values_that_python_cannot_hold(tmp_path, read):
    bad = pa.array([[b"caf\xe9"], [b"ok"]], pa.list_(pa.binary()))
    nested = pa.ListArray.from_arrays(bad.offsets, pa.Array.from_buffers(pa.string(), 2, bad.values.buffers()))
    table = pa.table({
        "u": ["http://x/1", "http://x/2"],
        "t": nested,
        "when": pa.array([2**62, 1_000_000_001], pa.timestamp("ns")),
        "far": pa.array([2**55, 1], pa.timestamp("us")),
        "blob": [b"\xff", None],
    })
    pq.write_table(table, tmp_path / "l.parquet")
    first, second = read(kind="table", path=str(tmp_path / "l.parquet"), url="u", text="t")
    assert first["fault"] == "caption: bytes, wanted text"
    assert second["fault"] is None
    assert [item["text"] for item in second["texts"]] == ["ok"]
    assert json.loads(second["meta"])["when"].startswith("1970-01-01 00:00:01")
    assert json.loads(first["meta"])["blob"] == "/w=="
