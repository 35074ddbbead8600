"""train_func as launchers call it: real processes, real shards, every ZeRO stage."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.jpeg import native
from pipeline.shard.reader import ShardReader
from pipeline.store import Store
from pretrain.checkpoint import committed, newest
from pretrain.evals.evaluate import evaluate, export_run

STAGES = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def runs(scenes, settings_of, ranks_once, tmp_path_factory):
    """For every stage, a run of six steps in one go, and one that broke after the fifth step and went on from 3."""
    folder = tmp_path_factory.mktemp("runs")
    jobs = [
        (settings_of(scenes, zero__stage=stage), str(folder / f"whole-{stage}"), str(folder / f"broken-{stage}"))
        for stage in STAGES
    ]
    ranks_once("breaks_and_resumes", 2, jobs=jobs, after_steps=5)
    return folder


def broken_of(run):
    return [record["broken"] for record in records(Path(run)) if "broken" in record]


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", STAGES)
def test_a_broken_run_goes_on_to_the_same_bits(runs, stage):
    whole, broken = (newest(Store(str(runs / f"{name}-{stage}"))) for name in ("whole", "broken"))
    assert whole.step == broken.step == 6
    names = [stamp.name for stamp in whole.files]
    assert names == [stamp.name for stamp in broken.files]
    assert len(names) == {0: 1, 1: 3, 2: 3, 3: 4}[stage]
    if stage < 3:
        assert whole.files == broken.files, "parameters, moments, counters: every file to the bit"
    else:
        # Stage 3 pads a parameter of one element on the second rank with whatever memory held; all else is equal.
        assert_equal_but_padding(runs / "whole-3", runs / "broken-3", [name for name in names if "optim" in name])
    weights = [(runs / f"{name}-{stage}" / "export" / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]


def assert_equal_but_padding(whole, broken, names):
    for name in names:
        left, right = (torch.load(run / name, weights_only=False)["optimizer_state_dict"] for run in (whole, broken))
        for a, b in zip(left["fp32_flat_groups"], right["fp32_flat_groups"], strict=True):
            assert (a != b).sum() <= 1
        for a, b in zip(*(side["optimizer_state_dict"]["state"].values() for side in (left, right)), strict=True):
            assert torch.equal(a["exp_avg"], b["exp_avg"])
            assert torch.equal(a["exp_avg_sq"], b["exp_avg_sq"])
            assert torch.equal(a["step"], b["step"])


@pytest.mark.parametrize("stage", STAGES)
def test_every_step_stands_once_in_the_metrics(runs, stage):
    found = records(runs / f"broken-{stage}")
    assert [record["step"] for record in found if "loss" in record] == [1, 2, 3, 4, 5, 6]
    steps, whole = ([{"step": r["step"], "loss": r.get("loss"), "eval": r.get("eval")} for r in records(runs / name)]
                    for name in (f"broken-{stage}", f"whole-{stage}"))  # fmt: skip
    assert steps == whole
    wanted = {"loss", "lr", "logit_scale", "grad_norm", "samples_per_s", "loader_wait", "broken", "step", "skipped"}
    parts = {"loss/infonce", "loss/infonce/image_to_text", "loss/infonce/text_to_image"}
    assert set(found[0]) == wanted | parts
    assert all(record["grad_norm"] > 0 for record in found if "loss" in record)


def test_all_stages_learn_the_same(runs):
    losses = [[r["loss"] for r in records(runs / f"whole-{stage}") if "loss" in r] for stage in STAGES]
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], rel=1e-3)


def test_the_run_folder_holds_what_it_promises(runs):
    names = {path.name for path in (runs / "whole-1").iterdir()} - {".scratch"}
    wanted = {"recipe.json", "environment.json", "lineage.json", "tokenizer", "metrics.jsonl", "tensorboard"}
    assert names == wanted | {"checkpoints", "export", "manifests"}
    assert any((runs / "whole-1" / "tensorboard").iterdir())
    environment = json.loads((runs / "whole-1" / "environment.json").read_text())
    assert environment["workers"] == 2
    assert environment["packages"]["torch"] == torch.__version__


def test_recalls_of_the_export_are_those_of_training(runs, scenes):
    """One process on the exported folder, and on the bare run, against two ranks in training."""
    in_training = next(record["eval"] for record in records(runs / "whole-2") if "eval" in record)
    assert evaluate(str(runs / "whole-2" / "export"), scenes, "validation") == pytest.approx(in_training, rel=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_an_export_without_ranks_equals_the_one_of_training(runs, scenes, stage, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / f"whole-{stage}", run)
    before = load_file(run / "export" / "model.safetensors")
    shutil.rmtree(run / "export")
    recalls = evaluate(str(run), scenes, "validation")
    after = load_file(f"{export_run(str(run))}/model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert recalls["texts"] == 64


def test_resumes_that_may_not_be_and_one_that_may(runs, scenes, settings_of, ranks_once, tmp_path, write_shards_to):
    """One worker takes up runs of two."""
    for stage in (0, 1):
        shutil.copytree(runs / f"whole-{stage}", tmp_path / f"run-{stage}")
    shutil.rmtree(tmp_path / "run-0" / "checkpoints" / "step-000006")
    jobs = [
        (settings_of(scenes, zero__stage=0), str(tmp_path / "run-0")),
        (settings_of(scenes, zero__stage=1), str(tmp_path / "run-1")),
        (settings_of(scenes, zero__stage=1, seed=6, optimizer__lr=2e-2), str(tmp_path / "run-1")),
        (settings_of(scenes, optimizer__lr=1e30), str(tmp_path / "diverges")),
        (settings_of(str(tmp_path / "nowhere")), str(tmp_path / "no-data")),
        (settings_of(scenes, augment__decoder="library"), str(tmp_path / "run-1")),
    ]
    moved, split, other, diverged, absent, pixels = ranks_once("trains", 1, jobs=jobs)[0]
    assert moved["step"] == 6
    losses = [[r["loss"] for r in records(run) if "loss" in r] for run in (tmp_path / "run-0", runs / "whole-0")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert "written by 2 workers under ZeRO stage 1" in split
    assert "Resume with 2 workers" in split
    assert "optimizer.lr: 0.01 -> 0.02" in other
    assert "seed: 5 -> 6" in other
    assert re.search(
        r"TrainingError: step \d: (loss|grad_norm) is (nan|inf)\. The batch holds the samples \w{32}", diverged
    )
    assert not committed(Store(str(tmp_path / "diverges")))
    assert absent.startswith("DatasetError")
    if native.is_built():
        assert "began with augment.decoder 'native', the recipe says 'library'" in pixels


def test_a_checkpoint_says_where_the_stream_stands(runs, scenes):
    record = newest(Store(str(runs / "whole-0")))
    manifest = ShardReader(scenes).fingerprint
    assert record.samples == record.loader["position"] == 72
    place = {"manifest": manifest, "epoch": 0, "window": 0, "offset": 72}
    assert record.loader == {"law": 1, "position": 72, "run": 12, "datasets": [place], "broken": 0}


def test_a_mixture_with_weights_buckets_and_a_broken_shard_resumes(
    scenes, settings_of, ranks_once, tmp_path, write_shards_to
):
    """Broken off after step 4 and taken up from step 3: the same weights, and every broken sample counted once."""
    second = tmp_path / "second"
    shutil.copytree(scenes, second)
    (second / "shards/train/00001.tar").unlink()
    mixture = [{"url": scenes, "weight": 2}, {"url": str(second), "weight": 1}]
    options = {"data__mixture": mixture, "data__weights": "repeat", "data__text_buckets": 2, "data__broken": "skip"}
    recipe = settings_of(scenes, **options)
    names = [str(tmp_path / name) for name in ("whole", "broken")]
    ranks_once("breaks_and_resumes", 2, jobs=[(recipe, *names)], after_steps=4)
    whole, broken = (newest(Store(name)) for name in names)
    assert whole.files == broken.files
    assert whole.loader == broken.loader
    assert whole.loader["broken"] > 0
    assert broken_of(names[0]) == broken_of(names[1])
    lineage = json.loads((tmp_path / "whole/lineage.json").read_bytes())
    assert [source["url"] for source in lineage["sources"]] == [scenes, str(second)]


def test_sigterm_makes_a_checkpoint_and_a_clean_end(scenes, settings_of, ranks_once, tmp_path):
    """Only rank 0 gets the signal; all ranks stop at the same step."""
    run = tmp_path / "run"
    recipe = settings_of(scenes, steps=50, checkpoint__every_steps=40)
    results = ranks_once("stopped", 2, recipe=recipe, run=str(run), at_step=4)
    assert {result["step"] for result in results} == {5}
    assert all(result["stopped"] and result["eval"] is None for result in results)
    assert newest(Store(str(run))).step == 5


def test_a_run_in_a_bucket(scenes, settings_of, ranks_once, s3_bucket):
    """Break, resume and evaluate where nothing is a local file."""
    run = f"{s3_bucket}/runs/one"
    ranks_once("breaks_and_resumes", 1, jobs=[(settings_of(scenes), f"{s3_bucket}/whole", run)], after_steps=5)
    store = Store(run)
    assert newest(store).files == newest(Store(f"{s3_bucket}/whole")).files
    lines = [json.loads(line) for line in store.read_bytes("metrics.jsonl").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert evaluate(f"{run}/export", scenes, "validation")["texts"] == 64
