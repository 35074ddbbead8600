"""The `[score]` tables of a recipe: which scorers they turn on, and what is refused before any work starts."""

import tomllib

import pytest

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
