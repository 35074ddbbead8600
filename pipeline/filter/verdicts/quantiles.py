"""Numbers of the whole dataset, `quantile(x, q)` and `top(x, share)`: exact, in bounded memory, the same for any parts.

    part 00000 --values--> quantiles/<x>/00000.npy   the part's values of x, sorted, null and NaN left out
    part 00001 --values--> ...                              --find--> commits/quantile-<x>-found/all.json

Every row that has a value counts, fetched or not; a scorer's columns have values for fetched rows alone. The values
depend on x only, so another share reads them again and computes nothing.

`quantile(x, q)` is numpy's default, linear between the two values around place q (n - 1).
`top(x, share)` is the value that DataComp keeps the top share from: -np.sort(-x)[int(share * n)].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from pipeline.engine import Engine
from pipeline.filter.verdicts.expression.check import LIST_TABLE, Kind, Whole
from pipeline.filter.verdicts.expression.evaluate import Batch, numbers
from pipeline.filter.verdicts.expression.read import read_columns, values_of
from pipeline.filter.verdicts.expression.render import render
from pipeline.filter.verdicts.expression.tree import columns_of
from pipeline.filter.verdicts.order_statistics import order_statistics
from pipeline.recipe import digest_of
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import Store

_PREFIX = "quantile-"


class QuantileValues(Stage):
    """Sorts the values of one expression in one part. Part: id = raw part, inputs = what the expression reads."""

    version: ClassVar[int] = 1

    def __init__(self, whole: Whole, columns: dict[str, Kind]) -> None:
        self.argument = whole.argument
        self.columns = {name: columns[name] for name in sorted(columns_of(whole.argument))}
        self.name = _PREFIX + digest_of(render(whole.argument))[:12]

    def settings(self) -> Any:
        """The expression, and what its columns are read as."""
        return {"argument": render(self.argument), "columns": dict(self.columns)}

    def inputs(self, part: str) -> tuple[tuple[str, str], ...]:
        """The commits that the values of a part depend on."""
        tables = {name.split(".")[0] for name in self.columns}
        scores = sorted(tables - {"record", LIST_TABLE})
        return (("fetch", part), *((f"score-{table}", part) for table in scores))

    def file(self, part: str) -> str:
        """Name of the values of a part."""
        return f"quantiles/{self.name.removeprefix(_PREFIX)}/{part}.npy"

    def make(self, part: Part, work: Workspace) -> Made:
        """Write the sorted values of one part."""
        table = read_columns(work.dataset, part.id, self.columns, record=("key",))
        keys = table.column("record.key").combine_chunks()
        batch = Batch(table.num_rows, values_of(table, self.columns), {}, keys)
        values, valid = numbers(self.argument, batch)
        found = np.sort(values[valid])
        local = work.scratch / "values.npy"
        np.save(local, found)
        return Made({self.file(part.id): local}, table.num_rows, len(found))


class QuantileFind(Stage):
    """Finds the numbers of one expression. One part, `all`: inputs = the values of every part."""

    version: ClassVar[int] = 1

    def __init__(self, values: QuantileValues, wanted: Sequence[Whole], parts: Sequence[str]) -> None:
        self.values = values
        self.wanted = tuple(wanted)
        self.parts = tuple(parts)
        self.name = f"{values.name}-found"

    def settings(self) -> Any:
        """Which numbers are wanted."""
        return [[whole.function, whole.share] for whole in self.wanted]

    def part(self) -> Part:
        """The one part of this stage."""
        return Part("all", tuple((self.values.name, part) for part in self.parts))

    def make(self, part: Part, work: Workspace) -> Made:
        """Find every wanted number; None where there is not one value."""

        def runs() -> Iterator[np.ndarray]:
            return (_load(work.dataset, self.values.file(name)) for name in self.parts)

        rows = sum(len(run) for run in runs())
        found = find_numbers(runs, self.wanted, rows)
        return Made({}, rows, rows, {}, {"rows": rows, "numbers": found})


def find_numbers(runs: Any, wanted: Sequence[Whole], rows: int) -> dict[str, float | None]:
    """Key -> number of each wanted one, over sorted `runs` of `rows` values in all."""
    if rows == 0:
        return {whole.key: None for whole in wanted}
    ranks = sorted({rank for whole in wanted for rank in _ranks(whole, rows)})
    at = dict(zip(ranks, order_statistics(runs, ranks, rows), strict=True))
    found: dict[str, float | None] = {}
    for whole in wanted:
        places = [at[rank] for rank in _ranks(whole, rows)]
        if whole.function == "top":
            found[whole.key] = places[0]
        else:
            place = whole.share * (rows - 1)
            # of the two values around the place, numpy itself takes the mean that it would take of all
            with np.errstate(invalid="ignore"):
                number = float(np.quantile(np.array(places), place - math.floor(place)))
            found[whole.key] = None if math.isnan(number) else number  # between infinities there is none
    return found


def whole_numbers(
    engine: Engine, wanted: Sequence[Whole], columns: dict[str, Kind], parts: Sequence[str]
) -> dict[str, float | None]:
    """Bring the numbers of the whole dataset up to date, and forget those that no rule names any more."""
    by_argument: dict[str, list[Whole]] = {}
    for whole in sorted(wanted, key=lambda whole: whole.key):
        by_argument.setdefault(render(whole.argument), []).append(whole)
    found: dict[str, float | None] = {}
    stages = []
    for wholes in by_argument.values():
        values = QuantileValues(wholes[0], columns)
        engine.prune(values.name, engine.run(values, [Part(part, values.inputs(part)) for part in parts]))
        find = QuantileFind(values, wholes, parts)
        found |= engine.run(find, [find.part()])["all"].facts["numbers"]
        stages += [values.name, find.name]
    for stage in engine.dataset.folders("commits"):
        if stage.startswith(_PREFIX) and stage not in stages:
            engine.prune(stage, ())
    return found


def _ranks(whole: Whole, rows: int) -> tuple[int, ...]:
    """The places, from 0 ascending, of the values that a number is made of."""
    if whole.function == "top":
        return (max(rows - 1 - int(whole.share * rows), 0),)
    place = whole.share * (rows - 1)
    low = math.floor(place)
    return (low, min(low + 1, rows - 1))


def _load(dataset: Store, name: str) -> np.ndarray:
    with dataset.open(name) as stream:
        return np.load(stream, allow_pickle=False)
