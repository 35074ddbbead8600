"""Verdicts: opinions on facts. A recipe's rules over score columns decide which rows are kept, and say why not.

A rule bounds one column. Rows fall to the first rule they break, in the recipe's order; a row that was not fetched
falls to its outcome. Nothing is read but columns, so another opinion costs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import model_validator

from pipeline.errors import RecipeError, nearest
from pipeline.recipe import RecipeTable
from pipeline.record import FETCHED, VERDICT, Status
from pipeline.shuffle import local_parquet
from pipeline.stage import Made, Part, Resources, Workspace


class Rule(RecipeTable):
    """One bound on one column; rows outside it, or without a value, are dropped under the rule's name."""

    name: str
    """The word that appears in `dropped_by` and in the funnel."""
    column: str
    """`<scorer>.<column>`, such as `text.num_words`, or `record.<column>` of the fetched record."""
    min: float | None = None
    """The least value kept; none for no lower bound."""
    max: float | None = None
    """The greatest value kept; none for no upper bound."""

    @model_validator(mode="after")
    def _bounded(self) -> Rule:
        if self.min is None and self.max is None:
            raise ValueError("a rule needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}, so no row could pass")
        if ":" in self.name or not self.name:
            raise ValueError("the name of a rule is a word without ':'")
        return self


class VerdictConfig(RecipeTable):
    """The `[verdict]` table."""

    duplicates: Literal["keep", "pair", "medium"] = "pair"
    """Which exact duplicates to drop: none, rows with equal medium and texts, or rows with equal medium."""
    rules: tuple[Rule, ...] = ()
    """Bounds, in the order in which they claim rows."""

    @model_validator(mode="after")
    def _distinct(self) -> VerdictConfig:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rules share the name {twice[0]!r}; give each its own, since it is the reason of a drop")
        return self

    def all_rules(self) -> tuple[Rule, ...]:
        """The rules with those that `duplicates` stands for, which come first."""
        if self.duplicates == "keep":
            return (Rule(name="duplicate_key", column="duplicates.key_rank", max=0), *self.rules)
        duplicate = Rule(name=f"duplicate_{self.duplicates}", column=f"duplicates.{self.duplicates}_rank", max=0)
        return (Rule(name="duplicate_key", column="duplicates.key_rank", max=0), duplicate, *self.rules)


def check_columns(config: VerdictConfig, scores: Mapping[str, pa.Schema]) -> None:
    """Refuse a rule on a column that nothing writes, or that has no order.

    Args:
        scores: scorer name -> the columns it writes.
    Raises: RecipeError: naming the rule, the column and the nearest right one.
    """
    known = {f"{scorer}.{field.name}": field.type for scorer, schema in scores.items() for field in schema}
    known |= {f"record.{field.name}": field.type for field in FETCHED}
    numeric = {name for name, kind in known.items() if pa.types.is_integer(kind) or pa.types.is_floating(kind)}
    for rule in config.all_rules():
        if rule.column not in known:
            raise RecipeError(
                f"verdict rule {rule.name!r}: no scorer of this recipe writes {rule.column!r}. "
                f"{nearest(rule.column, numeric)}"
            )
        if rule.column not in numeric:
            raise RecipeError(
                f"verdict rule {rule.name!r}: {rule.column} holds {known[rule.column]}, which has no min or max. "
                f"Name a column of numbers: {', '.join(sorted(numeric))}."
            )


class JudgeStage:
    """Applies the rules to one part. Part: id = raw part, inputs = its fetch and score commits."""

    name: ClassVar[str] = "judge"
    version: ClassVar[int] = 1
    resources = Resources(cpus=1)

    def __init__(self, config: VerdictConfig) -> None:
        self.config = config

    def settings(self) -> Any:
        """The rules."""
        return self.config.model_dump(mode="json")

    def setup(self) -> None:
        """Nothing to load."""

    def make(self, part: Part, work: Workspace) -> Made:
        """Write `key, keep, dropped_by, weight` for every row of the part."""
        rules = self.config.all_rules()
        columns = self._read(part, work, rules)
        outcome = columns["record.outcome"].to_numpy()
        fetched = outcome == Status.SUCCESS.value
        dropped = np.where(fetched, "", np.char.add("fetch:", outcome.astype(str))).astype(object)
        for rule in rules:
            broken = ~_within(columns[rule.column], rule) & (dropped == "")
            dropped[broken] = rule.name
        keep = dropped == ""
        verdict = pa.table(
            {
                "key": columns["record.key"],
                "keep": pa.array(keep),
                "dropped_by": pa.array(np.where(keep, None, dropped), pa.string()),
                "weight": pa.array(keep.astype(np.float32)),
            },
            schema=VERDICT,
        )
        local = local_parquet(work.scratch, "verdict.parquet", verdict)
        reasons, counts = np.unique(dropped[~keep].astype(str), return_counts=True)
        found = dict(zip(reasons.tolist(), counts.tolist(), strict=True))
        name = f"verdicts/{self.config.digest()[:12]}/{part.id}.parquet"
        return Made({name: local}, len(keep), int(keep.sum()), found)

    def _read(self, part: Part, work: Workspace, rules: tuple[Rule, ...]) -> dict[str, pa.ChunkedArray]:
        """The columns that the rules name, plus key and outcome, each under its full name."""
        wanted = {"record.key", "record.outcome"} | {rule.column for rule in rules}
        by_file: dict[str, list[str]] = {}
        for name in sorted(wanted):
            table, column = name.split(".", 1)
            by_file.setdefault(table, []).append(column)
        found = {}
        for table, names in by_file.items():
            file = f"raw/{part.id}.parquet" if table == "record" else f"scores/{table}/{part.id}.parquet"
            with work.dataset.open(file) as stream:
                read = pq.read_table(stream, columns=names)
            found.update({f"{table}.{name}": read.column(name) for name in names})
        return found


def _within(column: pa.ChunkedArray, rule: Rule) -> np.ndarray:
    """Where the column is inside the rule's bounds; null and NaN are outside."""
    passed = pc.is_valid(column)
    if rule.min is not None:
        passed = pc.and_(passed, pc.greater_equal(column, rule.min))
    if rule.max is not None:
        passed = pc.and_(passed, pc.less_equal(column, rule.max))
    return pc.fill_null(passed, False).to_numpy()
