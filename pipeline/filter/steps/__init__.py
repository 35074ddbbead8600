"""Global steps: facts about a row that depend on all others. The table below is where a new one is entered.

A step has a table under `[score]`, and writes `scores/<name>/`, as a scorer does. It runs after all scorers, since it
may read what they wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.score import Scorer
from pipeline.filter.steps import balance, clusters, near_duplicates, text_duplicates
from pipeline.filter.steps.decontaminate import NEEDS as DECONTAMINATE_NEEDS
from pipeline.filter.steps.decontaminate import check_decontaminate, decontaminate
from pipeline.filter.steps.semantic import COLUMNS as SEMANTIC_COLUMNS
from pipeline.filter.steps.semantic import check_semantic, find_semantic
from pipeline.stage import Part, Stage

Find = Callable[..., tuple[Stage, list[Part]]]
"""Called with the engine, the step's table and the commits of `fetch`; gives what writes back the facts, to be run."""


@dataclass(frozen=True)
class GlobalStep:
    """One step: the columns it writes, how it runs, the scorers it needs, and how it refuses what cannot work."""

    writes: pa.Schema | None
    """None where the step's table says it (`writes`)."""
    find: Find
    needs: tuple[str, ...] = ()
    check: Callable[[Any, Mapping[str, Scorer]], None] = lambda config, scorers: None
    takes: Literal["columns", "scorers"] = "columns"
    """`scorers`: it runs them itself, and is called with those of the recipe as well."""

    def columns(self, config: Any) -> pa.Schema:
        """The columns that it writes by such a table."""
        return config.writes if self.writes is None else self.writes


STEPS = {
    "near_duplicates": GlobalStep(
        clusters.COLUMNS, near_duplicates.find_near_duplicates, needs=(near_duplicates.NEEDS,)
    ),
    "semantic": GlobalStep(SEMANTIC_COLUMNS, find_semantic, check=check_semantic),
    "decontaminate": GlobalStep(None, decontaminate, (DECONTAMINATE_NEEDS,), check_decontaminate, takes="scorers"),
    "text_duplicates": GlobalStep(clusters.COLUMNS, text_duplicates.find_text_duplicates),
    "balance": GlobalStep(balance.COLUMNS, balance.balance, (balance.NEEDS,), balance.check_balance),
}
"""Name of a table under `[score]` -> its step, in the order in which they run."""


def steps_of(tables: Any) -> dict[str, tuple[GlobalStep, Any]]:
    """The steps that a `[score]` table turns on, each with its own table."""
    on = {name: getattr(tables, name, None) for name in STEPS}
    return {name: (STEPS[name], config) for name, config in on.items() if config is not None}


def needed_by(names: Collection[str]) -> set[str]:
    """The scorers that steps of these names need."""
    return {need for name in names if name in STEPS for need in STEPS[name].needs}


def check_steps(tables: Any, scorers: Mapping[str, Scorer]) -> None:
    """Let each step refuse what cannot work, before any work starts. Raises: AskedWrongly."""
    for step, config in steps_of(tables).values():
        step.check(config, scorers)


def run_steps(engine: Engine, tables: Any, scorers: Mapping[str, Scorer], fetched: Mapping[str, Commit]) -> None:
    """Bring the facts of every step up to date."""
    for step, config in steps_of(tables).values():
        more = (scorers,) if step.takes == "scorers" else ()
        stage, parts = step.find(engine, config, fetched, *more)
        engine.prune(stage.name, engine.run(stage, parts))
