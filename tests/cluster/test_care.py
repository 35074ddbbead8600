"""`trace` and `forget` by command, on a curated dataset and a run whose batches are read again step by step."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from cluster.cli import main
from pipeline.consumers import note_consumer
from pipeline.shard.manifest import read_manifest
from pipeline.shard.reader import ShardReader
from pipeline.store import Store

STEPS, BATCH, SEED = 14, 6, 3


def _worlds():
    path = Path(__file__).parents[1] / "pipeline" / "forget" / "conftest.py"
    spec = importlib.util.spec_from_file_location("forget_worlds", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["forget_worlds"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def worlds():
    return _worlds()


@pytest.fixture
def curated(worlds, tmp_path):
    """(dataset, run folder, step -> keys): the run's folder says what a run of this recipe would."""
    from cluster.quickstart.scenes import draw_scene

    pages = {f"p/{n:03d}.jpg": worlds.Page(draw_scene(n).jpeg) for n in range(worlds.ROWS)}
    with worlds.LocalWeb(pages) as web:
        world = worlds.World(tmp_path, web)
        world.write_list()
        dataset = world.curate()
    run = Store(str(tmp_path / "run"))
    recipe = {"name": "toy", "seed": SEED, "batch_size": BATCH, "tokenizer": {"folder": None}}
    recipe["data"] = {"url": dataset.url, "split": "train", "eval_split": "validation"}
    manifest = read_manifest(dataset)
    run.put_bytes("recipe.json", json.dumps(recipe).encode())
    run.put_bytes("lineage.json", json.dumps({"manifest_sha256": manifest.fingerprint()}).encode())
    run.put_bytes("metrics.jsonl", b'{"step": 13}\n{"step": 14}\n{"step": 1')
    for step in (5, 10):
        record = {"step": step, "world": 1, "samples": step * BATCH, "stage": 0, "files": []}
        run.put_bytes(f"checkpoints/step-{step:06d}/COMMITTED.json", json.dumps(record).encode())
    run.put_bytes("export/README.md", b"| steps | 14 of 14 |\n")
    reader = ShardReader(dataset.url)
    keys = [example.key for example in reader.read(range(reader.num_samples))]
    stream = [key for epoch in range(4) for key in (keys[at] for at in reader.order(seed=SEED, epoch=epoch))]
    batches = [stream[step * BATCH : (step + 1) * BATCH] for step in range(STEPS)]
    note_consumer(dataset, run.root)
    return dataset, run, batches


def said(capsys, *arguments):
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_life_before_and_after(curated, capsys):
    dataset, _, batches = curated
    key = batches[3][2]
    steps = [step for step, keys in enumerate(batches) if key in keys]
    code, traced = said(capsys, "trace", key, "--data", dataset.url)
    (life,) = traced["samples"]
    assert code == 0
    (listed,), (fetched,), (shard,), (told,) = (life[name] for name in ("listed", "fetched", "shards", "runs"))
    number = int(listed["source_id"].removeprefix("list#"))
    assert listed["texts"][0]["text"] == f"a scene called zq{number:03d}x with number {number}"
    assert (fetched["outcome"], fetched["verdict"]["keep"]) == ("success", True)
    assert fetched["scores"]["text"]["num_words"] == 7
    tar = dataset.read_bytes(shard["tar"])
    assert tar[shard["offset"] :].startswith(key.encode())
    raw = dataset.read_bytes(fetched["tar"])
    stored = raw[fetched["tar_offset"] : fetched["tar_offset"] + fetched["tar_bytes"]]
    assert tar[shard["media_offset"] : shard["media_offset"] + shard["media_size"]] == stored
    assert [item["step"] for item in told["consumed"]] == steps
    seen = [name for name, step in (("checkpoints/step-000005", 5), ("checkpoints/step-000010", 10)) if steps[0] < step]
    assert told["seen_by"] == [*seen, "export"]
    assert main(["trace", "--url", listed["url"], "--data", dataset.url]) == 0
    words = capsys.readouterr().out
    assert f"consumed at step {steps[0]}" in words
    assert f"shard      {shard['tar']} row {shard['row']}" in words

    code, forgot = said(capsys, "forget", dataset.url, "--key", key, "--on", "process")
    assert code == 0
    saw = [{"folder": name, "step": int(name[-2:]) if "step" in name else 14, "saw": 1} for name in told["seen_by"]]
    assert forgot["runs"][0]["checkpoints"] == saw
    assert (forgot["runs"][0]["first_step"], forgot["runs"][0]["in_tokenizer"]) == (steps[0], 1)
    _, traced = said(capsys, "trace", key, "--data", dataset.url)
    (after,) = traced["samples"]
    assert after["runs"] == life["runs"]
    assert (after["shards"], after["fetched"][0]["outcome"]) == ([], "forgotten")
    assert (after["forgotten"][0]["shard"], after["forgotten"][0]["shard_row"]) == (shard["tar"][7:], shard["row"])
    assert listed["url"] not in json.dumps(after)
    other = next(item for item in batches[0] if item != key)
    _, traced = said(capsys, "trace", other, "--data", dataset.url)
    expected = [step for step, keys in enumerate(batches) if other in keys]
    assert [item["step"] for item in traced["samples"][0]["runs"][0]["consumed"]] == expected
    assert main(["verify", dataset.url]) == 0


def test_a_dry_run_changes_nothing_and_counts(curated, capsys, worlds):
    dataset, run, batches = curated
    files = worlds.all_files(dataset)
    assert main(["forget", dataset.url, "--domain", "localhost", "--dry-run", "--on", "process"]) == 0
    words = capsys.readouterr().err
    assert "would forget 8 samples" in words
    assert "  shards/train/00000.tar" in words
    gone = {row["key"] for row in worlds.raw_rows(dataset) if "localhost" in row["url"]}
    consumed = {key for keys in batches for key in keys} & gone
    assert f"run {run.root}: consumed {len(consumed)} of them" in words
    saw = len({key for keys in batches[:5] for key in keys} & gone)
    assert f"  checkpoints/step-000005 saw {saw}" in words
    assert worlds.all_files(dataset) == files


def test_what_is_asked_wrongly(curated, capsys, tmp_path):
    dataset, _, _ = curated
    (tmp_path / "asked.txt").write_text("# by mail\nnobody\n")
    for arguments, words in {
        ("forget", dataset.url): "nothing is named",
        ("forget", dataset.url, "--from", str(tmp_path / "asked.txt"), "--on", "process"): "the key 'nobody'",
        ("forget", dataset.url, "--from", str(tmp_path / "none.txt")): "cannot be read",
        ("forget", str(tmp_path), "--key", "x"): "holds no dataset",
        ("trace", "--data", dataset.url): "no sample is named",
        ("trace", "--sha256", "0" * 64, "--data", dataset.url): "no sample of that URL or hash",
    }.items():
        assert main(list(arguments)) == 2
        assert words in capsys.readouterr().err


def test_a_run_that_is_gone_is_named(curated, capsys):
    dataset, _, batches = curated
    _, traced = said(capsys, "trace", batches[0][0], "--data", dataset.url, "--run", "/nowhere/at/all")
    told = traced["samples"][0]["runs"]
    assert [item["run"] for item in told][1] == "/nowhere/at/all"
    assert "holds no recipe.json" in told[1]["unknown"]
