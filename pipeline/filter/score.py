"""Scores: facts about rows, written once beside the data and never mixed with opinions.

A scorer is columns in, columns out: it says what it `reads` and `writes`, and knows nothing of files. `ScoreStage`
runs one scorer over one raw part and writes `scores/<name>/00042.parquet`: `key` and the scorer's columns, one row
per row of the raw part, null where there was nothing to score.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.recipe import RecipeTable
from pipeline.record import Status
from pipeline.shuffle import local_parquet
from pipeline.stage import Made, Part, Resources, Workspace


class Scorer(Protocol):
    """Facts about rows, computed from some of their columns."""

    name: ClassVar[str]
    version: ClassVar[int]
    reads: ClassVar[tuple[str, ...]]
    """Columns of record.FETCHED that it needs."""
    writes: ClassVar[pa.Schema]
    """Columns that it adds."""
    resources: ClassVar[Resources]
    config: RecipeTable

    def setup(self) -> None:
        """Load weights and tables, once per worker."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """One row of `writes` per row of `reads`, in order."""


class ScoreStage:
    """Runs one scorer over raw parts. Part: id = raw part, input = its fetch commit."""

    version: ClassVar[int] = 1

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.name = f"score-{scorer.name}"
        self.resources = scorer.resources

    def settings(self) -> Any:
        """The scorer's own settings and version."""
        return {"version": self.scorer.version, "config": self.scorer.config.model_dump(mode="json")}

    def setup(self) -> None:
        """Load what the scorer needs."""
        self.scorer.setup()

    def make(self, part: Part, work: Workspace) -> Made:
        """Score the fetched rows of one part; rows without a medium get nulls."""
        with work.dataset.open(f"raw/{part.id}.parquet") as stream:
            table = pq.read_table(stream, columns=["key", "outcome", *self.scorer.reads])
        fetched = pc.equal(table.column("outcome"), Status.SUCCESS.value)
        scored = self.scorer(table.filter(fetched).select(self.scorer.reads)).cast(self.scorer.writes)
        columns = {"key": table.column("key")} | _spread(scored, fetched)
        local = local_parquet(work.scratch, "scores.parquet", pa.table(columns))
        name = f"scores/{self.scorer.name}/{part.id}.parquet"
        return Made({name: local}, table.num_rows, table.num_rows, {"scored": scored.num_rows})


def _spread(scored: pa.Table, fetched: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """The scored columns at the places where `fetched` is true, nulls elsewhere."""
    mask = fetched.combine_chunks().cast(pa.int64())
    position = pc.subtract(pc.cumulative_sum(mask), 1)
    index = pc.if_else(pc.equal(mask, 1), position, None)
    return {name: scored.column(name).take(index) for name in scored.column_names}
