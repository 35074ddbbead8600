"""Connected components against a union-find by the book, under any spread over parts and any bucket size."""

import itertools
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.commit import publish
from pipeline.engine import Engine, EngineConfig
from pipeline.filter.steps.components import EDGES, find_components, read_edges, stars
from pipeline.stage import Made
from pipeline.store import Store

NODES = st.one_of(st.integers(0, 12), st.integers(0, 2**64 - 1))
EDGE_LISTS = st.lists(st.tuples(NODES, NODES), max_size=30)


def union_find(edges):
    """Node -> smallest of its component, for every node that is not the smallest."""
    parent = {}

    def root(node):
        parent.setdefault(node, node)
        while parent[node] != node:
            node = parent[node]
        return node

    for left, right in edges:
        left, right = root(left), root(right)
        parent[max(left, right)] = min(left, right)
    return {node: root(node) for node in parent if root(node) != node}


@pytest.fixture
def solved(tmp_path_factory):
    """Call with lists of edges, one per part, and a bucket size; gives the links and the engine and commits behind."""

    def run(parts, bucket_rows, folder=None):
        folder = folder or tmp_path_factory.mktemp("graph")
        dataset = Store(str(folder / "ds"))
        commits = {}
        for number, edges in enumerate(parts):
            nodes = np.array(edges, np.uint64).reshape(-1, 2)
            table = pa.table({"node": nodes[:, 0], "other": nodes[:, 1]}, schema=EDGES)
            part, local = f"{number:05d}", folder / "edges.parquet"
            pq.write_table(table, local)
            made = Made({f"edges/{part}.parquet": local}, len(edges), len(edges))
            commits[part] = publish(dataset, "edges", part, f"by hand {edges}", made)
        engine = Engine(dataset, EngineConfig(place="process", workers=2))
        links = find_components(engine, "cc", commits, bucket_rows)
        tables = [read_edges(dataset, commit.stage, part) for part, commit in links.items()]
        found = [pair for table in tables for pair in zip(*map(list, table.to_pydict().values()), strict=True)]
        assert len(found) == len(dict(found)), "a node is linked twice"
        return dict(found), engine, commits

    return run


@settings(max_examples=200, deadline=None)
@given(EDGE_LISTS)
def test_stars_are_what_union_find_says(edges):
    pairs = np.array(edges, np.uint64).reshape(-1, 2)
    node, other = stars(pairs[:, 0], pairs[:, 1])
    assert dict(zip(node.tolist(), other.tolist(), strict=True)) == union_find(edges)
    assert node.tolist() == sorted(node.tolist())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDGE_LISTS, st.integers(1, 4), st.sampled_from([1, 3, 8, 1000]))
def test_rounds_are_what_union_find_says(solved, edges, num_parts, bucket_rows):
    parts = [edges[i::num_parts] for i in range(num_parts)]
    assert solved(parts, bucket_rows)[0] == union_find(edges)


def shuffled_chain(length, seed):
    nodes = list(range(length))
    random.Random(seed).shuffle(nodes)
    return list(itertools.pairwise(nodes))


SHAPES = {
    "chain": [(i, i + 1) for i in range(100)],
    "chain, shuffled": shuffled_chain(100, 1),
    "star, centre smallest": [(0, i) for i in range(1, 100)],
    "star, centre largest": [(1000, i) for i in range(100)],
    "clique": [(i, j) for i in range(20) for j in range(i)],
    "two chains joined at their ends": [*shuffled_chain(60, 2), *[(i + 200, i + 201) for i in range(59)], (259, 7)],
    "many pairs": [(2 * i + 1, 2 * i) for i in range(100)],
    "loops alone": [(5, 5), (6, 6)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_that_are_hard(solved, shape):
    edges = list(SHAPES[shape])
    random.Random(0).shuffle(edges)
    wanted = union_find(edges)
    for num_parts, bucket_rows in ((1, 10_000), (3, 50)):
        assert solved([edges[i::num_parts] for i in range(num_parts)], bucket_rows)[0] == wanted


def test_rounds_are_few_and_a_rerun_does_nothing(solved, tmp_path):
    edges = shuffled_chain(400, 3)
    parts = [edges[i::4] for i in range(4)]
    _, engine, commits = solved(parts, 100, tmp_path)
    steps = [stage for stage in engine.dataset.folders("commits") if stage.endswith("-gather")]
    assert 1 < len(steps) <= 16
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ds").rglob("*.json")}
    find_components(engine, "cc", commits, 100)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "ds").rglob("*.json")}


def test_steps_that_a_smaller_graph_no_longer_takes_are_removed(solved, tmp_path):
    edges = shuffled_chain(300, 4)
    solved([edges], 10, tmp_path)
    links, engine, _ = solved([edges[:50]], 1000, tmp_path)
    assert links == union_find(edges[:50])
    assert [stage for stage in engine.dataset.folders("commits") if engine.dataset.list(f"commits/{stage}")] == [
        "cc-solve", "edges",
    ]  # fmt: skip
