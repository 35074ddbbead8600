"""Masks go with the photo they belong to, and stay with the others; on Ray the bytes are those of one process."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.commit import read_commits
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import EngineConfig
from pipeline.forget.carry_out import forget
from pipeline.forget.select import Selectors
from pipeline.recipe import load
from pipeline.shard.reader import ShardReader
from pipeline.shard.verify import verify
from pipeline.store import Store

from .conftest import PROCESS, all_files, files_that_say, raw_rows, samples_of


def picture(seed, size, form):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


@pytest.fixture
def masked(tmp_path):
    """(recipe, masks by name) of a curated folder of nine photos, all but the last with a mask beside them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    masks = {}
    for n in range(9):
        (folder / f"{n}.jpg").write_bytes(picture(n, (120, 90), "JPEG"))
        (folder / f"{n}.txt").write_text(f"a photo called zq{n:03d}x")
        masks[n] = picture(100 + n, (60, 45), "PNG")
        if n < 8:
            (folder / f"{n}_seg.png").write_bytes(masks[n])
    settings = [
        f"dataset={tmp_path / 'ds'}", f"source.path={folder}", f'fetch.allow_folders=["{folder}"]', "shard.samples=5",
        'source.companions=[{ role = "seg", path = "{stem}_seg.png" }]', 'fetch.companions="keep_row"',
    ]  # fmt: skip
    made = load(DatasetRecipe, "folder", settings, package="pipeline")
    curate(made, PROCESS)
    return made, masks


def masks_of(dataset):
    """key -> bytes of the mask, as a reader of shards gets them."""
    reader = ShardReader(dataset.url)
    return {example.key: dict(example.companions) for example in reader.read(range(reader.num_samples))}


def test_the_masks_of_the_others_are_read_as_before(masked):
    made, masks = masked
    dataset = Store(made.dataset)
    before = masks_of(dataset)
    assert sum(bool(found) for found in before.values()) >= 8
    rows = {row["source_id"].rpartition("/")[2].partition(".")[0]: row for row in raw_rows(dataset)}
    gone = [rows["2"]["key"], rows["5"]["key"]]
    marks = [masks[n][200:300] for n in (2, 5)]
    assert all(files_that_say(dataset, marks).values())
    forget(dataset, Selectors(keys=tuple(gone)), PROCESS)
    assert {mark for mark, files in files_that_say(dataset, marks).items() if files} == set()
    assert verify(dataset) == []
    assert masks_of(dataset) == {key: found for key, found in before.items() if key not in gone}
    files = all_files(dataset)
    for part in read_commits(dataset, "cut"):
        dataset.delete(f"commits/cut/{part}.json")
    curate(made, PROCESS)
    again = all_files(dataset)
    assert [name for name in files if name.startswith("shards/") and again.get(name) != files[name]] == []


@pytest.mark.ray
def test_ray_leaves_the_bytes_of_one_process(plain_world, copy_of, tmp_path, ray_of_two_nodes):
    _, here = copy_of(plain_world)
    there = Store(str(tmp_path / "there"))
    for name, data in all_files(here).items():
        there.put_bytes(name, data)
    keys = tuple(samples_of(here))[3:9:2]
    forget(here, Selectors(keys=keys), PROCESS)
    forget(there, Selectors(keys=keys), EngineConfig(place="ray", address=ray_of_two_nodes))
    ours, theirs = all_files(here), all_files(there)
    clocked = ("forgotten/00000/", "commits/forget/")
    assert [name for name in ours if not name.startswith(clocked) and theirs.get(name) != ours[name]] == []
    assert ours.keys() == theirs.keys()
