"""What a run consumed, told from its folder alone, against the keys of the batches that it really trained on."""

import json
import shutil

import pytest

from pipeline.consumers import read_consumers
from pipeline.errors import DatasetError, TrainingError
from pipeline.shard.manifest import read_manifest
from pipeline.shard.reader import ShardReader
from pipeline.store import Store
from pretrain.consumed import open_run
from pretrain.data.stream import Stream

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


def keys_of(url, split="train"):
    reader = ShardReader(url, split)
    return [example.key for example in reader.read(range(reader.num_samples))]


def test_every_batch_is_told(trained):
    dataset, url, batches = trained
    run = open_run(url)
    assert run.steps == STEPS
    keys = keys_of(dataset.url)
    found = run.consumption([{key: place for place, key in enumerate(keys)}])
    for key in keys:
        assert [step for _, step in found[key]] == [step for step in range(STEPS) if key in batches[step]]
        assert [epoch for epoch, _ in found[key]] == list(range(len(found[key])))
    assert sum(map(len, found.values())) == STEPS * BATCH


def test_checkpoints_and_the_export_count_their_steps(trained):
    dataset, url, _ = trained
    run = open_run(url)
    assert run.checkpoints == [*((f"checkpoints/step-{n:06d}", n) for n in (20, 30, 40)), ("export", 40)]
    assert run.learned_words
    (source,) = run.sources
    assert run.manifest(source) == read_manifest(dataset)
    assert run.manifest(source).fingerprint() == source.fingerprint == run.held_out.fingerprint


def test_the_dataset_knows_its_runs(trained):
    dataset, url, _ = trained
    assert read_consumers(dataset) == [url]


def test_mixtures_and_buckets(trained, tmp_path, settings_of):
    """As the stream itself gives them, sample by sample; what depends on texts wants the shards of the run."""
    dataset, url, _ = trained
    data, run_url = tmp_path / "data", str(tmp_path / "run")
    shutil.copytree(dataset.url, data)
    shutil.copytree(url, run_url)
    fingerprint = read_manifest(dataset).fingerprint()
    sources = [{"url": str(data), "split": split, "weight": n} for split, n in (("train", 2), ("validation", 1))]
    run = Store(run_url)
    for buckets in (None, 4):
        more = {"mixture": sources, **({"text_buckets": buckets} if buckets else {})}
        recipe = settings_of(str(data), steps=STEPS, **{f"data__{name}": value for name, value in more.items()})
        known = {"manifest_sha256": fingerprint}
        lineage = {**known, "sources": [{**item, **known} for item in sources]}
        run.put_bytes("recipe.json", json_of(recipe))
        run.put_bytes("lineage.json", json_of(lineage))
        opened = open_run(run_url)
        names = [keys_of(str(data), item["split"]) for item in sources]
        readers = [ShardReader(str(data), item["split"]) for item in sources]
        picks = Stream(readers, opened.stream).take(STEPS * BATCH)
        found = opened.consumption([{key: place for place, key in enumerate(keys)} for keys in names])
        expected = {}
        for number in range(STEPS * BATCH):
            key = names[picks.dataset[number]][picks.position[number]]
            expected.setdefault(key, []).append((int(picks.epoch[number]), number // BATCH))
        assert found == {key: tuple(times) for key, times in expected.items()}
    (data / "shards" / "manifest.json").write_bytes(
        read_manifest(dataset).to_json().replace(b'"name": "scenes"', b'"name": "others"')
    )
    with pytest.raises(DatasetError, match="depends on weights or texts"):
        opened.consumption([{}, {}])


def json_of(value):
    return json.dumps(value).encode()


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(TrainingError, match=r"holds no recipe.json with its lineage.json"):
        open_run(str(tmp_path))
