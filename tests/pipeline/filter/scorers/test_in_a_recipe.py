"""Image scorers in a whole recipe, from a list over real sockets to verdicts on their columns."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from cluster.quickstart.web import LocalWeb
from cluster.quickstart.world import draw_world
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import EngineConfig
from pipeline.filter.embeddings import read_embeddings
from pipeline.recipe import load
from pipeline.shard.verify import verify
from pipeline.store import Store

PROCESS = EngineConfig(place="process", workers=2)


@pytest.fixture
def recipe(tmp_path, tiny_clip):
    """Call with the rules of the verdict; gives a recipe with every scorer of images on."""
    world = draw_world(40, seed=3)
    probe = np.random.default_rng(0).normal(size=(1, 24)).astype(np.float32)
    save_file({"weight": probe, "bias": np.zeros(1, np.float32)}, tmp_path / "probe.safetensors")
    with LocalWeb(world.pages) as web:
        world.write_list(tmp_path / "list.tsv", web.url)

        def make(rules):
            return load(DatasetRecipe, "quickstart", [
                f"dataset={tmp_path / 'dataset'}", f"source.path={tmp_path / 'list.tsv'}", "ingest.partition_rows=16",
                f"fetch.ports=[{web.url.rsplit(':', 1)[1]}]", 'fetch.allow_private=["127.0.0.1/32"]',
                "fetch.timeout_s=1.0", "fetch.retries=0", "fetch.per_host=16", "score.pixels.longest_px=64",
                f"score.clip.checkpoint={tiny_clip}", f"score.models.second.checkpoint={tiny_clip}",
                f"score.probe.nice.weights={tmp_path / 'probe.safetensors'}", "score.probe.nice.embeddings=second",
                "score.text_in_image.boxes=regions", "score.text_in_image.embeddings=clip", f"verdict.rules={rules}",
            ], package="pipeline")  # fmt: skip

        yield make


def column(store, name):
    table, column = name.split(".")
    return [
        value
        for part in store.list(f"scores/{table}", ".parquet")
        for value in pq.read_table(store.path(f"scores/{table}/{part}"))[column].to_pylist()
    ]


def judged(funnel):
    return dict(next(hop for hop in funnel.hops if hop.name == "judged").left)


def test_from_a_list_to_verdicts(recipe):
    first = recipe('[{name="low", column="clip.similarity", min=0.0}, {name="flat", column="pixels.entropy", min=0.5}]')
    funnel = curate(first, PROCESS, until="judge").funnel
    store = Store(first.dataset)
    similarity, entropy = column(store, "clip.similarity"), column(store, "pixels.entropy")
    assert similarity == column(store, "second.similarity")
    fetched = [value is not None for value in entropy]
    assert [value is not None for value in similarity] == fetched
    assert [value is not None for value in column(store, "probe.nice")] == fetched
    near = zip(similarity, column(store, "text_in_image.masked_similarity"), strict=True)
    assert all(a is None or abs(a - b) < 2e-3 for a, b in near)  # no regions in this list, so nothing is masked
    parts = [name.removesuffix(".parquet") for name in store.list("scores/clip", ".parquet")]
    assert len(parts) > 1
    embedded = np.concatenate([read_embeddings(store, "clip", part, "image") for part in parts])
    assert (~np.isnan(embedded).any(axis=1)).tolist() == fetched
    left = judged(funnel)
    assert 0 < left["low"] <= sum(value is not None and value < 0 for value in similarity)

    before = {name: store.read_bytes(f"commits/score-clip/{name}") for name in store.list("commits/score-clip")}
    other = recipe('[{name="low", column="clip.similarity", min=-1.0}]')
    assert "low" not in judged(curate(other, PROCESS).funnel)
    assert before == {name: store.read_bytes(f"commits/score-clip/{name}") for name in store.list("commits/score-clip")}
    assert verify(store) == []
