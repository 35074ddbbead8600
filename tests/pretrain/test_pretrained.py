"""Models that fuse, from training over two ranks to a folder, and back in two lines."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import RecipeError
from pipeline.recipe import check
from pipeline.shard.reader import ShardReader
from pretrain.batch import Inputs
from pretrain.evals.evaluate import evaluate, export_run, opened
from pretrain.evals.retrieval import EvalConfig
from pretrain.loader import decoded
from pretrain.pretrained import Pretrained
from pretrain.recipe import TrainingRecipe

spec = importlib.util.spec_from_file_location("fused_scenarios", Path(__file__).with_name("fused_scenarios.py"))
fused = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fused)


@pytest.fixture(scope="module")
def runs(scenes, settings_of, ranks_once, tmp_path_factory):
    """A short run of each family over two ranks."""
    folder = tmp_path_factory.mktemp("fused")
    stages = {"cross": 2, "single_stream": 3}
    jobs = [
        (
            settings_of(
                scenes, model=fused.MODELS[name] | {"text": fused.MODELS[name]["text"] | {"context_tokens": 16}},
                objective=fused.OBJECTIVES[name], zero__stage=stage, eval__rerank=5,
            ),
            str(folder / name),
        )
        for name, stage in stages.items()
    ]  # fmt: skip
    ranks_once("trains", 2, jobs=jobs)
    return folder


@pytest.mark.parametrize("name", ["cross", "single_stream"])
def test_the_folder_gives_in_one_process_what_training_measured_over_two_ranks(runs, scenes, name):
    lines = [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
    measured = next(line["eval"] for line in lines if "eval" in line)
    found = evaluate(str(runs / name / "export"), scenes, "validation", EvalConfig(every_steps=1, block=16, rerank=5))
    assert found == pytest.approx(measured, rel=1e-5)
    assert ("text_to_image_rerank_r1" in found) == (name == "cross")
    assert {"loss/matching", "loss/masked_words"} <= set(lines[0])
    assert ("logit_scale" in lines[0]) == (name == "cross")


@pytest.mark.parametrize("name", ["cross", "single_stream"])
def test_a_folder_written_without_ranks_is_the_same(runs, name, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / name, run)
    before = load_file(run / "export" / "model.safetensors")
    shutil.rmtree(run / "export")
    with opened(str(run)) as found:
        assert all(torch.equal(before[key], value) for key, value in found.model.state_dict().items())
    after = load_file(f"{export_run(str(run))}/model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_two_lines_open_it_and_it_answers_for_images_and_words(runs, scenes):
    model = Pretrained.open(runs / "cross" / "export")
    examples = ShardReader(scenes, "validation").read(range(6))
    images, texts = [decoded(example) for example in examples], [example.texts[0] for example in examples]
    features = model.embed(images, texts)
    assert features.image_BD.shape == features.text_BD.shape == (6, 8)
    probabilities = model.match(images, texts)
    one = model.match([np.array(images[3])], [texts[3]])
    torch.testing.assert_close(probabilities[3:4], one, rtol=1e-5, atol=1e-6)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    with torch.no_grad():
        assert model.answer(Inputs(None, model.tokenizer(texts))).image_BD is None


def test_the_folder_holds_no_code_and_its_card_opens_it(runs):
    names = {path.name for path in (runs / "single_stream" / "export").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "tokenizer.json", "tokenizer_config.json"}
    card = (runs / "single_stream" / "export" / "README.md").read_text()
    assert "A single stream model for images of 16 px" in card
    assert "Pretrained.open(folder)" in card


@pytest.mark.parametrize(
    ("name", "objective", "message"),
    [
        ("single_stream", "cross", "objective.infonce needs 'contrast', and a model of the family 'single_"),
        ("parallel", "cross", "objective.matching needs 'matching', and a model of the family 'parallel'"),
    ],
)
def test_an_objective_that_a_family_cannot_serve_is_refused(settings_of, name, objective, message):
    model = {"model": fused.MODELS[name]} if name in fused.MODELS else {}
    with pytest.raises(RecipeError, match=message):
        check(TrainingRecipe, settings_of("x", objective=fused.OBJECTIVES[objective], **model), where="test")


def test_a_wrong_key_of_a_family_is_named_as_the_recipe_has_it(settings_of):
    model = fused.MODELS["cross"] | {"fusion": {"kind": "cross", "num_layer": 2}}
    with pytest.raises(RecipeError, match=r"model.fusion.num_layer: unknown key. Did you mean 'num_layers'"):
        check(TrainingRecipe, settings_of("x", objective=fused.OBJECTIVES["cross"], model=model), where="test")
    with pytest.raises(RecipeError, match=r"model.*'family'"):
        check(TrainingRecipe, settings_of("x", model={"family": "fision"}), where="test")
