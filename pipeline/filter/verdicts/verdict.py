"""Verdicts: opinions on facts. A recipe's rules over score columns decide which rows are kept, and say why not.

Rows fall to the first rule they break, in the recipe's order; a row that was not fetched falls to its outcome. Kept
rows get a weight. Nothing is read but columns, so another opinion costs seconds.

    raw/00042.parquet, scores/<scorer>/00042.parquet  --judge-->  verdicts/<hash>/00042.parquet
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import RecipeError, nearest
from pipeline.filter.verdicts.expression.check import (
    LIST_TABLE,
    Expression,
    Kind,
    Known,
    Whole,
    checked,
    compile_expression,
    kind_of,
)
from pipeline.filter.verdicts.expression.evaluate import Batch, numbers, passes
from pipeline.filter.verdicts.expression.parse import ExpressionError, parse
from pipeline.filter.verdicts.expression.read import read_columns, values_of
from pipeline.filter.verdicts.expression.render import render
from pipeline.filter.verdicts.expression.tree import columns_of
from pipeline.filter.verdicts.rules import NO_WEIGHT, Rule, VerdictConfig
from pipeline.recipe import digest_of
from pipeline.record import FETCHED, VERDICT, Status
from pipeline.stage import Made, Part, Stage, Workspace


@dataclass(frozen=True)
class Verdict:
    """A checked `[verdict]` table: the rules by name, in the order in which they claim rows, and the weight."""

    rules: tuple[tuple[str, Expression], ...]
    weight: Expression | None

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """All of its expressions."""
        found = tuple(expression for _, expression in self.rules)
        return found if self.weight is None else (*found, self.weight)

    @property
    def columns(self) -> dict[str, Kind]:
        """The columns to read, and as what. A list's column that nothing says the kind of is of any kind."""
        found: dict[str, Kind] = {}
        for expression in self.expressions:
            for name, kind in expression.columns.items():
                found[name] = kind if found.get(name, Kind.ANY) is Kind.ANY else found[name]
        return found

    @property
    def tables(self) -> tuple[str, ...]:
        """The scorers whose columns it reads, sorted."""
        return tuple(sorted({name.split(".")[0] for name in self.columns} - {"record", LIST_TABLE}))

    @property
    def wholes(self) -> tuple[Whole, ...]:
        """The numbers of the whole dataset that it needs, each once."""
        return tuple({whole.key: whole for one in self.expressions for whole in one.wholes}.values())

    def settings(self) -> Any:
        """What decides its opinion: the same rules give the same settings, however they were written."""
        rules = [[name, render(expression.root)] for name, expression in self.rules]
        return {"rules": rules, "weight": None if self.weight is None else render(self.weight.root)}


def compile_verdict(
    config: VerdictConfig, scores: Mapping[str, pa.Schema], offers: Mapping[str, str] | None = None
) -> Verdict:
    """Check the rules of a recipe against the columns that there will be.

    Args:
        scores: scorer name -> the columns it writes.
        offers: scorer that the recipe leaves off -> a sentence on how to turn it on.
    Raises: RecipeError: naming the rule, the place in its expression, what was found and what was wanted.
    """
    fields = {f"{scorer}.{item.name}": item for scorer, schema in scores.items() for item in schema}
    fields |= {f"record.{item.name}": item for item in FETCHED}
    known = Known(fields, offers or {})
    rules = tuple((rule.name, _condition(rule, known)) for rule in config.all_rules())
    weight = None
    if config.weight is not None:
        try:
            weight = compile_expression(config.weight, Kind.NUMBER, known)
        except ExpressionError as error:
            raise RecipeError(f"verdict.weight: {error.within(config.weight)}") from None
    verdict = Verdict(rules, weight)
    _check_kinds(verdict)
    return verdict


def tables_of(config: VerdictConfig) -> set[str]:
    """The scorers that the rules and the weight of a recipe name; those of an expression that is none are left out."""
    found: set[str] = set()
    trees = [rule.condition for rule in config.all_rules()]
    if config.weight is not None:
        trees.append(partial(parse, config.weight))
    for tree in trees:
        with contextlib.suppress(ExpressionError):
            found |= {name.split(".")[0] for name in columns_of(tree())}
    return found


def _condition(rule: Rule, known: Known) -> Expression:
    try:
        if rule.column is not None:
            _check_bounded(rule.column, known)
        root = rule.condition()
        return checked(root, render(root), Kind.BOOLEAN, known)
    except ExpressionError as error:
        said = error.words if rule.keep is None else error.within(rule.keep)
        raise RecipeError(f"verdict rule {rule.name!r}: {said}") from None


def _check_bounded(column: str, known: Known) -> None:
    """Refuse bounds on a column of something that has no order."""
    field = known.columns.get(column)
    if field is not None and kind_of(field.type) is not Kind.NUMBER:
        table = column.split(".")[0]
        numeric = [
            name for name, item in known.columns.items()
            if name.startswith(f"{table}.") and kind_of(item.type) is Kind.NUMBER
        ]  # fmt: skip
        raise ExpressionError(
            0, f"{column} holds {field.type}, which has no min or max. Write keep = ..., or name a column of numbers. "
            f"{nearest(column, numeric)}",
        )  # fmt: skip


def _check_kinds(verdict: Verdict) -> None:
    """A column of the list is read once, so every rule has to take it as the same kind."""
    taken: dict[str, tuple[Kind, str]] = {}
    parts = [*verdict.rules, *([] if verdict.weight is None else [("weight", verdict.weight)])]
    for rule, expression in parts:
        for name, kind in expression.columns.items():
            before, where = taken.get(name, (Kind.ANY, rule))
            if Kind.ANY not in (before, kind) and before is not kind:
                raise RecipeError(f"verdict: {name} is {before.value} in {where!r} and {kind.value} in {rule!r}.")
            taken[name] = (kind, rule) if before is Kind.ANY else (before, where)


class JudgeStage(Stage):
    """Applies the rules to one part. Part: id = raw part, inputs = `inputs(id)`."""

    name: ClassVar[str] = "judge"
    version: ClassVar[int] = 2

    def __init__(self, verdict: Verdict, wholes: Mapping[str, float | None] | None = None) -> None:
        """`wholes`: the numbers of the whole dataset that the rules name, by their key; see quantiles.py."""
        self.verdict = verdict
        self.wholes = dict(wholes or {})
        self.folder = f"verdicts/{digest_of(self.settings())[:12]}"

    def settings(self) -> Any:
        """The rules, and the thresholds that came out of the dataset."""
        return {**self.verdict.settings(), "wholes": self.wholes}

    def inputs(self, part: str) -> tuple[tuple[str, str], ...]:
        """The commits that the verdict on a part depends on: what its rules read, and no others."""
        return (("fetch", part), *((f"score-{table}", part) for table in self.verdict.tables))

    def make(self, part: Part, work: Workspace) -> Made:
        """Write `key, keep, dropped_by, weight` for every row of the part."""
        columns = self.verdict.columns
        table = read_columns(work.dataset, part.id, columns, record=("key", "outcome"))
        keys = table.column("record.key").combine_chunks()
        batch = Batch(table.num_rows, values_of(table, columns), self.wholes, keys)
        reason, words = _reasons_of_fetch(table.column("record.outcome"))
        for name, expression in self.verdict.rules:
            broken = (reason < 0) & ~passes(expression.root, batch)
            reason[broken] = len(words)
            words.append(name)
        weight = self._weights(batch, reason, words)
        keep = reason < 0
        verdict = pa.table(
            {
                "key": keys,
                "keep": pa.array(keep),
                "dropped_by": pa.DictionaryArray.from_arrays(
                    pa.array(np.where(keep, 0, reason), pa.int32(), mask=keep), pa.array(words, pa.string())
                ).cast(pa.string()),
                "weight": pa.array(np.where(keep, weight, 0.0).astype(np.float32)),
            },
            schema=VERDICT,
        )
        tally = np.bincount(reason[~keep], minlength=len(words)).tolist()
        found = {word: rows for word, rows in zip(words, tally, strict=True) if rows}
        local = _write(work.scratch / "verdict.parquet", verdict)
        return Made({f"{self.folder}/{part.id}.parquet": local}, len(keep), int(keep.sum()), found)

    def _weights(self, batch: Batch, reason: np.ndarray, words: list[str]) -> np.ndarray:
        """The weight of each row; one of no use drops its row."""
        if self.verdict.weight is None:
            return np.ones(batch.num_rows, np.float32)
        weight, valid = numbers(self.verdict.weight.root, batch)
        sound = valid & (weight >= 0) & (weight <= np.finfo(np.float32).max)
        reason[(reason < 0) & ~sound] = len(words)
        words.append(NO_WEIGHT)
        return np.where(sound, weight, 0.0)


def _reasons_of_fetch(outcome: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """The number of each row's reason, -1 for a fetched row, and the reasons' words."""
    coded = outcome.combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    reason = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if Status.SUCCESS.value in words:
        reason[reason == words.index(Status.SUCCESS.value)] = -1
    return reason, [f"fetch:{word}" for word in words]


def _write(local: Path, verdict: pa.Table) -> Path:
    """One row group, read whole and so without statistics; a dictionary where values repeat, none for keys."""
    how: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["dropped_by", "weight"], "write_statistics": False}
    pq.write_table(verdict, local, row_group_size=max(verdict.num_rows, 1), **how)
    return local
