"""SemDeDup against its definition by loops, on the clusters that were made; and under any spread over parts."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commit import publish
from pipeline.errors import RecipeError
from pipeline.filter.embeddings import NpyRows, embeddings_name
from pipeline.filter.steps.semantic import SemanticConfig, check_semantic, find_semantic
from pipeline.filter.steps.spherical import on_grid
from pipeline.stage import Made

WIDTH = 24


@pytest.fixture
def with_embeddings(raw_parts, tmp_path):
    """Call as raw_parts, with rows that have a `vector` or None; also commits the embeddings of `clip`."""

    def write(parts, folder):
        engine, fetched = raw_parts(parts, folder)
        for (part, commit), rows in zip(fetched.items(), parts, strict=True):
            local = tmp_path / "image.npy"
            at = [i for i, row in enumerate(rows) if row["vector"] is not None]
            with NpyRows(local, len(rows), WIDTH) as npy:
                npy.put(np.array(at), np.array([rows[i]["vector"] for i in at]).reshape(-1, WIDTH))
            made = Made({embeddings_name("clip", part, "image"): local}, len(rows), len(rows))
            publish(engine.dataset, "score-clip", part, commit.made_by, made)
        return engine, fetched

    return write


def drawn(seed, num_rows, num_centres=12, noise=0.15):
    """Rows around centres, some of them copies, near copies or without an embedding."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_centres, WIDTH))
    rows = []
    for i in range(num_rows):
        vector = centres[rng.integers(num_centres)] + noise * rng.standard_normal(WIDTH)
        if rows and rng.random() < 0.2:
            vector = rows[rng.integers(len(rows))]["vector"]
            vector = None if vector is None else vector + rng.choice([0, 0.01]) * rng.standard_normal(WIDTH)
        unit = None if vector is None or rng.random() < 0.03 else (vector / np.linalg.norm(vector)).astype(np.float16)
        outcome = "http_404" if rng.random() < 0.1 else "success"
        rows.append({"id": str(i), "vector": unit if outcome == "success" else None, "outcome": outcome})
    return rows


def run(with_embeddings, parts, folder, config):
    engine, fetched = with_embeddings(parts, folder)
    stage, todo = find_semantic(engine, config, fetched)
    engine.run(stage, todo)
    assert engine.plan(stage, todo)[1] == []
    tables = [pq.read_table(engine.dataset.path(f"scores/semantic/{part}.parquet")) for part in fetched]
    found = [row for table in tables for row in table.to_pylist()]
    vectors = [row["vector"] for part in parts for row in part]
    outcomes = [row["outcome"] for part in parts for row in part]
    return [row | {"vector": v, "outcome": o} for row, v, o in zip(found, vectors, outcomes, strict=True)]


def by_definition(rows, keep):
    """Key -> distance, by the paper: rank by cosine with the centroid, then the largest cosine with an earlier one."""
    found = {}
    for cluster in {row["cluster"] for row in rows if row["cluster"] is not None}:
        members = sorted((row for row in rows if row["cluster"] == cluster), key=lambda row: row["key"])
        first = {}
        for row in members:
            first.setdefault(row["vector"].tobytes(), row)
        distinct = list(first.values())
        grid = on_grid(np.array([row["vector"] for row in distinct])).astype(np.float64)
        centroid = on_grid((grid.sum(0) / np.linalg.norm(grid.sum(0)))[None])[0]
        cosine = {row["key"]: float(vector @ centroid) for row, vector in zip(distinct, grid, strict=True)}
        sign = {"hard": 1, "easy": -1, "random": 0}[keep]
        ranked = sorted(distinct, key=lambda row: (sign * cosine[row["key"]], row["key"]))
        for i, row in enumerate(ranked):
            near = max(
                (float(row["vector"].astype(float) @ other["vector"].astype(float)) for other in ranked[:i]), default=0
            )
            found[row["key"]] = np.float32(np.clip(1 - max(near, 0), 0, 1))
        for row in members:
            if first[row["vector"].tobytes()] is not row:
                found[row["key"]] = np.float32(0)
    return found


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
@pytest.mark.parametrize(("clusters", "cluster_rows"), [(1, 1000), (6, 20), (None, 8)])
def test_equal_to_the_definition(with_embeddings, keep, clusters, cluster_rows):
    rows = drawn(1, 150)
    config = SemanticConfig(clusters=clusters, cluster_rows=cluster_rows, keep=keep, bucket_rows=60)
    found = run(with_embeddings, [rows[:70], rows[70:]], "ds", config)
    wanted = by_definition(found, keep)
    for row in found:
        if row["outcome"] != "success":
            assert (row["cluster"], row["distance"]) == (None, None)
        elif row["vector"] is None:
            assert (row["cluster"], row["distance"]) == (None, 1)
        else:
            assert row["distance"] == wanted[row["key"]]
    sizes = np.unique([row["cluster"] for row in found if row["cluster"] is not None], return_counts=True)[1]
    assert len({v.tobytes() for v in [row["vector"] for row in found] if v is not None}) <= len(sizes) * cluster_rows


def test_the_spread_over_parts_does_not_matter(with_embeddings):
    rows = drawn(2, 200)
    config = SemanticConfig(clusters=5, cluster_rows=30, bucket_rows=50, sample_per_cluster=20)
    one = run(with_embeddings, [rows], "one", config)
    many = run(with_embeddings, [rows[i::4] for i in range(4)], "many", config.model_copy(update={"bucket_rows": 20}))

    def facts(found):
        return {row["key"]: (row["cluster"], row["distance"]) for row in found}

    assert facts(one) == facts(many)


def test_one_cluster_finds_every_planted_copy_for_any_eps(with_embeddings):
    rng = np.random.default_rng(5)
    base = rng.standard_normal((60, WIDTH))
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    near = base[:20] + 0.01 * rng.standard_normal((20, WIDTH))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    rows = [
        {"id": str(i), "vector": vector.astype(np.float16), "outcome": "success"}
        for i, vector in enumerate(np.concatenate([base, near]))
    ]
    found = run(with_embeddings, [rows], "ds", SemanticConfig(clusters=1))
    distance = np.array([row["distance"] for row in found])
    assert (distance < 0.01).sum() == 20
    assert (distance < 0.0).sum() == 0
    assert all(min(distance[i], distance[60 + i]) < 0.01 for i in range(20))


def test_a_crowd_of_equal_embeddings_is_one(with_embeddings):
    vector = np.eye(WIDTH)[0].astype(np.float16)
    rows = [{"id": str(i), "vector": vector, "outcome": "success"} for i in range(50)]
    found = run(with_embeddings, [rows], "ds", SemanticConfig(cluster_rows=4))
    assert sorted(row["distance"] for row in found) == [0] * 49 + [1]


def test_nothing_embedded(with_embeddings):
    rows = [{"id": str(i), "vector": None, "outcome": "success"} for i in range(3)]
    assert [row["distance"] for row in run(with_embeddings, [rows, []], "ds", SemanticConfig())] == [1, 1, 1]


def test_a_recipe_without_the_embeddings_is_refused():
    class Clip:
        embeds = {"image": 512}  # noqa: RUF012

    check_semantic(SemanticConfig(), {"clip": Clip()})
    with pytest.raises(RecipeError, match=r"no scorer of this recipe stores image embeddings .* Did you mean 'clip'"):
        check_semantic(SemanticConfig(scorer="clipp"), {"clip": Clip()})
    with pytest.raises(RecipeError, match=r"stores text embeddings"):
        check_semantic(SemanticConfig(which="text"), {"clip": Clip()})
    with pytest.raises(RecipeError, match=r"Add a table \[score.clip\]"):
        check_semantic(SemanticConfig(), {})
