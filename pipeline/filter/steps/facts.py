"""Facts of a global step, written back beside each raw part: `scores/<step>/00042.parquet`, one row per raw row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filter.steps.groups import place
from pipeline.record import Status
from pipeline.shuffle import Gather, gathered_rows_of, local_parquet, read_parquet
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import Store


def raw_rows(dataset: Store, part: str) -> pa.Table:
    """`key` of every row of a raw part, and whether it was `fetched`."""
    raw = read_parquet(dataset, f"raw/{part}.parquet", ["key", "outcome"])
    return pa.table({"key": raw.column("key"), "fetched": pc.equal(raw.column("outcome"), Status.SUCCESS.value)})


class StepFacts(Stage):
    """Places gathered columns at their rows. Part: id = raw part, inputs = fetch commit and all buckets."""

    version: ClassVar[int] = 1

    def __init__(self, step: str, gather: Gather, writes: pa.Schema, alone: Mapping[str, float | None]) -> None:
        """Takes `alone`: column -> its value on rows that were fetched, and not compared."""
        self.name = f"score-{step}"
        self.step, self.gather, self.writes, self.alone = step, gather, writes, dict(alone)

    def settings(self) -> Any:
        """The buckets are the inputs."""
        return {"alone": self.alone}

    def parts(self, fetched: Mapping[str, Any], buckets: Mapping[str, Any]) -> list[Part]:
        """The parts of this stage, by the commits of `fetch` and of the gather."""
        inputs = tuple((self.gather.name, bucket) for bucket in buckets)
        return [Part(part, (("fetch", part), *inputs)) for part in fetched]

    def make(self, part: Part, work: Workspace) -> Made:
        """Nulls where nothing was fetched."""
        raw = raw_rows(work.dataset, part.id)
        fetched = raw.column("fetched")
        found = gathered_rows_of(work.dataset, self.gather, part.id)
        columns: dict[str, Any] = {"key": raw.column("key")}
        for field in self.writes:
            column = place(found, field.name, raw.num_rows).cast(field.type)
            if self.alone[field.name] is not None:
                column = pc.fill_null(column, pa.scalar(self.alone[field.name], field.type))
            columns[field.name] = pc.if_else(fetched, column, pa.scalar(None, field.type))
        counts = {"compared": found.num_rows}
        if "rank" in columns:
            counts["duplicates"] = int(pc.sum(pc.greater(columns["rank"], 0)).as_py() or 0)
        local = local_parquet(work.scratch, "scores.parquet", pa.table(columns))
        return Made({f"scores/{self.step}/{part.id}.parquet": local}, raw.num_rows, raw.num_rows, counts)
