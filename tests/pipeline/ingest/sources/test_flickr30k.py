"""Flickr30k token files: five lines an image."""

import pytest

from pipeline.errors import SourceError


def write(tmp_path, data):
    (tmp_path / "results_20130124.token").write_bytes(data)
    return str(tmp_path)


def test_rows(tmp_path, read):
    lines = [f"{name}.jpg#{i}\tcaption {name} {i}\n" for name in (1000092795, 10002456) for i in range(5)]
    lines.insert(6, "10002456.jpg no tab\n")
    lines += ["7.jpg\tno number\n", "8.jpg#x\tno number\n", "1000092795.jpg#0\tagain"]
    rows = read(kind="flickr30k", path=write(tmp_path, "".join(lines).encode()), media="/f30k")
    assert [row["source_id"] for row in rows] == [
        "1000092795.jpg", "10002456.jpg", "results_20130124.token#6", "10002456.jpg", "results_20130124.token#11",
        "results_20130124.token#12", "1000092795.jpg",
    ]
    assert rows[0]["url"] == "file:///f30k/1000092795.jpg"
    assert [text["text"] for text in rows[0]["texts"]] == [f"caption 1000092795 {i}" for i in range(5)]
    assert [row["fault"] for row in rows] == [
        None, None, "line: 1 fields, wanted 2", None, "line: '7.jpg', wanted name.jpg#0",
        "line: '8.jpg#x', wanted name.jpg#0", None,
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"image_name| comment_number| comment\n", "first line: 1 fields"),
     (b"1.jpg\tcaption\n", "wanted name.jpg#0")],
)
def test_another_layout_is_refused(tmp_path, read, data, words):
    with pytest.raises(SourceError, match=words):
        read(kind="flickr30k", path=write(tmp_path, data), media="/f30k")
