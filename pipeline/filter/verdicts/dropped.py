"""A sample of the rows that a rule dropped, with what the rule was about: to judge the rule by.

The sample is the rows whose keys hash lowest, so it is the same however the dataset is cut into parts, and keeps its
rows when others come. Memory holds the sample and one part.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import Commit, read_commits
from pipeline.errors import AskedWrongly, nearest
from pipeline.record import key_fraction
from pipeline.shuffle import read_parquet
from pipeline.store import Store

_RECORD = ["key", "url", "caption", "outcome", "detail", "original_width", "original_height", "bytes"]
_SALT = "dropped"


def sample_dropped(dataset: Store, reason: str, rows: int) -> list[dict[str, Any]]:
    """Up to `rows` rows that were dropped by `reason`, each with its part, record and the scores beside it.

    Raises: AskedWrongly: nothing is judged yet, or nothing was dropped by that reason.
    """
    judged = read_commits(dataset, "judge")
    if not judged:
        raise AskedWrongly(f"{dataset.url}: nothing is judged yet. Run `pairmill judge` with its recipe first.")
    tally: Counter[str] = Counter()
    for commit in judged.values():
        tally.update(commit.counts)
    if not tally[reason]:
        raise AskedWrongly(f"{dataset.url}: no row was dropped by {reason!r}. {nearest(reason, tally)}")
    chosen = heapq.nsmallest(rows, _candidates(dataset, judged, reason))
    by_part: dict[str, dict[int, str]] = {}
    for _, key, part, row in chosen:
        by_part.setdefault(part, {})[row] = key
    scorers = [stage.removeprefix("score-") for stage in dataset.folders("commits") if stage.startswith("score-")]
    found = {
        key: values
        for part, places in by_part.items()
        for key, values in zip(places.values(), _rows(dataset, part, list(places), scorers), strict=True)
    }
    return [found[key] for _, key, _, _ in chosen]


def _candidates(dataset: Store, judged: dict[str, Commit], reason: str) -> Iterator[tuple[float, str, str, int]]:
    """(place in the sample, key, part, row) of every row that the reason dropped."""
    for part, commit in judged.items():
        if not commit.counts.get(reason):
            continue
        verdict = read_parquet(dataset, commit.file(".parquet"), ["key", "dropped_by"])
        places = pc.indices_nonzero(pc.fill_null(pc.equal(verdict.column("dropped_by"), reason), False))
        keys = verdict.column("key").take(places)
        for row, key in zip(places.to_pylist(), keys.to_pylist(), strict=True):
            yield key_fraction(key, _SALT), key, part, row


def _rows(dataset: Store, part: str, places: list[int], scorers: Collection[str]) -> list[dict[str, Any]]:
    """The record and all scores of some rows of a part; what a scorer did not write there is left out."""
    at = pa.array(places)
    found: list[dict[str, Any]] = [{"part": part} for _ in places]
    for table in ("record", *scorers):
        name = f"raw/{part}.parquet" if table == "record" else f"scores/{table}/{part}.parquet"
        if not dataset.exists(name):
            continue
        with dataset.open(name) as stream:
            file = pq.ParquetFile(stream)
            own = [column for column in file.schema_arrow.names if column != "key"]
            read = file.read(columns=_RECORD if table == "record" else own)
        for values, row in zip(found, read.take(at).to_pylist(), strict=True):
            values.update(row if table == "record" else {f"{table}.{column}": row[column] for column in own})
    return found
