"""WebVid: links to videos."""

import json

import pytest

from pipeline.errors import SourceError

HEADER = "videoid,contentUrl,duration,page_dir,name\n"


def write(tmp_path, text):
    (tmp_path / "results_2M_val.csv").write_text(text)
    return str(tmp_path / "results_2M_val.csv")


def test_rows(tmp_path, read):
    line = '1058234725,https://x/1.mp4,PT00H00M16S,006001_006050,"Travel blogger, shoot"\n'
    rows = read(kind="webvid", path=write(tmp_path, HEADER + line + "2,https://x/2.mp4,PT\n"))
    assert (rows[0]["source_id"], rows[0]["medium"], rows[0]["url"]) == ("1058234725", "video", "https://x/1.mp4")
    assert rows[0]["texts"][0]["text"] == "Travel blogger, shoot"
    assert json.loads(rows[0]["meta"]) == {"duration": "PT00H00M16S", "page_dir": "006001_006050"}
    assert rows[1]["fault"] == "line: 3 fields, wanted 5"


def test_a_missing_column_is_named(tmp_path, read):
    with pytest.raises(SourceError, match="has no column 'contentUrl'; found: videoid, contenturl, name"):
        read(kind="webvid", path=write(tmp_path, "videoid,contenturl,name\n"))
