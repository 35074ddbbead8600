"""Localized Narratives: captions with times and traces."""

import json

import pytest

from pipeline.errors import SourceError


def narrative(**more):
    return {
        "dataset_id": "mscoco_val2017", "image_id": "137576", "annotator_id": 93, "caption": "In this image",
        "timed_caption": [{"utterance": "In this", "start_time": 0.0, "end_time": 0.4}],
        "traces": [[{"x": 0.21, "y": 0.37, "t": 0.022}, {"x": -0.02, "y": 1.01, "t": 0.04}]],
        "voice_recording": "coco_val/coco_val_137576_93.ogg", **more,
    }


def write(tmp_path, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (tmp_path / "coco_val_localized_narratives.jsonl").write_text(text + "\n")
    return str(tmp_path)


def test_rows(tmp_path, read):
    rows = read(kind="localized_narratives", path=write(tmp_path, narrative(), narrative(annotator_id=7), "{", "[]",
                                                        narrative(caption=None), narrative(caption=5)))
    assert rows[0]["url"] == "http://images.cocodataset.org/val2017/000000137576.jpg"
    assert [row["source_id"] for row in rows[:2]] == ["mscoco_val2017/137576/93", "mscoco_val2017/137576/7"]
    meta = json.loads(rows[0]["meta"])
    assert meta["timed_caption"] == narrative()["timed_caption"]
    assert meta["traces"] == narrative()["traces"]
    assert [row["fault"] and row["fault"][:14] for row in rows] == [
        None, None, "line: not JSON", "line: list, wa", "caption: none", "caption: int, ",
    ]


@pytest.mark.parametrize(
    ("dataset", "image", "media", "url"),
    [
        ("open_images_train", "000a", None, "https://open-images-dataset.s3.amazonaws.com/train/000a.jpg"),
        ("open_images_val", "000b", None, "https://open-images-dataset.s3.amazonaws.com/validation/000b.jpg"),
        ("Flick30k_train", "1000092795", "/f", "file:///f/1000092795.jpg"),
        ("mscoco_train2017", "9", "/c", "file:///c/000000000009.jpg"),
    ],
)
def test_where_images_are(tmp_path, read, dataset, image, media, url):
    path = write(tmp_path, narrative(dataset_id=dataset, image_id=image))
    assert read(kind="localized_narratives", path=path, **({} if media is None else {"media": media}))[0]["url"] == url


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (narrative(dataset_id="ADE20k_train"), "images of 'ADE20k_train' have no public address. Set source.media"),
        ({"dataset": 1, "image_id": 2}, "has no column 'dataset_id'; .* Did you mean 'dataset'"),
        ("nothing", "line: not JSON"), ("", "line: not JSON"),
    ],
)
def test_another_layout_is_refused(tmp_path, read, line, words):
    with pytest.raises(SourceError, match=words):
        read(kind="localized_narratives", path=write(tmp_path, line))
