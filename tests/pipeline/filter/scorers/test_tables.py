"""The `[score]` tables of a recipe: which scorers they turn on, and what is refused before any work starts."""

import json
import tomllib

import numpy as np
import pytest
from safetensors.numpy import save_file

from cluster.cli import main
from pipeline.curate import DatasetRecipe, check_recipe
from pipeline.errors import RecipeError
from pipeline.filter.scorers import scorers_of
from pipeline.recipe import check


@pytest.fixture
def recipe_with(tmp_path):
    """Call with the TOML of tables; gives a recipe on a small list of its own."""
    (tmp_path / "list.tsv").write_text("a caption\thttp://example.org/1.jpg\n")

    def make(tables):
        base = {
            "name": "toy", "dataset": str(tmp_path / "ds"),
            "source": {"kind": "cc3m", "path": str(tmp_path / "list.tsv")},
        }  # fmt: skip
        return check(DatasetRecipe, base | tomllib.loads(tables), where="toy.toml")

    return make


def rule(text):
    return f"[[verdict.rules]]\nname = 'x'\n{text}\n"


def test_an_empty_table_turns_a_scorer_on(recipe_with):
    assert "pixels" not in scorers_of(recipe_with("").score)
    assert "pixels" in scorers_of(recipe_with("[score.pixels]").score)


def test_several_models_under_their_names(recipe_with, tiny_clip):
    tables = f"""
        [score.clip]
        checkpoint = "{tiny_clip}"
        [score.models.clip_l14]
        checkpoint = "{tiny_clip}"
        text = "best"
    """
    recipe = recipe_with(tables + rule("column = 'clip_l14.similarity'\nmin = 0.2"))
    check_recipe(recipe)
    found = scorers_of(recipe.score)
    assert [found[name].name for name in ("clip", "clip_l14")] == ["clip", "clip_l14"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ("[score.clip]\ncheckpoint = 'nowhere'", r"score\.clip\.checkpoint is '.*nowhere': there is no such folder"),
        ("[score.models.text]\ncheckpoint = 'x'", "'text' is the name of another table of scores"),
        ("[score.models.duplicates]\ncheckpoint = 'x'", "'duplicates' is the name of another table"),
    ],
)
def test_what_cannot_work_is_told_at_once(recipe_with, tables, words):
    with pytest.raises(RecipeError, match=words):
        check_recipe(recipe_with(tables))


@pytest.mark.parametrize("name", ["L14", "a.b", "'a b'", "_x"])
def test_a_name_is_a_plain_word(recipe_with, name):
    with pytest.raises(RecipeError, match="models"):
        recipe_with(f"[score.models.{name}]\ncheckpoint = 'x'")


def test_a_threshold_that_no_similarity_reaches(recipe_with, tiny_clip):
    tables = f"[score.clip]\ncheckpoint = '{tiny_clip}'\n"
    with pytest.raises(RecipeError, match=r"clip\.similarity.*-1"):
        check_recipe(recipe_with(tables + rule("column = 'clip.similarity'\nmin = 28")))


CLIP = "[score.clip]\ncheckpoint = 'CLIP'\n"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (rule("column = 'text.num_wrds'\nmin = 3"), "no scorer of this recipe writes 'text.num_wrds'. Did you"),
        (rule("keep = 'text.letter_share > 50'"), "50 is outside the range of text.letter_share, which is 0..1"),
        (CLIP + rule("keep = 'clip.similarity > 28'"), "28 is outside the range of clip.similarity, which is -1..1"),
        ("[score.clip]\ncheckpoint = 'BERT'", "a model of the kind 'bert'; wanted one of 'clip', 'siglip'"),
        (CLIP + "[score.probe.nice]\nweights = 'PROBE'", "takes embeddings of width 7, and clip"),
    ],
)
def test_a_mistake_ends_the_command_with_one_error_before_any_work(tmp_path, tiny_clip, capsys, tables, words):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    save_file({"weight": np.zeros((1, 7), np.float32)}, tmp_path / "probe.safetensors")
    (tmp_path / "list.tsv").write_text("a caption\thttp://example.org/1.jpg\n")
    places = {"CLIP": tiny_clip, "BERT": tmp_path / "bert", "PROBE": tmp_path / "probe.safetensors"}
    for name, place in places.items():
        tables = tables.replace(name, str(place))
    head = f"name = 'toy'\ndataset = '{tmp_path}/ds'\n[source]\nkind = 'cc3m'\npath = '{tmp_path}/list.tsv'\n"
    (tmp_path / "toy.toml").write_text(head + tables)
    assert main(["curate", str(tmp_path / "toy.toml"), "--on", "process"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert words in said[0]
    assert not (tmp_path / "ds").exists()
