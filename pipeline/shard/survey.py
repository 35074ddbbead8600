"""What was asked not to be taken, part by part, for the dataset card: rows by outcome and cause.

Reads the outcomes of a raw part; writes nothing but the facts of its commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow.compute as pc

from pipeline.commit import Commit
from pipeline.record import Status
from pipeline.rights import cause_of
from pipeline.shard.order import FETCH, committed
from pipeline.shuffle import read_parquet
from pipeline.stage import Made, Part, Stage, Workspace

_REFUSED = (Status.OPTED_OUT, Status.BLOCKLISTED, Status.DEFERRED)
_BY_THE_PAGE = "opted out by the page"
"""In the detail of a row whose list is a crawl: the page said so, before its media were asked for."""


class Survey(Stage):
    """Counts the refusals of one raw part."""

    name = "survey"
    version = 1

    def part(self, id: str) -> Part:
        """The descriptor of one raw part."""
        return Part(id, ((FETCH, id),))

    def make(self, part: Part, work: Workspace) -> Made:
        """Count rows by outcome and cause."""
        name = committed(work.dataset, FETCH, part.id).file(".parquet")
        table = read_parquet(work.dataset, name, ["outcome", "detail"])
        detail = table.column("detail")
        counts: Counter[tuple[str, str]] = Counter()
        for outcome in _REFUSED:
            refused = detail.filter(pc.equal(table.column("outcome"), outcome.value))
            for item in refused.value_counts().to_pylist():
                counts[outcome.value, cause_of(outcome, item["values"])] += item["counts"]
        of_page = detail.filter(pc.fill_null(pc.match_substring(detail, _BY_THE_PAGE), False))
        for item in of_page.value_counts().to_pylist():
            counts[Status.BAD_ROW.value, cause_of(Status.OPTED_OUT, item["values"])] += item["counts"]
        rows = [[outcome, cause, rows] for (outcome, cause), rows in sorted(counts.items())]
        return Made({}, len(table), sum(counts.values()), {}, {"refused": rows})


def refusals(commits: Iterable[Commit]) -> list[list[Any]]:
    """Rows of (outcome, cause, rows) over all parts, most rows first."""
    counts: Counter[tuple[str, str]] = Counter()
    for commit in commits:
        for outcome, cause, rows in commit.facts["refused"]:
            counts[outcome, cause] += rows
    return [[*what, rows] for what, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
