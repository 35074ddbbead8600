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


BOX = [1.0, 1.0, 2.0, 2.0]
INSTANCES = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "coco_url": f"http://coco/{i}.jpg", "width": 4, "height": 4}
               for i in range(4)],
    "annotations": [
        {"id": 1, "image_id": 0, "category_id": 7, "bbox": BOX, "iscrowd": 0,
         "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]},
        {"id": 2, "image_id": 0, "category_id": 8, "bbox": BOX, "iscrowd": 1,
         "segmentation": {"size": [4, 4], "counts": [0, 16]}},
        {"id": 3, "image_id": 1, "category_id": 99, "bbox": [1, 2, 3], "iscrowd": 0, "segmentation": []},
        {"id": 4, "image_id": 2, "category_id": 7, "bbox": BOX, "segmentation": [[1, 2, 3]]},
        {"id": 5, "image_id": 3, "category_id": 7, "bbox": BOX, "segmentation": "text"},
        {"id": 6, "image_id": [3], "bbox": BOX},
    ],
    "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}],
}


def test_instances_become_regions(tmp_path, read):
    rows = read(kind="coco", path=write(tmp_path, INSTANCES, "instances_val2017.json"))
    assert rows[0]["regions"] == [
        {"box": BOX, "mask": '{"size": [4, 4], "counts": [5, 2, 2, 2, 5]}', "text": "cat"},
        {"box": BOX, "mask": '{"size": [4, 4], "counts": [0, 16]}', "text": "dog"},
    ]
    assert json.loads(rows[0]["meta"])["crowds"] == [1]
    assert [row["fault"] for row in rows] == [
        None, "region: box [1, 2, 3], wanted four numbers: x, y, width, height",
        "region: a polygon of 3 finite numbers; wanted three pairs or more",
        "region: a segmentation of str, wanted polygons or size and counts",
    ]
    assert rows[0]["texts"] == []


def test_annotations_of_another_kind_are_refused(tmp_path, read):
    data = {"images": [{"id": 1}], "annotations": [{"image_id": 1, "file_name": "x.png", "segments_info": []}]}
    with pytest.raises(SourceError, match="neither 'caption' nor 'bbox'; found: image_id, file_name"):
        read(kind="coco", path=write(tmp_path, data))


def test_the_real_instances(real_data, read):
    path = real_data / "image_text/coco/annotations/instances_val2017.json"
    rows = read(kind="coco", path=str(path))
    data = json.loads(path.read_text())
    assert sum(len(row["regions"] or ()) for row in rows) == len(data["annotations"]) == 363
    assert all(row["fault"] is None for row in rows)
    assert {item["text"] for row in rows for item in row["regions"] or ()} <= {c["name"] for c in data["categories"]}
