"""Clotho: five captions a sound."""

import pytest

from pipeline.errors import SourceError

HEADER = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"


def write(tmp_path, text):
    (tmp_path / "clotho.csv").write_text(text)
    return str(tmp_path / "clotho.csv")


def test_rows(tmp_path, read):
    path = write(tmp_path, HEADER + 'a #1 50%.wav,a,b,"c, d",e,f\n,a,b,c,d,e\n')
    rows = read(kind="clotho", media="/sounds", path=path)
    assert (rows[0]["url"], rows[0]["medium"]) == ("file:///sounds/a%20%231%2050%25.wav", "audio")
    assert rows[0]["source_id"] == "a #1 50%.wav"
    assert [text["text"] for text in rows[0]["texts"]] == ["a", "b", "c, d", "e", "f"]
    assert (rows[1]["fault"], rows[1]["source_id"]) == ("url: none", "clotho#1")


def test_a_missing_column_is_named(tmp_path, read):
    with pytest.raises(SourceError, match=r"has no column 'caption_2'; .* Did you mean"):
        read(kind="clotho", media="/sounds", path=write(tmp_path, "file_name,caption_1,caption_3\n"))


def test_the_real_captions(real_data, read):
    rows = read(kind="clotho", media="/sounds", path=str(real_data / "audio/captions/clotho_val.csv"))
    assert len(rows) == 1045
    assert all(row["fault"] is None and len(row["texts"]) == 5 for row in rows)
