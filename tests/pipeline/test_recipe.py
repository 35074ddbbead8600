import pytest

from pipeline.errors import RecipeError
from pipeline.recipe import RecipeTable, digest_of, laid_over, load, shipped_recipes


class Inner(RecipeTable):
    samples: int = 10
    names: tuple[str, ...] = ()


class Outer(RecipeTable):
    name: str
    shard: Inner = Inner()


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "r.toml"
        path.write_text(text)
        return str(path)

    return write


def test_overrides_reach_nested_tables_and_bare_words_are_strings(recipe):
    path = recipe('name = "a"\n[shard]\nsamples = 3')
    loaded = load(Outer, path, ["shard.samples=5", "name=my/path", 'shard.names=["x"]'], package="pipeline")
    assert loaded == Outer(name="my/path", shard=Inner(samples=5, names=("x",)))


def test_an_unknown_key_names_the_nearest_one(recipe):
    path = recipe('name = "a"\n[shard]\nsample = 3')
    with pytest.raises(RecipeError, match=r"r\.toml: shard\.sample: unknown key\. Did you mean 'samples'\?"):
        load(Outer, path, package="pipeline")


def test_a_wrong_value_says_what_was_found(recipe):
    path = recipe('name = "a"\n[shard]\nsamples = "many"')
    with pytest.raises(RecipeError, match=r"shard\.samples is 'many'"):
        load(Outer, path, package="pipeline")


def test_a_missing_setting_is_named(recipe):
    with pytest.raises(RecipeError, match="name: missing"):
        load(Outer, recipe(""), package="pipeline")


def test_broken_toml_names_file_and_line(recipe):
    with pytest.raises(RecipeError, match=r"r\.toml: not valid TOML: .*line 1"):
        load(Outer, recipe("name = \nx = 1"), package="pipeline")


@pytest.mark.parametrize("override", ["samples", "=3", "a..b=1", "name.x=1"])
def test_a_malformed_override_is_refused(recipe, override):
    with pytest.raises(RecipeError, match="--set"):
        load(Outer, recipe('name = "a"'), [override], package="pipeline")


def test_an_unknown_recipe_names_the_nearest_that_ships():
    with pytest.raises(RecipeError, match="Did you mean 'quickstart'"):
        load(Outer, "quikstart", package="pipeline")


def test_a_missing_file_lists_what_ships():
    with pytest.raises(RecipeError, match=r"no/such\.toml: no such file"):
        load(Outer, "no/such.toml", package="pipeline")


def test_the_digest_does_not_depend_on_order():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert Inner().digest() != Inner(samples=11).digest()


def test_recipes_ship():
    assert "quickstart" in shipped_recipes("pipeline")
    assert "local" in shipped_recipes("cluster")


def test_settings_are_laid_over_others_table_by_table():
    below = {"name": "a", "shard": {"samples": 3, "names": ["x"]}, "source": "list"}
    above = {"shard": {"samples": 5}, "source": {"path": "p"}}
    assert laid_over(below, above) == {"name": "a", "shard": {"samples": 5, "names": ["x"]}, "source": {"path": "p"}}
    assert below["shard"]["samples"] == 3
