"""Balanced concepts: how surely a row stays when each concept may fill at most so many rows of the whole dataset.

MetaCLIP keeps a row if, for any entry it holds, a draw from [0, 1) falls below p = t / max(count, t), where count is
how many rows of the dataset hold the entry. Here the draw of a row and an entry is a hash of both, so that the answer
does not depend on how rows are spread over parts, and is the same in every run. Rows that hold a frequent entry are
thinned, those that hold a rare one stay.

A row stays for some t exactly if the least draw * count of its entries is below t, so that this number, `needed_t`, is
a fact that no t has decided: a recipe may choose another t in its verdict, and nothing is computed again.

    concepts of each part -> counts of each part -> counts of the dataset -> scores/balance/00042.parquet

Memory: one count per entry. Source: Xu et al. 2023 (arXiv 2309.16671), section 3.3, algorithm 1; t is 20,000 there for
400 million rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.commit import Commit, read_commit
from pipeline.engine import Engine
from pipeline.errors import DatasetError, RecipeError
from pipeline.filter.ranges import ranged
from pipeline.filter.score import Scorer
from pipeline.recipe import RecipeTable
from pipeline.shuffle import local_parquet, read_parquet, spread
from pipeline.stage import Made, Part, Stage, Workspace

NEEDS = "concepts"
"""The scorer whose matches are balanced."""
COLUMNS = pa.schema(
    [ranged("needed_t", pa.float64(), 0), ranged("keep_prob", pa.float64(), 0, 1), ("keep", pa.bool_())]
)
"""`needed_t`: the row stays for every t above it; null where it holds no entry. `keep_prob`: the chance that it stays
for the t of the recipe, whatever its key. `keep`: whether it does."""


class BalanceConfig(RecipeTable):
    """The `[score.balance]` table."""

    t: float = Field(default=20_000, gt=0)
    """Rows that an entry may have before it is thinned; of `keep` and `keep_prob` alone."""
    seed: int = 0
    """Another seed draws other rows."""


def check_balance(config: BalanceConfig, scorers: Mapping[str, Scorer]) -> None:
    """Refuse a recipe without concepts. Raises: RecipeError."""
    if NEEDS not in scorers:
        raise RecipeError(
            "score.balance balances what the scorer 'concepts' finds, which is off. "
            "Add [score.concepts] with the file of its entries to the recipe, or remove [score.balance]."
        )


class CountStage(Stage):
    """Counts the entries of one part. Part: id = raw part, inputs = its concepts."""

    name: ClassVar[str] = "balance-count"
    version: ClassVar[int] = 1

    def make(self, part: Part, work: Workspace) -> Made:
        """Write `entry, count` of the entries that occur."""
        matches = read_parquet(work.dataset, f"scores/{NEEDS}/{part.id}.parquet").column("matches")
        entries, counts = np.unique(pc.list_flatten(matches).to_numpy(), return_counts=True)
        table = pa.table({"entry": pa.array(entries, pa.int32()), "count": pa.array(counts, pa.int64())})
        name = f"shuffle/{self.name}/{part.id}.parquet"
        return Made({name: local_parquet(work.scratch, "counts.parquet", table)}, len(matches), table.num_rows)


class TotalStage(Stage):
    """Adds up the counts of all parts. Part: `all`, inputs = every count."""

    name: ClassVar[str] = "balance-total"
    version: ClassVar[int] = 1

    def make(self, part: Part, work: Workspace) -> Made:
        """Write `entry, count` of the entries that occur; one part after the other is in memory."""
        total = np.zeros(0, np.int64)
        rows = 0
        for _, counted in part.inputs:
            table = read_parquet(work.dataset, f"shuffle/{CountStage.name}/{counted}.parquet")
            entries = table.column("entry").to_numpy()
            if len(entries) and entries[-1] >= len(total):
                total = np.append(total, np.zeros(int(entries[-1]) + 1 - len(total), np.int64))
            total[entries] += table.column("count").to_numpy()
            rows += table.num_rows
        there = np.flatnonzero(total)
        table = pa.table({"entry": pa.array(there, pa.int32()), "count": total[there]})
        name = f"shuffle/{self.name}/counts.parquet"
        return Made({name: local_parquet(work.scratch, "counts.parquet", table)}, rows, table.num_rows)


class BalanceStage(Stage):
    """Draws for the rows of one part. Part: id = raw part, inputs = its concepts and the total."""

    name: ClassVar[str] = "score-balance"
    version: ClassVar[int] = 1

    def __init__(self, config: BalanceConfig) -> None:
        self.config = config

    def settings(self) -> Any:
        """t and seed."""
        return self.config.model_dump(mode="json")

    def make(self, part: Part, work: Workspace) -> Made:
        """Write COLUMNS for every row; null where nothing was scored."""
        commit = read_commit(work.dataset, TotalStage.name, "all")
        if commit is None:
            raise DatasetError(f"{work.dataset.url}: {TotalStage.name} is not committed. Run the score stage again.")
        totals = read_parquet(work.dataset, commit.file(".parquet"))
        rows = read_parquet(work.dataset, f"scores/{NEEDS}/{part.id}.parquet")
        matches = rows.column("matches").combine_chunks()
        entries = matches.flatten().to_numpy()
        sizes = pc.fill_null(pc.list_value_length(matches), 0).to_numpy()
        at = np.searchsorted(totals.column("entry").to_numpy(), entries)
        counts = totals.column("count").to_numpy()[at]
        owner = np.repeat(np.arange(len(sizes)), sizes)
        bases = np.array([row_base(key, self.config.seed) for key in rows.column("key").to_pylist()], np.uint64)
        needed = np.full(len(sizes), np.inf)
        np.minimum.at(needed, owner, draws(bases[owner], entries) * counts)
        lost = np.ones(len(sizes))
        np.multiply.at(lost, owner, 1 - self.config.t / np.maximum(counts, self.config.t))
        keep, scored = needed < self.config.t, pc.is_valid(matches).to_numpy(zero_copy_only=False)
        table = pa.table(
            {
                "key": rows.column("key"),
                "needed_t": pa.array(needed, mask=~scored | (sizes == 0)),
                "keep_prob": pa.array(1 - lost, mask=~scored),
                "keep": pa.array(keep, mask=~scored),
            }
        )
        local = local_parquet(work.scratch, "scores.parquet", table)
        counted = {"balanced_away": int((scored & ~keep).sum())}
        return Made({f"scores/balance/{part.id}.parquet": local}, len(sizes), len(sizes), counted)


def balance(engine: Engine, config: BalanceConfig, fetched: Mapping[str, Commit]) -> tuple[BalanceStage, list[Part]]:
    """Count the entries of all parts; returns the stage that draws and its parts, to be run. Needs the concepts."""
    count = CountStage()
    counted = engine.run(count, [Part(part, ((f"score-{NEEDS}", part),)) for part in fetched])
    engine.prune(count.name, counted)
    engine.run(TotalStage(), [Part("all", tuple((count.name, part) for part in counted))])
    return BalanceStage(config), [Part(part, ((f"score-{NEEDS}", part), (TotalStage.name, "all"))) for part in fetched]


def row_base(key: str, seed: int) -> int:
    """64 bits of a row, from which its draws come."""
    digest = hashlib.blake2b(f"balance {seed}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def draws(bases: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each pair of a row's base and an entry: the entry's place in the row's splitmix64 stream.

    Source: Steele et al. 2014, Fast Splittable Pseudorandom Number Generators.
    """
    with np.errstate(over="ignore"):
        drawn = spread(bases + (entries.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    return (drawn >> np.uint64(11)).astype(np.float64) / 2**53
