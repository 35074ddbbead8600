"""The `[verdict]` table: rules of a recipe's own, and published rule sets that ship with pairmill.

    [verdict]
    use = ["datacomp-basic", { set = "datacomp-clip", columns = { clip = "clip_l14" } }]
    weight = "min(clip_l14.similarity, 0.4) / 0.4"

    [[verdict.rules]]
    name = "too_small"
    keep = "image.min_side_px >= 200"

A rule set is a file of `[[rules]]` in pipeline/recipes/rules, or of the user's own. Its rules are named
`<set>/<rule>`, and come before the recipe's own, in the order of `use`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pipeline.errors import nearest
from pipeline.filter.verdicts.expression.parse import Column, Compare, ExpressionError, Logic, Node, parse
from pipeline.filter.verdicts.expression.parse import Literal as Written
from pipeline.filter.verdicts.expression.render import render
from pipeline.filter.verdicts.expression.tree import columns_of, renamed
from pipeline.recipe import RecipeTable, check

NO_WEIGHT = "no_weight"
"""The reason of a row that passed every rule and whose weight is null, negative or not finite."""


class Rule(RecipeTable):
    """A condition on a row, in one of two forms; rows that do not meet it are dropped under the rule's name."""

    name: str
    """The word that appears in `dropped_by` and in the funnel."""
    column: str | None = None
    """`<scorer>.<column>`, such as `text.num_words`, `record.<column>` of the fetched record, or `list.<column>` of the
    published list. With `min`, `max` or both."""
    min: float | None = None
    """The least value kept; none for no lower bound."""
    max: float | None = None
    """The greatest value kept; none for no upper bound."""
    keep: str | None = None
    """A condition such as `text.num_words >= 3 and language.lang == "en"`, in place of `column`. Rows where it is null
    are dropped."""

    @model_validator(mode="after")
    def _one_form(self) -> Rule:
        bounded = self.min is not None or self.max is not None
        if self.keep is not None and (self.column is not None or bounded):
            raise ValueError("a rule has either keep, or column with min and max")
        if self.keep is None and self.column is None:
            raise ValueError("a rule needs keep, or column with min, max or both")
        if self.keep is None and not bounded:
            raise ValueError("a rule needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}, so no row could pass")
        if ":" in self.name or not self.name or self.name == NO_WEIGHT:
            raise ValueError(f"the name of a rule is a word without ':', other than {NO_WEIGHT!r}")
        return self

    def condition(self) -> Node:
        """The tree of what is kept. Raises: ExpressionError: `keep` is no expression."""
        if self.keep is not None:
            return parse(self.keep)
        assert self.column is not None
        column = Column(1, 1, self.column)
        bounds = [(">=", self.min), ("<=", self.max)]
        pairs = [Compare(1, 2, mark, column, Written(1, 1, bound)) for mark, bound in bounds if bound is not None]
        return pairs[0] if len(pairs) == 1 else Logic(1, 3, "and", tuple(pairs))


class UseRules(RecipeTable):
    """An entry of `use`: a rule set, with other columns in the place of those that it names."""

    set: str
    """Name of a rule set that ships (`pairmill show` lists them), or the path of one of your own."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Column or scorer that the set names -> the one to read, such as `clip = "clip_l14"` or
    `"clip.similarity" = "list.clip_l14_similarity_score"`."""


class RuleSet(RecipeTable):
    """The file of a rule set."""

    rules: tuple[Rule, ...] = Field(min_length=1)
    """Conditions, in the order in which they claim rows."""


class VerdictConfig(RecipeTable):
    """The `[verdict]` table."""

    duplicates: Literal["keep", "pair", "medium", "url"] = "pair"
    """Which exact duplicates to drop: none, rows with equal medium and texts, with equal medium, or with equal URL."""
    use: tuple[str | UseRules, ...] = ()
    """Rule sets, by name; their rules come before those below."""
    rules: tuple[Rule, ...] = ()
    """Conditions, in the order in which they claim rows."""
    weight: str | None = None
    """An expression: how much a kept row counts; none for 1. Rows where it is null or negative are dropped as
    `no_weight`."""

    @model_validator(mode="after")
    def _distinct(self) -> VerdictConfig:
        names = [rule.name for rule in self.all_rules()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rules share the name {twice[0]!r}; give each its own, since it is the reason of a drop")
        return self

    def all_rules(self) -> tuple[Rule, ...]:
        """Every rule in the order in which they claim rows: duplicates, those of `use`, the recipe's own."""
        kinds = ("key",) if self.duplicates == "keep" else ("key", self.duplicates)
        first = [Rule(name=f"duplicate_{kind}", column=f"duplicates.{kind}_rank", max=0) for kind in kinds]
        used = [rule for entry in self.use for rule in _rules_of(entry)]
        return (*first, *used, *self.rules)


@cache
def rule_sets() -> dict[str, Path]:
    """Name -> file of the rule sets that ship, sorted by name."""
    folder = Path(str(resources.files("pipeline"))) / "recipes" / "rules"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_rule_set(name: str) -> RuleSet:
    """The rule set that ships under `name`, or that lies at the path `name`.

    Raises: ValueError: there is none. RecipeError: it is none.
    """
    path = rule_sets().get(name, Path(name))
    if not path.is_file():
        raise ValueError(f"no rule set {name!r} ships with pairmill. {nearest(name, rule_sets())}")
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    return check(RuleSet, data, where=str(path))


def _rules_of(entry: str | UseRules) -> list[Rule]:
    """The rules of one entry of `use`, under the names and on the columns that the recipe gives them."""
    use = UseRules(set=entry) if isinstance(entry, str) else entry
    stem = use.set if use.set in rule_sets() else Path(use.set).stem
    rules = read_rule_set(use.set).rules
    if not use.columns:
        return [rule.model_copy(update={"name": f"{stem}/{rule.name}"}) for rule in rules]
    try:
        trees = [rule.condition() for rule in rules]
    except ExpressionError as error:
        raise ValueError(f"{use.set}: {error}") from None
    there = {name for tree in trees for column in columns_of(tree) for name in (column, column.split(".")[0])}
    for name in use.columns:
        if name not in there:
            raise ValueError(f"columns: the rule set {use.set!r} does not speak of {name!r}. {nearest(name, there)}")
    return [
        Rule(name=f"{stem}/{rule.name}", keep=render(renamed(tree, use.columns)))
        for rule, tree in zip(rules, trees, strict=True)
    ]
