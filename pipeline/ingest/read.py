"""The `ingest` stage: reads one file of a list and writes its rows as candidates, a fixed number to a part.

Takes a list in any store. Gives `candidates/part-<file>-<k>.parquet` (CANDIDATE, one row group, zstd).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.commit import stamp_of
from pipeline.ingest.sources import open_source
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.source import SourceConfig
from pipeline.recipe import RecipeTable
from pipeline.record import CANDIDATE
from pipeline.stage import Made, Part, Resources, Workspace
from pipeline.tombstones import read_tombstones


class IngestConfig(RecipeTable):
    """The `[ingest]` table of a dataset recipe."""

    partition_rows: int = Field(default=10_000, ge=1, le=1_000_000)
    """Rows of one part: what is fetched, committed, retried and resumed as one."""


class Ingest:
    """Turns the files of a list into candidate parts."""

    name: ClassVar[str] = "ingest"
    version: ClassVar[int] = 1

    def __init__(self, source: SourceConfig, config: IngestConfig) -> None:
        self.source = source
        self.config = config
        self.resources = Resources(cpus=1)

    def settings(self) -> Any:
        """What the source reads and how rows are cut into parts; where the list lies is a fact of each part."""
        return [self.source.model_dump(mode="json", exclude={"path", "lists"}), self.config.model_dump(mode="json")]

    def parts(self) -> list[Part]:
        """One part per file of the list. Raises: SourceError: there are none."""
        return [Part(f"{file.index:05d}", facts={"list": asdict(file)}) for file in open_source(self.source).files()]

    def setup(self) -> None:
        """Nothing is needed."""

    def make(self, part: Part, work: Workspace) -> Made:
        """Read one file of the list. Raises: SourceError: it cannot be read, or lacks a column."""
        file = ListFile(**part.facts["list"])
        made: dict[str, Path] = {}
        unforgotten: dict[str, str] = {}
        parts: list[dict[str, Any]] = []
        num_faults = 0
        batches = open_source(self.source).read(file)
        tombstones = read_tombstones(work.dataset)
        for k, table in enumerate(in_partitions(batches, self.config.partition_rows)):
            name = f"candidates/part-{file.index:05d}-{k:05d}.parquet"
            local = _write(work.scratch / Path(name).name, table)
            kept = tombstones.without(table)
            if kept is not table:
                unforgotten[name] = stamp_of(name, local).sha256
                table = kept
                _write(local, table)
            made[name] = local
            parts.append({"name": name, "rows": table.num_rows})
            num_faults += pc.count(table["fault"], mode="only_valid").as_py()
        rows = sum(item["rows"] for item in parts)
        facts = {"list": file.place, "parts": parts}
        return Made(made, rows, rows, {"rows": rows, "fault": num_faults}, facts, unforgotten=unforgotten)


def _write(local: Path, table: pa.Table) -> Path:
    pq.write_table(table, local, compression="zstd", row_group_size=table.num_rows)
    return local


def in_partitions(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows each, the last one shorter."""
    held: list[pa.RecordBatch] = []
    num_held = 0
    for batch in batches:
        while num_held + batch.num_rows >= rows:
            take = rows - num_held
            yield pa.Table.from_batches([*held, batch.slice(0, take)], CANDIDATE)
            batch, held, num_held = batch.slice(take), [], 0
        if batch.num_rows:
            held.append(batch)
            num_held += batch.num_rows
    if num_held:
        yield pa.Table.from_batches(held, CANDIDATE)
