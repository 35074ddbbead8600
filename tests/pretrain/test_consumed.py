"""What a run consumed, told from its folder alone, against the keys of the batches that it really trained on."""

import shutil

import pytest

from pipeline.consumers import read_consumers
from pipeline.errors import TrainingError
from pipeline.shard.manifest import read_manifest
from pipeline.shard.reader import ShardReader
from pipeline.store import Store
from pretrain.consumed import open_run

STEPS, BATCH = 40, 12


@pytest.fixture(scope="module")
def trained(scenes, settings_of, ranks_once, tmp_path_factory):
    """(dataset, run, step -> keys) of a run of three epochs on two ranks."""
    folder = tmp_path_factory.mktemp("consumed")
    shutil.copytree(scenes, folder / "data")
    recipe = settings_of(
        str(folder / "data"), steps=STEPS, checkpoint__every_steps=10, checkpoint__keep=3, eval__every_steps=STEPS
    )
    told = ranks_once("trains_and_tells", 2, recipe=recipe, run=str(folder / "run"))
    return Store(str(folder / "data")), str(folder / "run"), {n: {*told[0][n], *told[1][n]} for n in range(STEPS)}


def test_every_batch_is_told(trained):
    dataset, url, batches = trained
    run = open_run(url)
    assert run.steps == STEPS
    keys = [example.key for example in ShardReader(dataset.url).read(range(160))]
    found = run.consumption(run.manifest(), {key: place for place, key in enumerate(keys)})
    for key in keys:
        assert [step for _, step in found[key].times] == [step for step in range(STEPS) if key in batches[step]]
        assert [epoch for epoch, _ in found[key].times] == list(range(len(found[key].times)))
    assert sum(len(item.times) for item in found.values()) == STEPS * BATCH


def test_checkpoints_and_the_export_count_their_steps(trained):
    _, url, _ = trained
    run = open_run(url)
    assert run.checkpoints == [*((f"checkpoints/step-{n:06d}", n) for n in (20, 30, 40)), ("export", 40)]
    assert run.learned_words
    assert run.manifest() == read_manifest(trained[0])
    assert run.manifest().fingerprint() == run.fingerprint


def test_the_dataset_knows_its_runs(trained):
    dataset, url, _ = trained
    assert read_consumers(dataset) == [url]


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(TrainingError, match=r"holds no recipe.json with its lineage.json"):
        open_run(str(tmp_path))
