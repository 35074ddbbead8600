"""Semantic duplicates: scorers that give each row a cluster and its `distance` to the nearest row ranked before it.

Such clusters are regions of embeddings, mostly of rows that are no duplicates. Shown are those with the most rows
nearer than the verdict's bound (0.05 where it has none), and of each the nearest rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.report.clusters import MEMBERS, Family, MemberSurvey
from cluster.report.columns import ScoreColumn, is_cluster
from cluster.report.folder import Folder
from cluster.report.gallery import Budget, figure, gallery
from cluster.report.part import PartView, walk
from cluster.report.rules import RuleView
from cluster.report.sample import read_samples
from cluster.report.section import table
from cluster.report.tally import Tally
from cluster.report.words import number, shown

EPS = 0.05
CLUSTERS_SHOWN = 4
MOST_CLUSTERS = 1_000_000
"""Beyond, clusters with the fewest near rows are let go, and their rows counted together."""


@dataclass(frozen=True)
class Region:
    """A scorer with a cluster and a distance, and the bound that the verdict sets."""

    family: Family
    eps: float


def regions_of(columns: Sequence[ScoreColumn], rules: Sequence[RuleView]) -> list[Region]:
    """The scorers that tell of neighbours."""
    bounds = {line.column: line.number for rule in rules for line in rule.lines if line.mark in (">=", ">")}
    names = {column.full for column in columns}
    found = []
    for column in columns:
        distance = f"{column.scorer}.distance"
        if is_cluster(column.name) and distance in names and f"{column.scorer}.copies" not in names:
            family = Family(column.scorer, "", "distance", column.name)
            found.append(Region(family, bounds.get(distance, EPS)))
    return found


class NeighbourSurvey:
    """Rows, and rows nearer than the bound, per cluster."""

    def __init__(self, regions: Sequence[Region], names: Mapping[str, Sequence[str]]) -> None:
        self.regions, self.names = regions, names
        self.clusters = {region: Tally(("near", "rows"), MOST_CLUSTERS) for region in regions}

    def of(self, part: PartView) -> dict[Region, pa.Table]:
        """Counts of one part, a row per row."""
        found = {region: self._of_region(part, region) for region in self.regions}
        return {region: counts for region, counts in found.items() if counts is not None}

    def _of_region(self, part: PartView, region: Region) -> pa.Table | None:
        scores = part.scores(region.family.scorer, self.names[region.family.scorer])
        if scores is None or not {region.family.shared, "distance"} <= set(scores.column_names):
            return None
        distance = scores.column("distance")  # compared in its own precision, as verdicts do
        near = pc.fill_null(pc.less(distance, pa.scalar(region.eps, distance.type)), False).cast(pa.int64())
        one = pa.array(np.ones(part.rows, np.int64))
        counted = pa.table({"name": scores.column(region.family.shared), "near": near, "rows": one})
        return counted.filter(pc.is_valid(counted.column("name")))

    def add(self, found: dict[Region, pa.Table]) -> None:
        """Take in a part."""
        for region, counts in found.items():
            self.clusters[region].add(counts)


def neighbour_blocks(folder: Folder, survey: NeighbourSurvey, budget: Budget) -> str:
    """The numbers of each scorer, and the nearest rows of a few clusters."""
    blocks = []
    for region, clusters in survey.clusters.items():
        family = region.family
        ranked, (near, whole) = clusters.ranked(), clusters.whole().tolist()
        chosen = [row for row in ranked.slice(0, CLUSTERS_SHOWN).to_pylist() if row["near"]]
        rows = [("clusters of embeddings", ranked.num_rows + clusters.num_let_go), ("rows in them", whole),
                (f"rows nearer than {number(region.eps)} to one before them", near)]  # fmt: skip
        blocks.append(
            f"<h3>{shown(family.scorer, 80)}</h3>{table(('of this kind', 'number'), rows, name=family.scorer)}"
        )
        if chosen:
            members = MemberSurvey(family, [row["name"] for row in chosen])
            walk(folder, [members], columns=("key", "outcome"))
            drawn = "".join(_cluster(folder, members, row, budget) for row in chosen)
            blocks.append(f'<div class="clusters">{drawn}</div>')
    return "".join(blocks)


def _cluster(folder: Folder, members: MemberSurvey, counts: Mapping[str, Any], budget: Budget) -> str:
    nearest = members.members[counts["name"]]
    samples = read_samples(folder, [place for _, place, _ in nearest])
    figures = []
    for distance, place, fate in nearest:
        if place in samples:
            tone, word = (
                ("kept", "kept") if fate == "kept" else ("left", "dropped") if fate else ("other", "not judged")
            )
            told = {"distance": distance} | ({"dropped by": fate} if word == "dropped" else {})
            mark = f'<span class="mark {tone}">{word}</span>'
            figures.append(figure(replace(samples[place], scores=told), tuple(told), budget, mark))
    head = f"{counts['rows']:,} rows, {counts['near']:,} of them near another; the nearest {min(MEMBERS, len(figures))}"
    return f'<div class="cluster"><p class="soft">{head}</p>{gallery(figures)}</div>'
