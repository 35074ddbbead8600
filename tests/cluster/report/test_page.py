"""The page: its numbers are the funnel's, its curves the metrics', and nothing foreign gets into its HTML alive."""

import json
import re
import shutil
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest

from cluster.report import gallery
from cluster.report.page import build_page
from pipeline.commit import read_commits
from pipeline.errors import AskedWrongly
from pipeline.store import Store


class Elements(HTMLParser):
    """Every tag with its attributes, and whether all that were opened were closed."""

    VOID = ("meta", "img", "line", "path", "rect", "polyline")

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.is_sound = [], [], True
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self.is_sound &= bool(self.open) and self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_every_number_of_the_funnel_is_on_the_page(curated):
    page = build_page(curated.dataset)
    for hop in curated.funnel.hops:
        assert re.search(rf"<b>{hop.name}</b>.*?<b>{hop.rows_out:,}</b>", page)
        for reason, rows in hop.left.items():
            assert re.search(rf">{reason}</span></td>.*?>-{rows:,}<", page)


def test_the_page_stands_alone_and_is_safe(scored, run):
    page = build_page(scored.url, str(run))
    elements = Elements(page)
    assert elements.is_sound
    assert not elements.open
    assert {tag for tag, _ in elements.found} & {"script", "iframe", "object", "link", "form", "base", "b>"} == set()
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    assert all(attributes["src"].startswith("data:image/jpeg;base64,") for attributes in elements.all("img"))
    assert all(attributes["href"].startswith("#") for attributes in elements.all("a"))
    assert "url(" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page


def test_no_secret_of_a_url_or_of_a_recipe_is_on_the_page(scored):
    card = json.loads(scored.read_bytes("dataset.json"))
    card["recipe"]["source"]["path"] = "https://me:CANARY@lists.example/CANARY/list.tsv?token=CANARY#CANARY"
    card["recipe"]["fetch"]["user_agent"] = "pairmill https://me:CANARY@us.example/CANARY"
    card["recipe"]["fetch"]["api_token"] = "CANARY"
    scored.put_bytes("dataset.json", json.dumps(card).encode())
    page = build_page(scored.url)
    assert "CANARY" not in page
    assert "https://lists.example/…/list.tsv" in page
    assert "http://evil.example/…" in page


def test_the_same_dataset_gives_the_same_bytes(scored, tmp_path):
    shutil.copytree(scored.url, tmp_path / "elsewhere" / "scored")
    page = build_page(scored.url)
    assert build_page(scored.url) == page
    assert build_page(str(tmp_path / "elsewhere" / "scored")) == page


def test_every_section_is_reached_from_the_contents_and_has_its_own_name(scored, run):
    elements = Elements(build_page(scored.url, str(run)))
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    linked = [attributes["href"][1:] for attributes in elements.all("a")]
    assert set(linked) <= set(ids)
    assert [attributes["id"] for attributes in elements.all("section")] == [
        name for name in linked if name != "content"
    ]
    assert all(attributes.get("alt") for attributes in elements.all("img"))
    assert all(attributes.get("aria-label") for attributes in elements.all("svg"))
    assert all(
        "tabindex" in attributes for tag, attributes in elements.found if "scroll" in attributes.get("class", "")
    )


def test_curves_and_evaluations_come_from_the_metrics(curated, run):
    page = build_page(curated.dataset, str(run))
    assert page.count("<polyline") == 3
    assert "0.25" in page
    assert "image_to_text_r10_chance" in page


def test_lineage_tells_whether_a_run_was_trained_on_these_shards(curated, run):
    assert "other shards than these" in build_page(curated.dataset, str(run))
    manifest = re.search(r"manifest</dt><dd>sha256 ([0-9a-f]{64})", build_page(curated.dataset))[1]
    (run / "lineage.json").write_text(json.dumps({"manifest_sha256": manifest}))
    assert "<dd>these shards</dd>" in build_page(curated.dataset, str(run))


def test_lineage_names_every_file_of_the_list(scored):
    record = json.loads(scored.read_bytes("commits/ingest/00000.json"))
    assert f"<td>{record['facts']['list']}</td>" in build_page(scored.url)
    for place, told in (
        ("https://me:CANARY@lists.example/CANARY/a.tsv", "https://lists.example/…/a.tsv"),
        (None, "00000"),  # a record of an earlier pairmill
    ):
        record["facts"]["list"] = place
        scored.put_bytes("commits/ingest/00000.json", json.dumps(record).encode())
        page = build_page(scored.url)
        assert f"<td>{told}</td>" in page
        assert "CANARY" not in page


def test_dropped_rows_are_shown_with_the_score_that_decided(curated):
    page = build_page(curated.dataset)
    dropped = page[page.index('id="dropped"') : page.index('id="duplicates"')]
    shown = re.search(
        r"<h3>too_few_words</h3>.*?text\.num_words ≥ 3.*?text\.num_words = <b>(\d)</b>", dropped, re.DOTALL
    )
    assert int(shown[1]) < 3


def test_a_long_caption_is_cut_and_pictures_have_a_budget(curated, monkeypatch):
    page = build_page(curated.dataset)
    assert len(page) < 3_000_000
    assert "long long" in page
    monkeypatch.setattr(gallery.Budget.__init__, "__defaults__", (20_000, 0))
    cut = build_page(curated.dataset)
    assert sum(len(attributes["src"]) for attributes in Elements(cut).all("img")) <= 20_000
    assert re.search(r"\d+ pictures are left out, so that the page stays below 15 MB", cut)


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        (["cut", "manifest"], "No shards have been cut yet"),
        (["cut", "order", "judge"], "Nothing has been judged yet"),
        (["cut", "order", "judge", "score-text", "score-image", "score-duplicates"], "No scores are there yet"),
        (["cut", "order", "judge", "fetch"], "No URL was read"),
        (None, "This dataset is empty"),
    ],
)
def test_a_dataset_that_is_not_finished_says_so(curated, tmp_path, gone, says):
    shutil.copytree(curated.dataset, tmp_path / "ds")
    for stage in gone if gone is not None else [path.name for path in (tmp_path / "ds" / "commits").iterdir()]:
        shutil.rmtree(tmp_path / "ds" / "commits" / stage)
        if stage.startswith("score-"):
            shutil.rmtree(tmp_path / "ds" / "scores" / stage.removeprefix("score-"))
    page = build_page(str(tmp_path / "ds"))
    assert says in page
    assert Elements(page).is_sound


def test_parts_of_an_earlier_layout_are_told_and_left_out(curated, tmp_path):
    shutil.copytree(curated.dataset, tmp_path / "old")
    first = sorted((tmp_path / "old" / "raw").glob("*.parquet"))[0]
    pq.write_table(pq.read_table(first).drop(["status"]).rename_columns({"outcome": "status"}), first)
    page = build_page(str(tmp_path / "old"))
    assert "has no column &#x27;outcome&#x27;, so an earlier pairmill wrote it" in page
    assert "Run `pairmill fetch`" in page


def test_damage_is_told_and_stops_nothing(curated, tmp_path):
    shutil.copytree(curated.dataset, tmp_path / "ds")
    dataset = Store(str(tmp_path / "ds"))
    fetched = read_commits(dataset, "fetch")
    first, second, *_ = fetched.values()
    dataset.local_path(first.file(".parquet")).write_bytes(b"not parquet")
    dataset.delete(second.file(".tar"))
    (tmp_path / "ds" / "commits" / "judge" / f"{second.part}.json").write_text("{")
    (tmp_path / "ds" / "scores" / "text" / f"{second.part}.parquet").write_bytes(b"")
    page = build_page(dataset.url)
    assert Elements(page).is_sound
    assert "cannot be read" in page
    assert "not a commit record" in page


def test_what_is_no_dataset_or_no_run_is_told(curated, tmp_path):
    with pytest.raises(AskedWrongly, match="holds no dataset"):
        build_page(str(tmp_path))
    with pytest.raises(AskedWrongly, match=r"holds no metrics\.jsonl"):
        build_page(curated.dataset, str(tmp_path))
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(AskedWrongly, match="not the card of a dataset"):
        build_page(str(tmp_path))
