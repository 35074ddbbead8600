"""Every shipped recipe resolves, to what stands in golden/. After a change meant to be one: PAIRMILL_GOLDEN=write."""

import json
import os
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.recipe import load, shipped_recipes
from pretrain.recipe import TrainingRecipe, differences

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(shipped_recipes("pretrain")))
def test_a_shipped_recipe_resolves_to_its_golden_settings(name):
    recipe = load(TrainingRecipe, name, package="pretrain")
    assert recipe.name == name
    found = recipe.model_dump(mode="json")
    path = GOLDEN / f"{name}.json"
    if os.environ.get("PAIRMILL_GOLDEN") == "write":
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(path.read_text())


def test_the_published_model_has_its_published_size():
    """151,277,313 parameters: openai/clip-vit-base-patch32."""
    import torch

    from pretrain.encoders.text import Vocabulary
    from pretrain.models.parallel import DualEncoder

    recipe = load(TrainingRecipe, "clip-vit-b32", package="pretrain")
    with torch.device("meta"):
        model = DualEncoder(recipe.model, Vocabulary(recipe.tokenizer.vocabulary, 49406, 49407, 49407))
    assert sum(parameter.numel() for parameter in model.parameters()) == 151_277_313


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.vision.patch_px=7", "patch_px 7 does not divide side_px 64"),
        ("model.text.num_heads=5", "num_heads 5 does not divide width 96"),
        ("schedule.warmup_steps=9999", "leaves nothing of steps"),
        ("zero.stage=4", "zero.stage is 4"),
        ("precision=fp16", "precision is 'fp16'"),
        ("optimizer.learning_rate=1", "optimizer.learning_rate: unknown key"),
        ("data.eval_spilt=x", "Did you mean 'eval_split'"),
    ],
)
def test_a_wrong_setting_is_named(override, message):
    with pytest.raises(RecipeError, match=message):
        load(TrainingRecipe, "tiny-clip", [override], package="pretrain")


def test_the_world_divides_the_batch():
    recipe = load(TrainingRecipe, "tiny-clip", package="pretrain")
    assert recipe.batch_of_rank(2) == recipe.batch_size // 2
    with pytest.raises(RecipeError, match=r"batch_size 128 does not divide over 3 workers; set it to 126"):
        recipe.batch_of_rank(3)


def test_what_may_change_at_a_resume_is_no_difference():
    base = load(TrainingRecipe, "tiny-clip", package="pretrain")
    other = load(TrainingRecipe, "tiny-clip", ["loader.threads=9", "checkpoint.keep=7"], package="pretrain")
    assert differences(base.identity(), other.identity()) == []
    other = load(TrainingRecipe, "tiny-clip", ["model.text.width=99", "model.text.num_heads=9"], package="pretrain")
    found = differences(base.identity(), other.identity())
    assert found == ["model.text.num_heads: 3 -> 9", "model.text.width: 96 -> 99"]
