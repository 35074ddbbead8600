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
from cluster.report.part import PartView, merge, walk
from cluster.report.rules import RuleView
from cluster.report.sample import read_samples
from cluster.report.section import table
from cluster.report.words import number, shown

EPS = 0.05
CLUSTERS_SHOWN = 4
MOST_CLUSTERS = 1_000_000
"""So many clusters are counted; where there are more, those that come later are not."""


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
        self.clusters: dict[Region, dict[Any, np.ndarray]] = {region: {} for region in regions}

    def of(self, part: PartView) -> dict[Region, dict[Any, np.ndarray]]:
        """Counts of one part."""
        return {region: self._of_region(part, region) for region in self.regions}

    def _of_region(self, part: PartView, region: Region) -> dict[Any, np.ndarray]:
        scores = part.scores(region.family.scorer, self.names[region.family.scorer])
        if scores is None or not {region.family.shared, "distance"} <= set(scores.column_names):
            return {}
        distance = scores.column("distance")  # compared in its own precision, as verdicts do
        near = pc.fill_null(pc.less(distance, pa.scalar(region.eps, distance.type)), False)
        counted = pa.table({"cluster": scores.column(region.family.shared), "near": near.cast(pa.int64())})
        counted = counted.filter(pc.is_valid(counted.column("cluster")))
        grouped = counted.group_by("cluster", use_threads=False).aggregate([("near", "count"), ("near", "sum")])
        names, rows, near_rows = (grouped.column(i).to_pylist() for i in range(3))
        return {name: np.array(pair) for name, *pair in zip(names, rows, near_rows, strict=True)}

    def add(self, found: dict[Region, dict[Any, np.ndarray]]) -> None:
        """Take in a part."""
        for region, clusters in found.items():
            into = self.clusters[region]
            if len(into) > MOST_CLUSTERS:
                clusters = {name: counts for name, counts in clusters.items() if name in into}
            merge(into, clusters)


def neighbour_blocks(folder: Folder, survey: NeighbourSurvey, budget: Budget) -> str:
    """The numbers of each scorer, and the nearest rows of a few clusters."""
    blocks = []
    for region, clusters in survey.clusters.items():
        family = region.family
        order = sorted(clusters, key=lambda name: (-int(clusters[name][1]), str(name)))
        chosen = [name for name in order[:CLUSTERS_SHOWN] if clusters[name][1]]
        whole = sum(clusters.values(), np.zeros(2, np.int64))
        rows = [("clusters of embeddings", len(clusters)), ("rows in them", int(whole[0])),
                (f"rows nearer than {number(region.eps)} to one before them", int(whole[1]))]  # fmt: skip
        blocks.append(
            f"<h3>{shown(family.scorer, 80)}</h3>{table(('of this kind', 'number'), rows, name=family.scorer)}"
        )
        if chosen:
            members = MemberSurvey(family, chosen)
            walk(folder, [members], columns=("key", "outcome"))
            drawn = "".join(_cluster(folder, members, name, clusters[name], budget) for name in chosen)
            blocks.append(f'<div class="clusters">{drawn}</div>')
    return "".join(blocks)


def _cluster(folder: Folder, members: MemberSurvey, name: Any, counts: np.ndarray, budget: Budget) -> str:
    nearest = members.members[name]
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
    head = f"{int(counts[0]):,} rows, {int(counts[1]):,} of them near another; the nearest {min(MEMBERS, len(figures))}"
    return f'<div class="cluster"><p class="soft">{head}</p>{gallery(figures)}</div>'
