"""CC12M: url, tab, caption."""

import pytest

from pipeline.errors import SourceError


def write(tmp_path, data):
    (tmp_path / "cc12m.tsv").write_bytes(data)
    return str(tmp_path / "cc12m.tsv")


def test_rows(tmp_path, read):
    rows = read(kind="cc12m", path=write(tmp_path, b"http://x/1\t<PERSON> with a cat\nhttp://x/2\nhttp://x/3\t\n"))
    assert [(row["url"], row["fault"]) for row in rows] == [
        ("http://x/1", None), (None, "line: 1 fields, wanted 2"), ("http://x/3", None),
    ]
    assert rows[0]["texts"] == [{"text": "<PERSON> with a cat", "kind": "alt", "lang": None}]
    assert [row["source_id"] for row in rows] == ["cc12m#0", "cc12m#1", "cc12m#2"]


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"a cat\thttp://x/1\n", r"first field of line 1 is no link; wanted url <tab> caption\. .*CC3M's caption <tab>"),
     (b"a\tb\n", "first field of line 1 is no link"), (b"", "empty"), (b"http://x/\n", "1 fields")],
)
def test_another_layout_is_refused(tmp_path, read, data, words):
    with pytest.raises(SourceError, match=words):
        read(kind="cc12m", path=write(tmp_path, data))
