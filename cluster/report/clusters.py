"""Duplicate clusters: how many there are of each size, and a few of them with their members side by side.

Any scorer that has `copies` and `rank` (or `<kind>_copies` and `<kind>_rank`) is read: a cluster is counted at its row
of rank 0, so memory holds sizes and never members. Which rows belong together is told by a column `cluster`, or for
exact duplicates of a medium by its sha256.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.report.columns import ScoreColumn, is_cluster
from cluster.report.folder import Folder
from cluster.report.gallery import Budget, figure, gallery
from cluster.report.part import KEPT, UNJUDGED, PartView, walk
from cluster.report.sample import Place, read_samples
from cluster.report.section import Section, bar, share, table
from cluster.report.words import rows_of, shown

LARGEST, TYPICAL = 2, 3
"""Clusters shown of each kind: the largest, and others by their key."""
MEMBERS = 8
_SIZES = ((2, 2), (3, 3), (4, 4), (5, 9), (10, 99), (100, 999), (1_000, None))
_BY_RECORD = {"medium": "sha256"}
"""Kind of exact duplicate -> the column of the record that its rows share."""


@dataclass(frozen=True)
class Family:
    """A kind of cluster: its scorer, and the columns that tell of it."""

    scorer: str
    copies: str
    rank: str
    shared: str | None
    """The column that members share: of the scorer, or `record.<column>`."""

    @property
    def title(self) -> str:
        """What it is called on the page."""
        kind = self.copies.removesuffix("copies").strip("_")
        return f"{self.scorer}: same {kind}" if kind else self.scorer


@dataclass(frozen=True)
class Chosen:
    """A cluster to show: its size, its order by key, and what its members share."""

    copies: int
    order: str
    shared: Any


def families_of(columns: Sequence[ScoreColumn]) -> list[Family]:
    """The kinds of clusters that the scorers tell of."""
    names = {(column.scorer, column.name) for column in columns}
    found = []
    for column in columns:
        rank = f"{column.name.removesuffix('copies')}rank"
        if not column.name.endswith("copies") or (column.scorer, rank) not in names:
            continue
        kind = column.name.removesuffix("copies").strip("_")
        own = [name for scorer, name in sorted(names) if scorer == column.scorer and is_cluster(name)]
        named = [name for name in own if not kind or name.startswith(kind)]
        shared = named[0] if named else f"record.{_BY_RECORD[kind]}" if kind in _BY_RECORD else None
        found.append(Family(column.scorer, column.name, rank, shared))
    return found


class ClusterSurvey:
    """Sizes of the clusters of each family, and a few of them to show."""

    def __init__(self, families: Sequence[Family], names: Mapping[str, Sequence[str]]) -> None:
        self.families, self.names = families, names
        self.sizes: dict[Family, Counter[int]] = {family: Counter() for family in families}
        self.largest: dict[Family, list[Chosen]] = {family: [] for family in families}
        self.typical: dict[Family, list[Chosen]] = {family: [] for family in families}

    def of(self, part: PartView) -> dict[Family, tuple[Counter[int], list[Chosen]]]:
        """The clusters whose first row lies in this part."""
        return {family: self._of_family(part, family) for family in self.families}

    def _of_family(self, part: PartView, family: Family) -> tuple[Counter[int], list[Chosen]]:
        scores = part.scores(family.scorer, self.names[family.scorer])
        if scores is None or not {family.copies, family.rank} <= set(scores.column_names):
            return Counter(), []
        copies, rank = (pc.fill_null(scores.column(name), 1) for name in (family.copies, family.rank))
        first = pc.and_(pc.equal(rank, 0), pc.greater(copies, 1))
        rows = np.flatnonzero(first.to_numpy())
        sizes = copies.to_numpy()[rows]
        values, counts = np.unique(sizes, return_counts=True)
        tallied = Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        shared = _shared(part, family, scores)
        if shared is None or not len(rows):
            return tallied, []
        at = pa.array(rows)
        orders = pc.utf8_slice_codeunits(part.raw.column("key").take(at), 8, 24).to_pylist()
        found = list(map(Chosen, sizes.tolist(), orders, shared.take(at).to_pylist()))
        largest, typical = _largest(found), _typical(found)
        return tallied, list(dict.fromkeys([*largest, *typical]))

    def add(self, found: dict[Family, tuple[Counter[int], list[Chosen]]]) -> None:
        """Take in a part."""
        for family, (sizes, chosen) in found.items():
            self.sizes[family].update(sizes)
            self.largest[family] = _largest(self.largest[family] + chosen)
            self.typical[family] = _typical(self.typical[family] + chosen)

    def chosen(self, family: Family) -> list[Chosen]:
        """The clusters to show, the largest first."""
        others = [item for item in self.typical[family] if item not in self.largest[family]]
        return self.largest[family] + sorted(others[:TYPICAL], key=lambda item: (-item.copies, item.order))


class MemberSurvey:
    """The rows of chosen clusters, by rank."""

    def __init__(self, family: Family, wanted: Sequence[Any]) -> None:
        """`wanted`: what the members of each cluster share."""
        self.family, self.wanted = family, list(wanted)
        self.members: dict[Any, list[tuple[int, Place, str]]] = {value: [] for value in self.wanted}

    def of(self, part: PartView) -> list[tuple[Any, int, Place, str]]:
        """(what is shared, rank, place, what became of it) of one part."""
        own = [] if (self.family.shared or "").startswith("record.") else [self.family.shared or ""]
        scores = part.scores(self.family.scorer, [self.family.rank, *own])
        shared = None if scores is None else _shared(part, self.family, scores)
        if scores is None or shared is None:
            return []
        within = pc.is_in(shared, pa.array(self.wanted, shared.type))
        within = pc.and_(within, pc.is_valid(scores.column(self.family.rank)))
        rows = np.flatnonzero(pc.fill_null(within, False).to_numpy())
        at = pa.array(rows)
        facts = (shared, scores.column(self.family.rank), part.raw.column("key"), part.dropped_by)
        columns = (column.take(at).to_pylist() for column in facts)
        found = []
        for row, value, rank, key, reason in zip(rows.tolist(), *columns, strict=True):
            fate = {KEPT: "kept", UNJUDGED: ""}.get(int(part.tone[row]), reason or "")
            found.append((value, rank, Place(key[8:24], key, part.id, row), fate))
        return found

    def add(self, found: list[tuple[Any, int, Place, str]]) -> None:
        """Take in a part."""
        for value, rank, place, fate in found:
            self.members[value] = sorted([*self.members[value], (rank, place, fate)])[:MEMBERS]


def cluster_section(folder: Folder, survey: ClusterSurvey, budget: Budget, more: str) -> Section:
    """Sizes, then clusters with their members; `more` is HTML of other kinds of duplicates."""
    blocks = []
    for family in survey.families:
        sizes = survey.sizes[family]
        blocks.append(f"<h3>{shown(family.title, 80)}</h3>")
        if not sizes:
            blocks.append("<p>No two rows belong together.</p>")
            continue
        blocks.append(_sizes(sizes, family.title))
        chosen = survey.chosen(family)
        if chosen:
            members = MemberSurvey(family, [item.shared for item in chosen])
            walk(folder, [members], columns=("key", "outcome", "sha256"))
            drawn = "".join(_cluster(folder, item, members.members[item.shared], budget) for item in chosen)
            blocks.append(f'<div class="clusters">{drawn}</div>')
    if not blocks and not more:
        blocks = ["<p>No scorer of duplicates has run yet.</p>"]
    lead = "Rows that belong together, first the one of rank 0, which stands for them."
    return Section("Duplicates", lead, "".join(blocks) + more)


def _cluster(folder: Folder, item: Chosen, members: Sequence[tuple[int, Place, str]], budget: Budget) -> str:
    samples = read_samples(folder, [place for _, place, _ in members])
    figures = []
    for rank, place, fate in members:
        if place in samples:
            tone = "kept" if fate == "kept" else "left" if fate else "other"
            word = "kept" if fate == "kept" else "dropped" if fate else f"rank {rank}"
            mark = f'<span class="mark {tone}">{word}</span>'
            sample = replace(samples[place], scores={"dropped by": fate} if word == "dropped" else {})
            figures.append(figure(sample, ("dropped by",), budget, mark))
    more = item.copies - len(figures)
    rest = f"; {more:,} more not shown" if more > 0 else ""
    head = html.escape(f"{rows_of(item.copies)}{rest}")
    return f'<div class="cluster"><p class="soft">{head}</p>{gallery(figures)}</div>'


def _sizes(sizes: Counter[int], name: str) -> str:
    whole = sum(size * number for size, number in sizes.items())
    num_clusters = sum(sizes.values())
    rows = []
    for low, high in _SIZES:
        within = {size: number for size, number in sizes.items() if size >= low and (high is None or size <= high)}
        if within:
            of_rows = sum(size * number for size, number in within.items())
            label = f"{low:,}" if low == high else f"{low:,} and more" if high is None else f"{low:,} to {high:,}"
            rows.append((label, sum(within.values()), of_rows, share(of_rows, whole), bar(0, of_rows, whole)))
    rows.append(("all", num_clusters, whole, share(whole, whole), ""))
    spare = f"All but the first of each cluster: {rows_of(whole - num_clusters)}; the largest has {max(sizes):,}."
    drawn = table(("rows in a cluster", "clusters", "rows", "share", ""), rows, name=name)
    return f'{drawn}<p class="lead">{spare}</p>'


def _shared(part: PartView, family: Family, scores: pa.Table) -> pa.ChunkedArray | None:
    shared = family.shared or ""
    source = part.raw if shared.startswith("record.") else scores
    name = shared.removeprefix("record.")
    return source.column(name) if name in source.column_names else None


def _largest(chosen: Sequence[Chosen]) -> list[Chosen]:
    return sorted(chosen, key=lambda item: (-item.copies, item.order))[:LARGEST]


def _typical(chosen: Sequence[Chosen]) -> list[Chosen]:
    return sorted(chosen, key=lambda item: (item.order, item.copies))[: LARGEST + TYPICAL]
