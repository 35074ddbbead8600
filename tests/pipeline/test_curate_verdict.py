"""Verdicts by the command's own path: list columns, rule sets, another opinion without a look at any medium."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli import main
from cluster.quickstart.web import LocalWeb
from cluster.quickstart.world import draw_world
from pipeline.commit import read_commits
from pipeline.curate import DatasetRecipe, check_recipe, curate
from pipeline.engine import EngineConfig
from pipeline.errors import RecipeError
from pipeline.recipe import load
from pipeline.shard.verify import verify
from pipeline.store import Store

PROCESS = EngineConfig(place="process", workers=2)


@pytest.fixture(scope="module")
def world():
    return draw_world(60, seed=3)


@pytest.fixture(scope="module")
def web(world):
    with LocalWeb(world.pages) as served:
        yield served


@pytest.fixture
def recipe(world, web, tmp_path):
    """Call with overrides; the world's list as LAION would publish it, with a similarity and a tag of each row."""
    world.write_list(tmp_path / "list.tsv", web.url)
    lines = [line.split("\t") for line in (tmp_path / "list.tsv").read_text().splitlines()]
    similarity = np.round(np.random.default_rng(0).normal(0.3, 0.05, len(lines)), 2)
    table = {
        "URL": [line[-1] for line in lines],
        "TEXT": [line[0] for line in lines],
        "similarity": pa.array(similarity, pa.float64()),
        "NSFW": ["UNLIKELY" if place % 3 else "UNSURE" for place in range(len(lines))],
    }
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    port = web.url.rsplit(":", 1)[1]
    settings = [
        f"dataset={tmp_path / 'ds'}", "name=judged", "source.kind=laion", f"source.path={tmp_path / 'list.parquet'}",
        "ingest.partition_rows=20", f"fetch.ports=[{port}]", 'fetch.allow_private=["127.0.0.1/32"]',
        "fetch.timeout_s=1.0", "fetch.retries=0", "fetch.per_host=16", "verdict.rules=[]",
    ]  # fmt: skip

    def make(*overrides):
        return load(DatasetRecipe, "laion", settings + list(overrides), package="pipeline")

    make.similarity = similarity
    return make


def rules(**named):
    texts = (f"{{name={json.dumps(name)}, keep={json.dumps(keep)}}}" for name, keep in named.items())
    return f"verdict.rules=[{', '.join(texts)}]"


def test_a_change_of_thresholds_reads_columns_alone(recipe):
    first = recipe(rules(top="list.similarity >= top(list.similarity, 0.3)"))
    curate(first, PROCESS, until="judge")
    dataset = Store(first.dataset)
    before = {stage: read_commits(dataset, stage) for stage in dataset.folders("commits")}
    assert [problem.part for problem in verify(dataset)] == ["shards/manifest.json"]  # there are no shards yet
    for tar in dataset.local_path("raw").glob("*.tar"):
        tar.unlink()  # whoever opens a medium now fails
    second = curate(recipe(rules(top="list.similarity >= top(list.similarity, 0.6)")), PROCESS, until="judge")
    after = {stage: read_commits(dataset, stage) for stage in dataset.folders("commits")}
    changed = {stage for stage in after if after[stage] != before.get(stage)}
    assert {stage for stage in changed if not stage.endswith("-found")} == {"judge"}
    threshold = -np.sort(-recipe.similarity)[int(0.6 * len(recipe.similarity))]
    verdicts, keys = {}, []
    for part, commit in after["judge"].items():
        for row in pq.read_table(dataset.path(commit.file(".parquet"))).to_pylist():
            verdicts[row["key"]] = row
        keys += pq.read_table(dataset.path(f"raw/{part}.parquet"), columns=["key"]).column("key").to_pylist()
    reasons = [verdicts[key]["dropped_by"] or "" for key in keys]
    for reason, similarity in zip(reasons, recipe.similarity, strict=True):
        if not reason.startswith(("fetch:", "duplicate_")):
            assert reason == ("" if similarity >= threshold else "top")
    assert second.funnel.hops[-1].left["top"] > 0


def test_a_rule_set_on_columns_of_the_list(recipe, capsys):
    use = 'verdict.use=[{set="datacomp-clip", columns={"clip.similarity"="list.similarity"}}]'
    made = recipe(use, rules(tagged='list.NSFW != "UNSURE"'), "verdict.weight=min(list.similarity, 0.4)")
    done = curate(made, PROCESS, until="judge")
    assert {"datacomp-clip/low_similarity", "tagged"} < done.funnel.hops[-1].left.keys()
    assert main(["show", made.dataset, "--dropped", "tagged", "--rows", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["rows"]) == 2
    assert main(["show", made.dataset, "--dropped", "taged"]) == 2
    assert "Did you mean 'tagged'?" in capsys.readouterr().err
    assert main(["subset", made.dataset, "--out", f"{made.dataset}/kept.npy"]) == 0
    assert len(np.load(f"{made.dataset}/kept.npy")) == done.funnel.hops[-1].rows_out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (rules(x="list.similarty > 0.3"), r"list.similarty: no column of the list .* Did you mean 'similarity'"),
        ('verdict.use=["datacomp-clip"]', r"rule 'datacomp-clip/low_similarity': .* scorer 'clip', which is off. Add"),
        (
            'verdict.use=["cc12m"]',
            r"'text.has_determiner' is not written by this recipe. Set score.text.parts_of_speech",
        ),
        (rules(x="probe.nsfw < 0.1"), r"scorer 'probe', which is off. Add a table \[score.probe.NAME\]"),
        (rules(x="text.num_words >= "), r"rule 'x': at character 19 .*found the end"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(recipe, override, words, tmp_path):
    for call in (check_recipe, lambda made: curate(made, PROCESS)):
        with pytest.raises(RecipeError, match=words):
            call(recipe(override))
    assert not (tmp_path / "ds").exists()


def test_rule_sets_are_listed_and_shown(capsys):
    assert main(["show", "--json"]) == 0
    assert "rules/datacomp-basic" in json.loads(capsys.readouterr().out)["rule sets"]
    assert main(["show", "rules/dfn"]) == 0
    assert "top(clip.similarity, 0.15)" in capsys.readouterr().out
    assert main(["show", "--dropped", "x"]) == 2
    assert "pairmill show DATASET --dropped RULE" in capsys.readouterr().err
