"""The page: its numbers are the funnel's, its curves the metrics', and nothing foreign gets into its HTML alive."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest

from cluster.quickstart.run import local_web_settings
from cluster.quickstart.web import LocalWeb, Page
from cluster.quickstart.world import World, draw_world
from cluster.report.page import build_page
from cluster.report.section import curve, table
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import EngineConfig
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.recipe import load

EVIL = '<script>alert("x")</script> & "quotes"'


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    world = draw_world(40, 2)
    rows = [(f"{EVIL} {caption}" if i % 3 == 0 else caption, path) for i, (caption, path) in enumerate(world.rows)]
    secret = "scene/000000.jpg?sig=SECRET"
    world = World([*rows, ("one more picture here", secret)], {**world.pages, secret: Page(b"")}, world.planted)
    with LocalWeb(world.pages) as web:
        world.write_list(folder / "list.tsv", web.url)
        settings = [f"dataset={folder / 'ds'}", f"source.path={folder / 'list.tsv'}", *local_web_settings(web)]
        recipe = load(DatasetRecipe, "quickstart", settings, package="pipeline")
        return curate(recipe, EngineConfig(place="process"))


@pytest.fixture
def run(tmp_path):
    records = [{"step": step, "loss": 5.0 / step, "lr": 1e-3, "samples_per_s": 100.0} for step in range(1, 30)]
    records.append({"step": 29, "eval": {"image_to_text_r10": 0.25, "image_to_text_r10_chance": 0.02}})
    lines = [json.dumps(record) for record in records] + ['{"step": 30, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_every_number_of_the_funnel_is_on_the_page(curated):
    page = build_page(curated.dataset)
    for hop in curated.funnel.hops:
        assert re.search(rf"<b>{hop.name}</b>.*?<b>{hop.rows_out:,}</b>", page)
        for reason, rows in hop.left.items():
            assert re.search(rf">{reason}</span></td>.*?>-{rows:,}<", page)


def test_the_page_stands_alone_and_is_safe(curated, run):
    page = build_page(curated.dataset, str(run))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "data:image/jpeg;base64," in page
    assert "SECRET" not in page


def test_curves_and_evaluations_come_from_the_metrics(curated, run):
    page = build_page(curated.dataset, str(run))
    assert page.count("<polyline") == 3
    assert "0.25" in page
    assert "image_to_text_r10_chance" in page


def test_a_curve_leaves_out_what_is_not_finite():
    assert "nan" not in curve([(1, 2.0), (2, float("nan")), (3, 1.0)], x_name="x", y_name="y")
    assert "No curve" in curve([(1, 1.0)], x_name="x", y_name="y")
    assert "<polyline" in curve([(1, 1.0), (2, 1.0)], x_name="x", y_name="y")


def test_tables_escape_and_set_numbers_right():
    made = table(("name", "rows"), [(EVIL, 1234)])
    assert "<script" not in made
    assert '<td class="n">1,234</td>' in made


def test_parts_of_an_earlier_layout_are_told(curated, tmp_path):
    shutil.copytree(curated.dataset, tmp_path / "old")
    for path in (tmp_path / "old" / "raw").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop(["status"]).rename_columns({"outcome": "status"}), path)
    with pytest.raises(DatasetError, match=r"has no column 'outcome', so an earlier.*Run `pairmill fetch`"):
        build_page(str(tmp_path / "old"))


def test_what_is_no_dataset_or_no_run_is_told(curated, tmp_path):
    with pytest.raises(AskedWrongly, match="holds no dataset"):
        build_page(str(tmp_path))
    with pytest.raises(AskedWrongly, match=r"holds no metrics\.jsonl"):
        build_page(curated.dataset, str(tmp_path))
