"""AudioCaps: captions of clips that the user has cut."""

import json

import pytest

from pipeline.errors import RecipeError, SourceError


def write(tmp_path, text):
    (tmp_path / "val.csv").write_text(text)
    return str(tmp_path / "val.csv")


HEADER = "audiocap_id,youtube_id,start_time,caption\n"


def test_rows(tmp_path, read):
    path = write(tmp_path, HEADER + '97151,-vfY_TJq7n_U,130,"Rustling, ducks"\n5,,0,no clip\n')
    rows = read(kind="audiocaps", path=path, media="/clips")
    assert (rows[0]["url"], rows[0]["source_id"], rows[0]["medium"]) == ("file:///clips/-vfY_TJq7n_U_130.wav", "97151",
                                                                        "audio")
    assert rows[0]["texts"] == [{"text": "Rustling, ducks", "kind": "caption", "lang": "en"}]
    assert json.loads(rows[0]["meta"]) == {"youtube_id": "-vfY_TJq7n_U", "start_time": "130"}
    assert rows[1]["fault"] == "url: none"
    named = read(kind="audiocaps", path=path, media="https://m", file="Y{youtube_id}.flac")
    assert named[0]["url"] == "https://m/Y-vfY_TJq7n_U.flac"


@pytest.mark.parametrize("file", ["{youtube}.wav", "{", "{0}", "{caption.x}"])
def test_a_name_of_other_columns_is_refused(tmp_path, read, file):
    with pytest.raises(RecipeError, match="wanted a name of audiocap_id"):
        read(kind="audiocaps", path=write(tmp_path, HEADER), media="/clips", file=file)


def test_where_the_clips_are_must_be_said(tmp_path, read):
    with pytest.raises(RecipeError, match="media: missing"):
        read(kind="audiocaps", path=write(tmp_path, HEADER))
    with pytest.raises(SourceError, match="has no column 'youtube_id'; found: audiocap_id, ytid"):
        read(kind="audiocaps", path=write(tmp_path, "audiocap_id,ytid,start_time,caption\n"), media="/clips")


def test_the_real_captions(real_data, read):
    rows = read(kind="audiocaps", path=str(real_data / "audio/captions/audiocaps_val.csv"), media="/clips")
    assert len(rows) == 2475
    assert all(row["fault"] is None and row["texts"] for row in rows)
    assert len({row["key"] for row in rows}) == len(rows)
