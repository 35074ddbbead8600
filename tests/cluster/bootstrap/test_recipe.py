import json
import textwrap
from pathlib import Path

import pytest

from cluster.bootstrap.recipe import FilterConfig, load_bootstrap
from cluster.bootstrap.run import bootstrap, check_bootstrap
from cluster.cli import main
from cluster.site import load_site
from pipeline.errors import AskedWrongly
from pipeline.filter.verdicts.expression.parse import parse
from pipeline.filter.verdicts.expression.render import render
from pipeline.filter.verdicts.rules import read_rule_set
from pipeline.recipe import load, shipped_recipes
from pretrain.recipe import TrainingRecipe

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", sorted(shipped_recipes("cluster.bootstrap")))
def test_a_shipped_recipe_resolves(name):
    recipe = load_bootstrap(name)
    assert recipe.name == name
    assert recipe.judged_pool("runs/x").score.models["dfn"].checkpoint == "runs/x"


def test_the_recipe_of_the_docs_resolves(tmp_path, capsys):
    blocks = (ROOT / "docs" / "filter-network.md").read_text().split("\n\n    name = ")
    block = "    name = " + blocks[1].split("\n\nThen")[0]
    (tmp_path / "first.toml").write_text(textwrap.dedent(block))
    assert load_bootstrap(str(tmp_path / "first.toml")).filter.share == 0.15
    assert main(["show", str(tmp_path / "first.toml")]) == 0
    assert json.loads(capsys.readouterr().out)["network"]["steps"] == 2000


def test_everything_lands_in_one_folder_and_each_link_reads_the_one_before(loop, tmp_path):
    recipe = loop()
    assert recipe.seed.dataset == recipe.network.data.url == str(tmp_path / "out" / "seed")
    assert recipe.pool.dataset == recipe.train.data.url == str(tmp_path / "out" / "pool")
    elsewhere = loop("pool.dataset=s3://bucket/pool")
    assert elsewhere.pool.dataset == elsewhere.train.data.url == "s3://bucket/pool"


def test_a_table_is_laid_over_the_recipe_that_it_begins_from(loop):
    base, made = load(TrainingRecipe, "tiny-clip", package="pretrain"), loop().network
    assert made.model.vision.width == 32
    assert made.model.vision.activation == base.model.vision.activation
    assert made.optimizer.betas == base.optimizer.betas
    assert loop("network.optimizer.lr=0.5").network.optimizer.lr == 0.5


def test_the_filter_is_the_rule_of_the_published_set():
    """Renamed from `clip` to the network's name, with the paper's share."""
    published = read_rule_set("dfn").rules[0].keep.replace("clip.", "dfn.")
    assert render(parse(FilterConfig(share=0.15).rule())) == render(parse(published))


def test_the_network_joins_the_pools_scorers_and_its_rule_comes_last(loop):
    made = loop("filter.scoring.batch_rows=7", 'pool.verdict.rules=[{name="short", keep="text.num_words > 1"}]')
    pool = made.judged_pool("runs/network-1")
    assert pool.score.models["dfn"].batch_rows == 7
    assert [rule.name for rule in pool.verdict.rules] == ["short", "dfn"]
    assert made.pool.score.models == {}


WRONG = [
    ("filter.share=0", "filter.share is 0: Input should be greater than 0"),
    ("filter.share=1.5", "filter.share is 1.5: Input should be less than or equal to 1"),
    ("filter.sahre=0.2", "filter.sahre: unknown key. Did you mean 'share'?"),
    ("filter.trusted=list.origin = 'seed'", "Write == for equality"),
    ("filter.trusted=list.orgin == 'seed'", r"\[pool\] verdict: list.orgin: no column of the list"),
    ("filter.trusted=phash.hash", r"\[pool\] verdict rule 'dfn': .*wanted true or false"),
    ("filter.scoring.batch_row=3", r"pool with its filter: score.models.dfn.batch_row: unknown key. Did you mean"),
    ("filter.scoring.gpus=0", r"score.models.dfn.gpus is 0"),
    ("folder=s3://bucket/loop", "wanted a folder of a file system"),
    ("pool.dataset={out}/seed", "seed and pool are one folder"),
    ("pool.dataset={out}/x/../seed/", "seed and pool are one folder"),
    ("network.data.url=elsewhere", r"network.data.url is 'elsewhere', and network learns from the seed"),
    ("train.data.url={out}/seed", r"train learns from the pool"),
    ("pool.score.models.dfn.checkpoint=x", "is where the loop puts its own network"),
    ('pool.verdict.rules=[{name="dfn", keep="text.num_words > 1"}]', "rules share the name 'dfn'"),
    ("network.recipe=tiny-albef", "network.model.family is 'fission'; .*wanted 'parallel'"),
    ("network.recipe=tiny-clp", "Did you mean 'tiny-clip'?"),
    ("network.recipe=7", "network.recipe is 7; wanted the name or the path of a recipe"),
    ("network.batch_size=31", r"\[network\] recipe tiny-clip: batch_size 31 does not divide over 2 workers"),
    ("train.stepps=5", "train.stepps: unknown key. Did you mean 'steps'?"),
    ("seed.source.path={out}/none.tsv", r"\[seed\] .*none.tsv"),
    ("pool.source.text=words", r"\[pool\] .*words"),
    ("seed.source.kind=tabel", "Did you mean 'table'?"),
]


@pytest.mark.parametrize(("override", "words"), WRONG, ids=[override for override, _ in WRONG])
def test_what_cannot_work_is_told_before_any_work(loop, web, tmp_path, override, words):
    before = web.requests
    with pytest.raises(AskedWrongly, match=words):
        bootstrap(loop(override.replace("{out}", str(tmp_path / "out"))), load_site("process"), lambda words: None)
    assert not (tmp_path / "out").exists()
    assert web.requests == before


@pytest.mark.parametrize("table", ["seed", "network", "pool", "filter", "name", "folder"])
def test_a_missing_table_is_named(loop_in, tmp_path, table):
    path = loop_in(tmp_path)
    lines, kept, skipping = path.read_text().splitlines(), [], False
    for line in lines:
        skipping = line == f"[{table}]" if line.startswith("[") else skipping
        if not skipping and not line.startswith(f"{table} ="):
            kept.append(line)
    path.write_text("\n".join(kept))
    with pytest.raises(AskedWrongly, match=rf"loop.toml: .*{table}: missing"):
        load_bootstrap(str(path))


def test_a_folder_of_another_dataset_is_refused_before_the_seed_is_touched(loop, web, tmp_path):
    (tmp_path / "out" / "pool").mkdir(parents=True)
    (tmp_path / "out" / "pool" / "dataset.json").write_text('{"name": "mine", "format": 1}')
    with pytest.raises(AskedWrongly, match=r"\[pool\] .*holds the dataset 'mine'"):
        check_bootstrap(loop(), load_site("process"))
    assert not (tmp_path / "out" / "seed").exists()
