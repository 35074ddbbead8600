"""Karpathy's splits of COCO and Flickr30k."""

import json

import pytest

from pipeline.errors import SourceError


def image(i, split="train", **more):
    sentence = {"tokens": ["a", "cat"], "raw": f"A cat {i}.", "imgid": i, "sentid": i}
    return {"filename": f"COCO_val2014_{i:012d}.jpg", "filepath": "val2014", "cocoid": 100 + i, "imgid": i,
            "split": split, "sentids": [i], "sentences": [sentence], **more}


def write(tmp_path, images, name="dataset_coco.json"):
    (tmp_path / name).write_text(json.dumps({"images": images, "dataset": "coco"}))
    return str(tmp_path / name)


def test_coco(tmp_path, read):
    images = [image(0, "test"), image(1, "restval"), image(2, "val"), image(3, "dev"), "x",
              image(5, sentences=[{"raw": 5}])]
    rows = read(kind="karpathy", path=write(tmp_path, images))
    assert [row["split"] for row in rows] == ["test", "train", "validation", None, None, "train"]
    assert rows[0]["url"] == "http://images.cocodataset.org/val2014/COCO_val2014_000000000000.jpg"
    assert rows[0]["source_id"] == "100"
    assert rows[0]["texts"] == [{"text": "A cat 0.", "kind": "caption", "lang": "en"}]
    assert json.loads(rows[1]["meta"])["split"] == "restval"
    assert [row["fault"] for row in rows[3:]] == ["split: 'dev' is none", "image: wanted an object with a filename",
                                                  "caption: int, wanted text"]


def test_flickr(tmp_path, read):
    images = [{"filename": "1000092795.jpg", "imgid": 0, "split": "train", "sentences": [{"raw": "Two."}]}]
    path = write(tmp_path, images, "dataset_flickr30k.json")
    (row,) = read(kind="karpathy", path=path, media="/images")
    assert (row["url"], row["source_id"]) == ("file:///images/1000092795.jpg", "1000092795.jpg")
    with pytest.raises(SourceError, match=r"images \(1000092795.jpg\) have no public address. Set source.media"):
        read(kind="karpathy", path=path)


def test_another_json_is_refused(tmp_path, read):
    with pytest.raises(SourceError, match=r"has no 'filename'; found: file_name. Did you mean 'file_name'"):
        read(kind="karpathy", path=write(tmp_path, [{"file_name": "x"}]))
