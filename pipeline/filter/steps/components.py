"""Connected components of a graph that lies in many files, in bounded memory: what near-duplicates grow into.

Takes edges: committed parts of one stage, each a parquet file with the columns `node` and `other` (uint64), in any
direction, repeated or not, spread over parts in any way. Gives links, files of the same shape: one row for every node
that is not the smallest of its component, `other` being that smallest. A node that no link names stands alone, or is
the smallest of its component. Which node is linked to which depends on the graph alone.

Where the edges fit into one bucket, they are solved at once. Else rounds of two steps shrink them, each one a scatter
and a gather: `small` brings every edge to its larger node and makes stars around the smallest of what hangs together
inside the bucket, `large` brings every edge to both of its nodes and passes each larger neighbour on to the smallest.
Neither adds edges, both keep components, and the sum of all nodes named falls until nothing changes: then all
components are stars. After every step the edges may have become few enough to be solved at once.

Memory: a bucket, or the largest component where that is larger, about 100 bytes an edge.

Source: Kiveris et al. 2014, Connected Components in MapReduce and Beyond (alternating large-star and small-star).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from pipeline.commit import Commit, read_commit
from pipeline.engine import Engine
from pipeline.errors import DatasetError
from pipeline.shuffle import BUCKET_ROWS, Gather, Scatter, bucket_bits, local_parquet, read_parquet, shuffle, spread
from pipeline.stage import Made, Part, Stage, Workspace
from pipeline.store import Store

EDGES = pa.schema([("node", pa.uint64()), ("other", pa.uint64())])
"""Columns of edges, and of links."""
Side = Literal["first", "small", "large"]
"""A step; `first` is `small` on edges as they were given, which it makes fewer before they travel."""


def find_components(
    engine: Engine, name: str, edges: Mapping[str, Commit], bucket_rows: int = BUCKET_ROWS
) -> dict[str, Commit]:
    """Link every node to the smallest of its component.

    Args:
        name: prefix of the names of the stages that this takes.
        edges: commits of a stage whose parts hold edges.
        bucket_rows: edges that one worker holds at once; never changes which nodes are linked.
    Returns: part id -> commit of the stage that wrote the links.
    """
    used: set[str] = set()
    quiet = step = 0
    while quiet < 2:  # both steps have changed nothing
        rows = sum(commit.rows_out for commit in edges.values())
        if rows <= bucket_rows:
            solve = Solve(f"{name}-solve")
            used.add(solve.name)
            edges = engine.run(solve, [Part("all", _refs(edges))])
            break
        side: Side = "first" if step == 0 else "large" if step % 2 else "small"
        stage = f"{name}-{step:02d}-{side}"
        copies = 2 if side == "large" else 1
        scatter = EdgeScatter(f"{stage}-scatter", bucket_bits(copies * rows, bucket_rows), side)
        gather = EdgeGather(f"{stage}-gather", scatter, list(edges))
        used |= {scatter.name, gather.name}
        parts = [Part(part, ((commit.stage, part),)) for part, commit in edges.items()]
        edges = shuffle(engine, scatter, parts, gather)
        changed = side == "first" or any(commit.facts["changed"] for commit in edges.values())
        quiet = 0 if changed else quiet + 1
        step += 1
    for stage in engine.dataset.folders("commits"):
        if stage.startswith(f"{name}-") and stage not in used:
            engine.prune(stage, ())  # rounds of an earlier run that had more
    return dict(edges)


def read_edges(dataset: Store, stage: str, part: str) -> pa.Table:
    """The edges or links of one committed part.

    Raises: DatasetError: it is not committed.
    """
    commit = read_commit(dataset, stage, part)
    if commit is None:
        raise DatasetError(f"{dataset.url}: {stage} part {part} is not committed. Run it again.")
    return read_parquet(dataset, commit.file(".parquet"), EDGES.names)


def stars(node: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The links of the graph of these edges, sorted by node: each node but the smallest of its component, and that.

    Union-find over whole arrays: every root takes the smallest root it has an edge to as its parent, until no edge
    joins two roots.
    """
    nodes, place = np.unique(np.concatenate([node, other]), return_inverse=True)
    left, right = place[: len(node)], place[len(node) :]
    parent = np.arange(len(nodes))
    while True:
        low, high = np.minimum(parent[left], parent[right]), np.maximum(parent[left], parent[right])
        open_edges = low != high
        if not open_edges.any():
            break
        left, right = low[open_edges], high[open_edges]
        np.minimum.at(parent, right, left)
        while not np.array_equal(above := parent[parent], parent):
            parent = above
    linked = parent != np.arange(len(nodes))  # places are in the order of nodes, so the smallest place is a root
    return nodes[linked], nodes[parent[linked]]


def first_of_pair(node: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where a pair differs from the one before it; sorted pairs are then each named once."""
    new = np.ones(len(node), bool)
    new[1:] = (node[1:] != node[:-1]) | (other[1:] != other[:-1])
    return new


class EdgeScatter(Scatter):
    """Sends each edge of a part to its larger node, or to both of its nodes (`large`)."""

    version: ClassVar[int] = 1
    ties: ClassVar[tuple[str, ...]] = ("node", "other")

    def __init__(self, name: str, bits: int, side: Side) -> None:
        super().__init__(bits)
        self.name, self.side = name, side  # type: ignore[misc]

    def settings(self) -> Any:
        """How many buckets, and to which nodes edges go."""
        return {"bits": self.bits, "side": self.side}

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """`node` is where the edge goes."""
        table = read_edges(work.dataset, *part.inputs[0])
        node, other = table.column("node").to_numpy(), table.column("other").to_numpy()
        if self.side == "first":
            node, other = stars(node, other)
        elif self.side == "large":
            node, other = np.concatenate([node, other]), np.concatenate([other, node])
        return pa.table({"order": spread(node), "node": node, "other": other})


class EdgeGather(Gather):
    """Makes fewer and lower edges of those that met. The fact `changed` says whether any became another."""

    version: ClassVar[int] = 1

    def __init__(self, name: str, scatter: EdgeScatter, parts: list[str]) -> None:
        super().__init__(scatter, parts)
        self.name, self.side = name, scatter.side  # type: ignore[misc]

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """The edges after the step, sorted."""
        node, other = _distinct(table.column("node").to_numpy(), table.column("other").to_numpy())
        made_of, made = (node, other), stars(node, other)
        if self.side == "large":
            below = other < node
            first = np.flatnonzero(np.append(True, node[1:] != node[:-1])[: len(node)])
            # edges are sorted, so the first of a node names its smallest neighbour
            lowest = np.repeat(np.minimum(other[first], node[first]), np.diff(np.append(first, len(node))))
            made_of = (other[~below], node[~below])
            made = (other[~below], lowest[~below])
        changed = len(made[0]) != len(made_of[0]) or not all(map(np.array_equal, made, made_of))
        made = _distinct(*made)
        return pa.table({"node": made[0], "other": made[1]}, schema=EDGES), {"changed": changed}


class Solve(Stage):
    """All edges at once. Part: `all`, inputs = every part of the edges."""

    version: ClassVar[int] = 1

    def __init__(self, name: str) -> None:
        self.name = name

    def make(self, part: Part, work: Workspace) -> Made:
        """Write the links of the whole graph."""
        table = pa.concat_tables([EDGES.empty_table(), *(read_edges(work.dataset, *ref) for ref in part.inputs)])
        node, other = stars(table.column("node").to_numpy(), table.column("other").to_numpy())
        links = pa.table({"node": node, "other": other}, schema=EDGES)
        local = local_parquet(work.scratch, "links.parquet", links)
        return Made({f"shuffle/{self.name}/links.parquet": local}, table.num_rows, links.num_rows)


def _refs(edges: Mapping[str, Commit]) -> tuple[tuple[str, str], ...]:
    return tuple((commit.stage, part) for part, commit in edges.items())


def _distinct(node: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges without repeats, sorted by node and other."""
    order = np.lexsort((other, node))
    node, other = node[order], other[order]
    new = first_of_pair(node, other)
    return node[new], other[new]
