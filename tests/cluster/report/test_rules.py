"""Rules: bounds and simple comparisons become lines, everything else is text, and what cannot be read stops nothing."""

import pytest

from cluster.report.rules import Line, rules_of
from pipeline.filter.verdicts.rules import rule_sets


def view(keep, wholes=None):
    found = rules_of({"verdict": {"duplicates": "keep", "rules": [{"name": "r", "keep": keep}]}}, wholes)
    return found[-1]


def test_bounds_are_lines_and_duplicates_come_first():
    recipe = {"verdict": {"rules": [{"name": "size", "column": "image.aspect", "min": 0.5, "max": 3}]}}
    found = rules_of(recipe)
    assert [rule.name for rule in found] == ["duplicate_key", "duplicate_pair", "size"]
    assert found[2].text == "image.aspect ≥ 0.5 and image.aspect ≤ 3"
    assert found[2].lines == (Line("size", "image.aspect", ">=", 0.5), Line("size", "image.aspect", "<=", 3.0))
    assert found[1].lines == (Line("duplicate_pair", "duplicates.pair_rank", "<=", 0.0),)


@pytest.mark.parametrize(
    ("keep", "lines"),
    [
        ("text.num_words >= 3", [("text.num_words", ">=", 3.0)]),
        ("3 <= text.num_words < 20", [("text.num_words", ">=", 3.0), ("text.num_words", "<", 20.0)]),
        ('language.lang == "en" and clip.similarity > -0.5', [("clip.similarity", ">", -0.5)]),
        ("2 * image.min_side_px >= 100", []),
        ("image.min_side_px >= image.max_side_px / 2", []),
        ("clip.similarity >= top(clip.similarity, 0.3)", [("clip.similarity", ">=", 0.25)]),
        ("clip.similarity >= quantile(clip.similarity, 0.3)", []),
        ('not contains(list.name, "text.num_words >= 3")', []),
    ],
)
def test_comparisons_of_a_column_with_a_number_are_lines(keep, lines):
    found = view(keep, {"top(clip.similarity, 0.3)": 0.25})
    assert found.text == keep
    assert [(line.column, line.mark, line.number) for line in found.lines] == lines


def test_only_what_has_to_hold_is_needed():
    found = view("a.x >= 1 and (b.x >= 2 or not c.x < 3) and (d.x > 4 and e.x < 5)").lines
    assert {line.column: line.weight for line in found} == {
        "a.x": "needed", "b.x": "part", "c.x": "part", "d.x": "needed", "e.x": "needed",
    }  # fmt: skip


def test_columns_come_as_in_the_text():
    assert view("b.x >= 1 or a.y > b.z").columns == ("b.x", "a.y", "b.z")


def test_what_is_no_expression_is_text():
    assert view("text.num_words >=").lines == ()
    assert view("text.num_words >=").text == "text.num_words >="
    gone = {"verdict": {"use": ["a-set-that-is-gone"], "rules": [{"name": "r", "column": "a.b", "min": 1}]}}
    assert [(rule.name, rule.text, rule.lines) for rule in rules_of(gone)] == [("r", "a.b ≥ 1", ())]
    assert rules_of({}) == ()
    assert rules_of({"verdict": None}) == ()


@pytest.mark.parametrize("name", sorted(rule_sets()))
def test_every_rule_set_that_ships_can_be_shown(name):
    found = rules_of({"verdict": {"use": [name]}})
    assert any(rule.columns for rule in found if rule.name.startswith(f"{name}/"))
