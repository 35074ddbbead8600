"""WuDaoMM-base: Chinese tags and captions."""

import json

import pytest

from pipeline.errors import SourceError


def write(tmp_path, items):
    (tmp_path / "part0.json").write_text(json.dumps(items, ensure_ascii=False))
    return str(tmp_path)


def test_rows(tmp_path, read):
    items = [{"name": "0ab.jpg", "tag": "工业", "captions": "天际线,大阪城,日本"}, {"tag": "x"}, 5]
    rows = read(kind="wudaomm", path=write(tmp_path, items), media="/wudao")
    assert (rows[0]["url"], rows[0]["source_id"]) == ("file:///wudao/0ab.jpg", "0ab.jpg")
    assert rows[0]["texts"] == [
        {"text": "天际线,大阪城,日本", "kind": "caption", "lang": "zh"}, {"text": "工业", "kind": "tag", "lang": "zh"},
    ]
    assert [row["fault"] for row in rows] == [None, "url: none", "item: int, wanted an object"]


def test_another_layout_is_refused(tmp_path, read):
    with pytest.raises(SourceError, match=r"has no 'captions'; found: name, caption. Did you mean 'caption'"):
        read(kind="wudaomm", path=write(tmp_path, [{"name": "x", "caption": "y"}]), media="/wudao")
