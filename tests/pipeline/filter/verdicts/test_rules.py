"""The [verdict] table: what a rule may be, and the rule sets that ship."""

import re

import pyarrow as pa
import pytest

from pipeline.curate import DatasetRecipe, with_needed_scorers
from pipeline.errors import RecipeError
from pipeline.filter import steps
from pipeline.filter.ranges import ranged
from pipeline.filter.scorers import SCORERS
from pipeline.filter.scorers.centroids import CentroidsScore
from pipeline.filter.steps.duplicates import COLUMNS as DUPLICATES
from pipeline.filter.verdicts.rules import Rule, VerdictConfig, read_rule_set, rule_sets
from pipeline.filter.verdicts.verdict import compile_verdict
from pipeline.recipe import check, shipped_recipes

SIMILARITY = pa.schema([ranged("similarity", pa.float32(), -1, 1)])
EVERYTHING = (
    {name: scorer.writes for name, scorer in SCORERS.items() if name != "clip"}
    | {name: step.writes for name, step in steps.STEPS.items() if step.writes is not None}
    | {
        "duplicates": DUPLICATES,
        "clip": SIMILARITY,
        "clip_l14": SIMILARITY,
        "centroids": CentroidsScore.writes,
        "probe": pa.schema([("aesthetic", pa.float32())]),
        "text_in_image": pa.schema([ranged("masked_similarity", pa.float32(), -1, 1)]),
    }
)
NAMES = (
    "cc3m", "cc12m", "laion-400m", "laion-2b", "laion-aesthetics-v1", "datacomp-basic", "datacomp-clip",
    "datacomp-text", "datacomp-image", "datacomp-intersection", "datacomp-laion2b", "t-mars", "semdedup",
    "metaclip", "dfn",
)  # fmt: skip


def recipe(**tables):
    settings = {"name": "x", "dataset": "x", "source": {"kind": "cc3m", "path": "list.tsv"}}
    return check(DatasetRecipe, {**settings, **tables}, where="x.toml")


def test_what_ships():
    assert sorted(rule_sets()) == sorted(NAMES)
    assert not {name for name in shipped_recipes("pipeline") if name.startswith("rules")}


@pytest.mark.parametrize("name", NAMES)
def test_every_set_names_its_source_and_fits_the_scorers(name):
    text = rule_sets()[name].read_text("utf-8")
    comments = " ".join(line for line in text.splitlines() if line.startswith("#"))
    assert re.search(r"Source: .*(\d{4}|LAION)", comments)
    verdict = compile_verdict(VerdictConfig(use=(name,)), EVERYTHING)
    rules = [rule for rule, _ in verdict.rules if not rule.startswith("duplicate_")]
    assert rules == [f"{name}/{rule.name}" for rule in read_rule_set(name).rules]


def thresholds(name):
    """column, operator, number of every threshold, and the shares of the whole dataset."""
    verdict = compile_verdict(VerdictConfig(use=(name,), duplicates="keep"), EVERYTHING)
    plain = [(one.column, one.operator, one.number) for rule, found in verdict.rules[1:] for one in found.thresholds]
    return plain + [whole.key for whole in verdict.wholes]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cc3m", [("image.min_side_px", ">", 400), ("image.aspect", "<=", 2), ("text.profanity", "==", 0)]),
        (
            "cc12m",
            [
                ("image.min_side_px", ">", 400), ("image.aspect", "<=", 2.5), ("text.num_words", ">=", 3),
                ("text.num_words", "<=", 256), ("text.max_word_share", "<=", 0.2), ("text.profanity", "==", 0),
            ],
        ),
        ("laion-400m", [("text.num_chars", ">=", 5), ("image.body_bytes", ">=", 5120), ("clip.similarity", ">=", 0.3)]),
        (
            "laion-2b",
            [
                ("text.num_chars", ">=", 5), ("image.body_bytes", ">=", 5120), ("duplicates.url_rank", "==", 0),
                ("clip.similarity", ">=", 0.28),
            ],
        ),
        (
            "datacomp-basic",
            [
                ("text.num_words", ">", 2), ("text.num_chars", ">", 5), ("image.min_side_px", ">=", 200),
                ("image.aspect", "<=", 3),
            ],
        ),
        ("datacomp-clip", ["top(clip.similarity, 0.3)"]),
        ("datacomp-laion2b", [("clip.similarity", ">=", 0.28)]),
        ("datacomp-image", [("text.num_words", ">", 1), ("text.num_chars", ">", 5)]),
        (
            "datacomp-intersection",
            [("text.num_words", ">", 1), ("text.num_chars", ">", 5), "top(clip.similarity, 0.3)"],
        ),
        ("t-mars", ["top(text_in_image.masked_similarity, 0.5)"]),
        ("semdedup", [("semantic.distance", ">=", 0.01)]),
        ("dfn", ["top(clip.similarity, 0.15)"]),
        ("metaclip", [("concepts.num_matches", ">=", 1)]),
    ],
)  # fmt: skip
def test_thresholds_are_those_that_were_published(name, wanted):
    assert thresholds(name) == wanted


def test_a_set_may_speak_of_other_columns():
    use = [{"set": "laion-400m", "columns": {"clip": "clip_l14", "image.body_bytes": "list.size"}}, "datacomp-basic"]
    config = check(VerdictConfig, {"use": use, "rules": [{"name": "own", "keep": "true"}]}, where="x")
    verdict = compile_verdict(config, EVERYTHING)
    assert [name for name, _ in verdict.rules][2:] == [
        "laion-400m/text_too_short", "laion-400m/body_too_small", "laion-400m/low_similarity",
        "datacomp-basic/not_english", "datacomp-basic/too_few_words", "datacomp-basic/text_too_short",
        "datacomp-basic/too_small", "datacomp-basic/aspect_too_large", "own",
    ]  # fmt: skip
    assert {"clip_l14.similarity", "list.size"} < set(verdict.columns)
    assert not {"clip.similarity", "image.body_bytes"} & set(verdict.columns)


def test_a_set_of_ones_own(tmp_path):
    path = tmp_path / "house.toml"
    path.write_text('[[rules]]\nname = "wide"\ncolumn = "image.aspect"\nmax = 2\n')
    verdict = compile_verdict(VerdictConfig(use=(str(path),)), EVERYTHING)
    assert [name for name, _ in verdict.rules][-1] == "house/wide"
    path.write_text('[[rule]]\nname = "wide"\n')
    with pytest.raises(RecipeError, match=r"house.toml: .*rule: unknown key. Did you mean 'rules'"):
        VerdictConfig(use=(str(path),))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ({"use": ["datacomp-basc"]}, "no rule set 'datacomp-basc' ships with pairmill. Did you mean 'datacomp-basic'"),
        (
            {"use": [{"set": "dfn", "columns": {"clop": "clip"}}]},
            "the rule set 'dfn' does not speak of 'clop'. Did you mean 'clip'",
        ),
        ({"use": ["dfn", "dfn"]}, "share the name 'dfn/low_similarity'"),
        ({"rules": [{"name": "x", "keep": "true", "min": 2}]}, "either keep, or column with min and max"),
        ({"rules": [{"name": "x"}]}, "needs keep, or column with min, max or both"),
        ({"rules": [{"name": "x", "column": "a.b"}]}, "needs min, max or both"),
        ({"rules": [{"name": "no_weight", "keep": "true"}]}, "other than 'no_weight'"),
        ({"rules": [{"name": "x", "kep": "true"}]}, "Did you mean 'keep'"),
    ],
)
def test_tables_that_make_no_sense(verdict, words):
    with pytest.raises(RecipeError, match=re.escape(words)):
        recipe(verdict=verdict)


def test_scorers_that_need_no_settings_come_on_by_themselves():
    assert recipe().score.language is None
    assert with_needed_scorers(recipe(verdict={"use": ["datacomp-basic"]})).score.language is not None
    assert with_needed_scorers(recipe(verdict={"weight": "pixels.entropy"})).score.pixels is not None
    assert with_needed_scorers(recipe(verdict={"use": ["dfn"]})).score.clip is None  # it needs a checkpoint


def test_equal_rules_are_one_opinion_however_they_are_written():
    one = Rule(name="x", keep="image.aspect<=3")
    other = Rule(name="x", column="image.aspect", max=3)
    first, second = (compile_verdict(VerdictConfig(rules=(rule,)), EVERYTHING).settings() for rule in (one, other))
    assert first == {**second, "rules": [*second["rules"][:-1], ["x", "image.aspect <= 3"]]}
