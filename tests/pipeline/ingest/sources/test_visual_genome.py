"""Visual Genome: regions joined with the addresses of their images."""

import json

import pytest

from pipeline.errors import SourceError


def region(i, **more):
    box = {"x": 10 * i, "y": -1, "width": 5, "height": 6}
    return {"region_id": i, "image_id": 1, "phrase": f"phrase {i}", **box, **more}


REGIONS = [
    {"id": 1, "regions": [region(1), region(2)]},
    {"id": 2, "regions": [region(3, width=None)]},
    {"id": 3, "regions": []},
    {"regions": []},
    {"id": 4, "regions": [region(5), "x"]},
]
IMAGES = [
    {"image_id": i, "url": f"https://cs.stanford.edu/people/rak248/VG_100K_2/{i}.jpg", "width": 800, "height": 600,
     "coco_id": None, "flickr_id": None} for i in (1, 2, 4)
]


def write(tmp_path, regions=REGIONS, images=IMAGES):
    (tmp_path / "region_descriptions.json").write_text(json.dumps(regions))
    if images is not None:
        (tmp_path / "image_data.json").write_text(json.dumps(images))
    return str(tmp_path)


def test_rows(tmp_path, read):
    rows = read(kind="visual_genome", path=write(tmp_path))
    assert rows[0]["url"] == "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg"
    assert rows[0]["regions"][1] == {"box": [20.0, -1.0, 5.0, 6.0], "mask": None, "text": "phrase 2"}
    assert rows[0]["texts"][0] == {"text": "phrase 1", "kind": "region", "lang": "en"}
    assert json.loads(rows[0]["meta"]) == {"region_ids": [1, 2]}
    assert [row["fault"] and row["fault"][:11] for row in rows] == [
        None, "region: box", "url: none", "image: want", "region: box",
    ]
    assert [row["source_id"] for row in rows] == ["1", "2", "3", "region_descriptions#3", "4"]


def test_images_elsewhere(tmp_path, read):
    rows = read(kind="visual_genome", path=write(tmp_path), media="/vg")
    assert rows[0]["url"] == "file:///vg/VG_100K_2/1.jpg"


@pytest.mark.parametrize(
    ("regions", "images", "words"),
    [
        (REGIONS, None, "no image_data.json beside it"),
        (REGIONS, [{"id": 1}], "image_data.json: its first object has no 'image_id'; found: id"),
        ([{"image_id": 1, "objects": []}], IMAGES, "has no 'id'; found: image_id, objects"),
        ([{"id": 1, "regions": [{"phrase": "x"}]}], IMAGES, "first region has no 'height'"),
        ({"images": []}, IMAGES, "not a JSON list"),
    ],
)
def test_another_layout_is_refused(tmp_path, read, regions, images, words):
    with pytest.raises(SourceError, match=words):
        read(kind="visual_genome", path=write(tmp_path, regions, images))
