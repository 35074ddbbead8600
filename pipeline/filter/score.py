"""Scores: facts about rows, written once beside the data and never mixed with opinions.

A scorer is columns in, columns out: it says what it `reads` and `writes`, and knows nothing of files. `ScoreStage`
runs one scorer over one raw part and writes `scores/<name>/00042.parquet`: `key` and the scorer's columns, one row
per row of the raw part, null where there was nothing to score.

Two pseudo-columns may be read beside those of the record: `media`, the stored bytes (then rows come in batches, the
next one read while the present one is scored), and `<scorer>.image` or `<scorer>.text`, the embeddings that another
scorer has stored. What a scorer may have beside the members of `Scorer`:

    batch_rows          the most rows of a batch of media; 256 where it does not say
    prepare(batch)      run a batch ahead in a thread, such as to decode; what it gives is what is scored
    embeds              {"image": width, ...}: columns of fixed-size lists that it adds beyond `writes`; they become
                        `scores/<name>/00042.image.npy` (embeddings.py)
    settings()          what decides its output, where that is not simply its config
    check()             refuse what cannot work, on the driver, before any work starts
    gpus                GPUs of one worker, where there are any
    facts               small facts for the commit records of its parts
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import RecipeError, nearest
from pipeline.filter.embeddings import NpyRows, as_lists, as_matrix, embeddings_name, read_embeddings
from pipeline.filter.media import MEDIA, PLACES, ahead, media_batches
from pipeline.recipe import RecipeTable
from pipeline.record import Status
from pipeline.shuffle import local_parquet, read_parquet
from pipeline.stage import Made, Part, Resources, Stage, Workspace

BATCH_ROWS = 256


class Scorer(Protocol):
    """Facts about rows, computed from some of their columns."""

    name: str
    version: int
    reads: tuple[str, ...]
    """Columns of record.FETCHED that it needs, and pseudo-columns."""
    writes: pa.Schema
    """Columns that it adds."""
    resources: Resources = Resources()
    config: RecipeTable

    def setup(self) -> None:
        """Load weights and tables, once per worker; here none."""

    def __call__(self, table: Any) -> pa.Table:
        """One row of `writes` per row of `reads`, in order."""


class ScoreStage(Stage):
    """Runs one scorer over raw parts. Part: id = raw part, inputs = its fetch commit, and those of `needs`."""

    version: ClassVar[int] = 1

    def __init__(self, scorer: Scorer, *, has_gpu: bool = False) -> None:
        self.scorer = scorer
        self.name = f"score-{scorer.name}"
        gpus = getattr(scorer, "gpus", 0.0) if has_gpu else 0.0
        self.resources = replace(scorer.resources, gpus=max(gpus, scorer.resources.gpus))

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages whose embeddings it reads."""
        return tuple(dict.fromkeys(f"score-{name.split('.')[0]}" for name in self.scorer.reads if "." in name))

    def part(self, raw_part: str) -> Part:
        """The part of this stage that scores a raw part."""
        return Part(raw_part, (("fetch", raw_part), *((stage, raw_part) for stage in self.needs)))

    def settings(self) -> Any:
        """The scorer's own settings and version."""
        own = getattr(self.scorer, "settings", None)
        config = self.scorer.config.model_dump(mode="json") if own is None else own()
        return {"version": self.scorer.version, "config": config}

    def setup(self) -> None:
        """Load what the scorer needs."""
        self.scorer.setup()

    def make(self, part: Part, work: Workspace) -> Made:
        """Score the fetched rows of one part; rows without a medium get nulls."""
        stored = [name for name in self.scorer.reads if name != MEDIA and "." not in name]
        places = PLACES if MEDIA in self.scorer.reads else ()
        columns = list(dict.fromkeys(["key", "outcome", *stored, *places]))
        table = read_parquet(work.dataset, f"raw/{part.id}.parquet", columns)
        fetched = pc.equal(table.column("outcome"), Status.SUCCESS.value)
        rows = table.select([*stored, *(name for name in places if name not in stored)])
        for name in self.scorer.reads:
            if "." in name:
                rows = rows.append_column(name, _embedded(work, part.id, name))
        files, scored = self._score(part, work, rows.filter(fetched), fetched.to_numpy())
        facts_of_part = pa.table({"key": table.column("key")} | _spread(scored, fetched))
        local = local_parquet(work.scratch, "scores.parquet", facts_of_part)
        files = {f"scores/{self.scorer.name}/{part.id}.parquet": local, **files}
        facts = getattr(self.scorer, "facts", {})
        return Made(files, table.num_rows, table.num_rows, {"scored": scored.num_rows}, facts)

    def _score(
        self, part: Part, work: Workspace, rows: pa.Table, fetched: np.ndarray
    ) -> tuple[Mapping[str, Path], pa.Table]:
        """The scores of `rows`, those of the part where `fetched`, and the files of their embeddings."""
        embeds: Mapping[str, int] = getattr(self.scorer, "embeds", {})
        local = {which: work.scratch / f"{which}.npy" for which in embeds}
        found = [self.scorer.writes.empty_table()]
        at, start = np.flatnonzero(fetched), 0
        with ExitStack() as stack:
            npy = {
                which: stack.enter_context(NpyRows(local[which], len(fetched), width))
                for which, width in embeds.items()
            }
            for batch in self._batches(part, work, rows):
                scored = self.scorer(batch)
                place = at[start : start + scored.num_rows]
                for which, file in npy.items():
                    file.put(place, as_matrix(scored.column(which)))
                found.append(scored.select(self.scorer.writes.names).cast(self.scorer.writes))
                start += scored.num_rows
        if start != rows.num_rows:
            raise ValueError(f"scorer {self.scorer.name} gave {start} rows for {rows.num_rows}")
        files = {embeddings_name(self.scorer.name, part.id, which): path for which, path in local.items()}
        return files, pa.concat_tables(found)

    def _batches(self, part: Part, work: Workspace, rows: pa.Table) -> Iterator[Any]:
        """What the scorer is called with: all rows at once, or batches of media."""
        if MEDIA not in self.scorer.reads:
            yield rows.select(self.scorer.reads)
            return
        max_rows = getattr(self.scorer, "batch_rows", BATCH_ROWS)
        batches = media_batches(work.dataset, f"raw/{part.id}.tar", rows, max_rows=max_rows)
        prepare = getattr(self.scorer, "prepare", None)
        yield from ahead(batches if prepare is None else map(prepare, batches))


def check_embeds(scorers: Mapping[str, Scorer], named: str, which: str, where: str) -> None:
    """Refuse a scorer that the recipe lacks, or that stores no such embeddings. Raises: RecipeError.

    Args:
        which: `image` or `text`. where: the recipe's setting, for the error.
    """
    embeds = {name for name, scorer in scorers.items() if which in getattr(scorer, "embeds", {})}
    if named not in embeds:
        raise RecipeError(
            f"{where} is {named!r}: no scorer of this recipe stores {which} embeddings under that name. "
            f"{nearest(named, embeds) or 'Add a table [score.clip] with a checkpoint.'}"
        )


def embeddings_of(scorer: Scorer, batch: pa.Table, which: str) -> np.ndarray:
    """The embeddings that a scorer which is set up gives a batch of media, [rows, width]."""
    prepare = getattr(scorer, "prepare", None)
    return as_matrix(scorer(batch if prepare is None else prepare(batch)).column(which))


def _embedded(work: Workspace, part: str, name: str) -> pa.Array:
    """The embeddings `<scorer>.<which>` of a part as a column of fixed-size lists."""
    scorer, which = name.split(".")
    return as_lists(read_embeddings(work.dataset, scorer, part, which))


def _spread(scored: pa.Table, fetched: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """The scored columns at the places where `fetched` is true, nulls elsewhere."""
    mask = fetched.combine_chunks().cast(pa.int64())
    position = pc.subtract(pc.cumulative_sum(mask), 1)
    index = pc.if_else(pc.equal(mask, 1), position, None)
    return {name: scored.column(name).take(index) for name in scored.column_names}
