"""A small world, curated once; and the same with scores that scorers of other names would have left."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.quickstart.run import local_web_settings
from cluster.quickstart.web import LocalWeb, Page
from cluster.quickstart.world import World, draw_world
from pipeline.commit import publish, read_commits
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import EngineConfig
from pipeline.recipe import load
from pipeline.stage import Made
from pipeline.store import Store

EVIL = '<script>alert("x")</script> & "quotes" \u202eright to left http://me:CANARY@evil.example/p?sig=CANARY'
SETTINGS = ["ingest.partition_rows=20"]


@pytest.fixture(scope="session")
def curated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    world = draw_world(40, 2)
    rows = [(f"{EVIL} {caption}" if i % 3 == 0 else caption, path) for i, (caption, path) in enumerate(world.rows)]
    secret = "scene/000000.jpg?sig=CANARY"
    long = f"מילה {'long ' * 20_000}"
    rows += [("one more picture here", secret), (long, rows[3][1]), (long, rows[3][1])]
    world = World(rows, {**world.pages, secret: Page(b"")}, world.planted)
    with LocalWeb(world.pages) as web:
        world.write_list(folder / "list.tsv", web.url)
        paths = [f"dataset={folder / 'ds'}", f"source.path={folder / 'list.tsv'}"]
        recipe = load(DatasetRecipe, "quickstart", [*paths, *local_web_settings(web), *SETTINGS], package="pipeline")
        return curate(recipe, EngineConfig(place="process"))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    records = [{"step": step, "loss": 5.0 / step, "lr": 1e-3, "samples_per_s": 100.0} for step in range(1, 30)]
    records.append({"step": 29, "eval": {"image_to_text_r10": 0.25, "image_to_text_r10_chance": 0.02}})
    lines = [json.dumps(record) for record in records] + ['{"step": 30, "lo']
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "lineage.json").write_text(json.dumps({"manifest_sha256": "0" * 64, "url": "ds", "split": "train"}))
    return folder


@pytest.fixture
def scored(curated, tmp_path):
    """A copy of the dataset with scores of a language, a similarity, near duplicates, and a name nobody knows."""
    shutil.copytree(curated.dataset, tmp_path / "scored")
    dataset = Store(str(tmp_path / "scored"))
    commits = read_commits(dataset, "fetch")
    rng = np.random.default_rng(0)
    start = 0
    for part, commit in commits.items():
        raw = pq.read_table(dataset.local_path(commit.file(".parquet")), columns=["key", "outcome"])
        rows, keys = raw.num_rows, raw.column("key")
        gone = np.array([outcome != "success" for outcome in raw.column("outcome").to_pylist()])
        number = np.arange(start, start + rows)
        start += rows
        near = {
            "cluster": pa.array((number // 5).astype(np.uint64), mask=gone),
            "copies": pa.array(np.full(rows, 5), mask=gone),
            "rank": pa.array(number % 5, mask=gone),
        }
        similarity = rng.normal(0.25, 0.08, rows).astype(np.float32)
        similarity[::7] = np.nan
        scores = {
            "language": {"lang": pa.array(np.array(["en", "he", "<b>"])[number % 3], mask=gone)},
            "near_duplicates": near,
            "semantic": {
                "cluster": pa.array(number // 30, mask=gone),
                "distance": pa.array(((number * 37) % 100 / 100).astype(np.float32), mask=gone),
            },
            "clip_own": {"similarity": pa.array(similarity, mask=gone)},
            "odd": {
                "spread": pa.array(10.0 ** rng.uniform(-3, 5, rows), mask=gone),
                "nothing": pa.nulls(rows, pa.float32()),
                "hash": pa.array(number.astype(np.uint64), mask=gone),
                "list": pa.array([[1, 2]] * rows),
                "free": pa.array([f"{EVIL} {n}" for n in number]),
            },
        }
        for name, columns in scores.items():
            local = tmp_path / f"{name}.parquet"
            pq.write_table(pa.table({"key": keys} | columns), local)
            made = Made({f"scores/{name}/{part}.parquet": local}, rows, rows)
            publish(dataset, f"score-{name}", part, "by hand", made)
    return dataset
