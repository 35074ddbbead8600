"""A folder of images with companions, and ADE20K's."""

import pytest
from PIL import Image

from pipeline.errors import RecipeError, SourceError
from pipeline.ingest.sources import open_source, source_config


@pytest.fixture
def tree(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2)).save(path) if path.suffix in (".jpg", ".png") else path.write_text("x")
        return str(tmp_path / "photos")

    return make


def test_rows(tree, read):
    path = tree("b/2.jpg", "a_c/1 x#.JPG", "a_c/notes.txt", ".hidden/3.jpg", "4.png")
    rows = read(kind="folder", path=path, folder_text="label")
    assert [row["source_id"] for row in rows] == ["photos/4.png", "photos/a_c/1 x#.JPG", "photos/b/2.jpg"]
    assert rows[1]["url"] == f"file://{path}/a_c/1%20x%23.JPG"
    assert [row["texts"][0]["text"] for row in rows] == ["photos", "a c", "b"]
    assert rows[0]["companions"] is None


def test_companions(tree, read):
    path = tree("img/1.png", "img/2.png", "masks/1_m.png", "depth/1.png")
    companions = [{"role": "segmentation", "path": "../masks/{stem}_m.png"},
                  {"role": "depth", "path": "../depth/{stem}.png", "absent": "fine"}]
    rows = read(kind="folder", path=path, companions=companions)
    assert [row["source_id"] for row in rows] == ["photos/img/1.png", "photos/img/2.png"]
    assert rows[0]["companions"] == [
        {"role": "segmentation", "url": f"file://{path}/masks/1_m.png"},
        {"role": "depth", "url": f"file://{path}/depth/1.png"},
    ]
    assert [row["fault"] for row in rows] == [None, "segmentation: no masks/2_m.png"]


def test_companions_of_another_folder(tree, read):
    path = tree("img/deep/1.png", "img/deep/10.png", "masks/deep/1_a.png", "masks/deep/1_b.png", "masks/deep/10_a.png")
    companions = [{"role": "instance", "path": "../../masks/deep/{stem}_*.png"}]
    rows = read(kind="folder", path=f"{path}/img", companions=companions)
    assert [[item["url"] for item in row["companions"]] for row in rows] == [
        [f"file://{path}/masks/deep/1_a.png", f"file://{path}/masks/deep/1_b.png"],
        [f"file://{path}/masks/deep/10_a.png"],
    ]
    source = source_config({"kind": "folder", "path": f"{path}/img", "companions": companions})
    before = open_source(source).files()[0].stamp
    tree("masks/deep/10_b.png")
    assert open_source(source).files()[0].stamp != before


def test_ade20k(tree, read):
    names = ["ADE_train_00000001.jpg", "ADE_train_00000001_seg.png", "ADE_train_00000001_parts_1.png",
             "ADE_train_00000001_parts_2.png", "ADE_train_00000001_atr.txt", "ADE_train_00000002.jpg",
             "ADE_train_00000002_seg.png", "ADE_train_00000003.jpg"]
    path = tree(*(f"urban/bus_stop/{name}" for name in names))
    rows = read(kind="ade20k", lists=[{"path": path, "split": "train"}])
    assert [(row["split"], row["fault"] and row["fault"][:16]) for row in rows] == [
        ("train", None), ("train", None), ("train", "segmentation: no"),
    ]
    assert [item["role"] for item in rows[0]["companions"]] == ["segmentation", "parts", "parts"]
    assert rows[0]["texts"] == [{"text": "bus stop", "kind": "scene", "lang": None}]


def test_a_changed_folder_is_another_list(tree):
    source = source_config({"kind": "folder", "path": tree("1.jpg")})
    before = open_source(source).files()[0].stamp
    assert open_source(source).files()[0].stamp == before
    tree("2.jpg")
    assert open_source(source).files()[0].stamp != before


def test_a_wrong_folder_is_refused(tree, tmp_path, read):
    path = tree("1.txt", "seg/1.jpg")
    with pytest.raises(SourceError, match=r"photo: no such folder. Did you mean 'photos'"):
        read(kind="folder", path=str(tmp_path / "photo"))
    with pytest.raises(SourceError, match=r"no file ends in .gif"):
        read(kind="folder", path=path, endings=[".gif"])
    with pytest.raises(SourceError, match=r"segmentation: no seg/1_seg.png"):
        read(kind="ade20k", path=path)
    with pytest.raises(SourceError, match="not a folder of this machine"):
        read(kind="folder", path="s3://bucket/photos")
    with pytest.raises(RecipeError, match=r"wanted {stem} in it"):
        read(kind="folder", path=path, companions=[{"role": "x", "path": "mask.png"}])


def test_the_real_masks(real_data, read):
    path = real_data / "masks" / "camvid_0006R0"
    name = sorted((path / "masks").iterdir())[0].name.replace(sorted((path / "images").iterdir())[0].stem, "{stem}")
    companions = [{"role": "segmentation", "path": f"../masks/{name}"}]
    rows = read(kind="folder", path=str(path / "images"), companions=companions)
    assert len(rows) == 101
    assert all(row["fault"] is None and len(row["companions"]) == 1 for row in rows)
