"""COCO captions: one row per image, all its captions."""

import json

import pytest

from pipeline.errors import SourceError

DATA = {
    "info": {},
    "licenses": [{"id": 4, "name": "CC", "url": "http://cc/"}],
    "images": [
        {"id": 9, "file_name": "9.jpg", "coco_url": "http://coco/9.jpg", "width": 4, "height": 3, "license": 4},
        {"id": 5, "file_name": "5.jpg", "coco_url": "http://coco/5.jpg"},
        {"file_name": "no id"},
        {"id": 6},
        "not an object",
    ],
    "annotations": [
        {"id": 1, "image_id": 5, "caption": "five"},
        {"id": 2, "image_id": 9, "caption": "nine"},
        {"id": 3, "image_id": 9, "caption": "neuf\u0000"},
        {"id": 4, "image_id": [1]},
        {"id": 5, "image_id": 9, "caption": 3},
    ],
}


def write(tmp_path, data, name="captions_val2017.json"):
    (tmp_path / name).write_text(data if isinstance(data, str) else json.dumps(data))
    return str(tmp_path / name)


def test_rows(tmp_path, read):
    rows = read(kind="coco", lists=[{"path": write(tmp_path, DATA), "split": "validation"}])
    assert [row["source_id"] for row in rows] == ["9", "5", "captions_val2017#2", "6", "captions_val2017#4"]
    assert rows[0]["texts"] == [
        {"text": "nine", "kind": "caption", "lang": "en"}, {"text": "neuf", "kind": "caption", "lang": "en"},
    ]
    assert rows[0]["fault"] == "caption: int, wanted text"
    assert (rows[1]["url"], rows[1]["split"], rows[1]["fault"]) == ("http://coco/5.jpg", "validation", None)
    assert [row["fault"] for row in rows[2:]] == ["image: wanted an object with an id", "url: none",
                                                  "image: wanted an object with an id"]
    assert json.loads(rows[0]["meta"])["license"] == "http://cc/"


@pytest.mark.parametrize(("images", "url"), [("/data/coco/", "file:///data/coco/5.jpg"), ("https://m", "https://m/5.jpg")])
def test_images_elsewhere(tmp_path, read, images, url):
    assert read(kind="coco", path=write(tmp_path, DATA), media=images)[1]["url"] == url


@pytest.mark.parametrize(
    ("data", "words"),
    [("", "not a JSON object that has a list 'images'; found the end"), ("[]", r"not a JSON object .* found '\[\]'"),
     ('{"a": 1}', "has no list 'images'; found: a"), ('{"images": [', "not JSON"),
     ('{"images": []}', "has no list 'annotations'; found: images"), ('{"info": 1, "images": {}}', "no list 'images'")],
)
def test_other_json_is_refused(tmp_path, read, data, words):
    with pytest.raises(SourceError, match=words):
        read(kind="coco", path=write(tmp_path, data))


def test_the_real_captions(real_data, read):
    folder = real_data / "image_text" / "coco"
    rows = read(kind="coco", path=str(folder / "annotations" / "captions_val2017.json"), media=str(folder / "val2017"))
    assert len(rows) == 49
    assert all(len(row["texts"]) >= 5 for row in rows)
