"""From links between values to facts on rows: the cluster of each row, its copies, and its rank among them.

Takes rows that carry a value (`node`, such as a hash), and links between such values (components.py). Rows with the
same value, or with values of one component, are a cluster, named by the smallest value of the component. Gives the
columns `cluster` (uint64), `copies` (rows of the cluster, this one included) and `rank` (0 for the one to keep: the
least `prefer`, then the first by key), in `scores/<step>/00042.parquet`.

    raw parts --NodeScatter--+                                                       scores/<step>/00042.parquet
                             +--ClusterJoin--> ClusterScatter --> ClusterRank ------StepFacts--^
    links ------LinkScatter--+
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.ranges import ranged
from pipeline.filter.steps.components import read_edges
from pipeline.filter.steps.facts import StepFacts
from pipeline.filter.steps.groups import groups
from pipeline.shuffle import BUCKET_ROWS, Gather, Scatter, bucket_bits, read_bucket, read_gathered, shuffle, spread
from pipeline.stage import Made, Part, Workspace

COLUMNS = pa.schema([("cluster", pa.uint64()), ranged("copies", pa.int64(), 1), ranged("rank", pa.int64(), 0)])
"""`cluster` is null where a row had no value to compare; such a row is alone, and kept. All are null where nothing was
fetched."""


def node_rows(part: str, rows: np.ndarray, keys: pa.Array, nodes: np.ndarray, prefer: np.ndarray) -> pa.Table:
    """The rows of a NodeScatter: `rows` are row numbers of the raw part, `prefer` int64, the least one kept."""
    return pa.table(
        {
            "order": spread(nodes),
            "key": keys,
            "part": pa.array(np.full(len(rows), part), pa.string()),
            "row": pa.array(rows, pa.int64()),
            "node": pa.array(nodes, pa.uint64()),
            "prefer": pa.array(prefer, pa.int64()),
        }
    )


def cluster_rows(
    engine: Engine,
    step: str,
    rows: Scatter,
    scattered: Sequence[Part],
    links: Mapping[str, Commit],
    bucket_rows: int = BUCKET_ROWS,
) -> tuple[StepFacts, list[Part]]:
    """Join rows with links, and rank them; returns the stage that writes facts back and its parts, to be run.

    Args:
        step: name of the table under `scores/`, and prefix of the stages.
        rows: a scatter of `node_rows`, already run over `scattered`.
        links: what `find_components` gave.
    """
    to_nodes = LinkScatter(f"{step}-links", rows.bits)
    link_parts = [Part(part, ((commit.stage, part),)) for part, commit in links.items()]
    engine.prune(to_nodes.name, engine.run(to_nodes, link_parts))
    parts = [part.id for part in scattered]
    join = ClusterJoin(f"{step}-join", rows, parts, to_nodes, list(links))
    joined = engine.run(join, join.buckets())
    engine.prune(join.name, joined)
    num_rows = sum(commit.rows_out for commit in joined.values())
    scatter = ClusterScatter(f"{step}-clusters", bucket_bits(num_rows, bucket_rows))
    rank = ClusterRank(f"{step}-rank", scatter, list(joined))
    ranked = shuffle(engine, scatter, [Part(bucket, ((join.name, bucket),)) for bucket in joined], rank)
    facts = StepFacts(step, rank, COLUMNS, {"cluster": None, "copies": 1, "rank": 0})
    return facts, facts.parts(dict.fromkeys(parts), ranked)


class LinkScatter(Scatter):
    """Sends each link to the bucket of the rows that carry its node."""

    version: ClassVar[int] = 1
    ties: ClassVar[tuple[str, ...]] = ("node",)

    def __init__(self, name: str, bits: int) -> None:
        super().__init__(bits)
        self.name = name  # type: ignore[misc]

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """The links of one part."""
        table = read_edges(work.dataset, *part.inputs[0])
        return table.append_column("order", pa.array(spread(table.column("node").to_numpy())))


class ClusterJoin(Gather):
    """Gives each row the name of its cluster; rows and links of a bucket meet by node."""

    version: ClassVar[int] = 1

    def __init__(
        self, name: str, rows: Scatter, parts: Sequence[str], links: LinkScatter, link_parts: Sequence[str]
    ) -> None:
        super().__init__(rows, parts)
        self.name, self.links, self.link_parts = name, links, tuple(link_parts)  # type: ignore[misc]

    def buckets(self) -> list[Part]:
        """As of any gather, with the links as further inputs."""
        more = tuple((self.links.name, part) for part in self.link_parts)
        return [Part(part.id, (*part.inputs, *more), part.facts) for part in super().buckets()]

    def make(self, part: Part, work: Workspace) -> Made:
        """Read one bucket of both, and join."""
        bucket = part.facts["bucket"]
        rows = read_bucket(work.dataset, self.scatter, self.parts, bucket)
        links = read_bucket(work.dataset, self.links, self.link_parts, bucket).sort_by("node")
        node, other = links.column("node").to_numpy(), links.column("other").to_numpy()
        wanted = rows.column("node").to_numpy()
        cluster = wanted.copy()
        if len(node):
            at = np.minimum(np.searchsorted(node, wanted), len(node) - 1)
            cluster = np.where(node[at] == wanted, other[at], wanted)
        table = rows.select(["key", "part", "row", "prefer"]).append_column("cluster", pa.array(cluster, pa.uint64()))
        return self.made(part, work, rows.num_rows, table, {})

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """Not used: `make` joins two tables."""
        raise NotImplementedError


class ClusterScatter(Scatter):
    """Sends each row to its cluster."""

    version: ClassVar[int] = 1

    def __init__(self, name: str, bits: int) -> None:
        super().__init__(bits)
        self.name = name  # type: ignore[misc]

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """The joined rows of one bucket."""
        table = read_gathered(work.dataset, *part.inputs[0])
        return table.append_column("order", pa.array(spread(table.column("cluster").to_numpy())))


class ClusterRank(Gather):
    """Ranks the rows of each cluster."""

    version: ClassVar[int] = 1
    by_part: ClassVar[bool] = True

    def __init__(self, name: str, scatter: Scatter, parts: Sequence[str]) -> None:
        super().__init__(scatter, parts)
        self.name = name  # type: ignore[misc]

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """part, row, cluster, copies and rank."""
        table = table.sort_by([(name, "ascending") for name in ("cluster", "prefer", "key", "part", "row")])
        copies, rank = groups(table, ("cluster",))
        table = table.select(["part", "row", "cluster"])
        return table.append_column("copies", pa.array(copies)).append_column("rank", pa.array(rank)), {}
