"""What holds for all sources: the table of kinds, the recipe's errors, the files that a path names."""

import gzip
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import RecipeError, SourceError
from pipeline.ingest.sources import SOURCES, AnySource, open_source, source_class, source_config
from pipeline.ingest.sources.files import ListFile, find_lists
from pipeline.recipe import RecipeTable, check


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_source_says_where_it_comes_from(kind):
    source = source_class(kind)
    assert source.licence
    assert source.citation
    assert source.medium in ("image", "video", "audio")
    assert source.suffixes


def test_the_table_in_the_docs_is_that_of_the_code():
    root = Path(__file__).parents[4]
    lines = (root / "docs" / "sources.md").read_text().splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `") and "source.kind" not in line}
    assert sorted(rows) == sorted(SOURCES)
    for kind, row in rows.items():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[3:5] == [source_class(kind).licence, source_class(kind).citation]
        for recipe in re.findall("`(.*?)`", cells[5]):
            text = (root / "pipeline" / "recipes" / f"{recipe}.toml").read_text()
            assert text.startswith("# ")
            assert f'kind = "{kind}"' in text


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("lists/a#1?.tsv", "lists/a#1?.tsv"),
        ("s3://bucket/some@folder/a.tsv", "s3://bucket/some@folder/a.tsv"),
        ("https://me:se#cr@et@host.example/a.tsv?sig=secret#secret", "https://host.example/a.tsv"),
        ("simplecache::https://me:secret@host.example/a.tsv", "simplecache::https://host.example/a.tsv"),
    ],
)
def test_where_a_list_lies_is_told_without_secrets(path, place):
    assert ListFile(0, path, "a", "").place == place


class Recipe(RecipeTable):
    source: AnySource


def test_a_recipe_holds_the_settings_of_its_kind():
    recipe = check(Recipe, {"source": {"kind": "coco", "path": "x.json", "media": "/data"}}, where="r.toml")
    assert recipe.source.media == "/data"
    assert recipe.model_dump()["source"]["media"] == "/data"
    assert Recipe.model_validate(recipe.model_dump()) == recipe


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kind": "cc3n", "path": "x"}, "Did you mean 'cc3m'"),
        ({"path": "x"}, "kind is missing"),
        ({"kind": "cc3m", "pth": "x"}, "Did you mean 'path'"),
        ({"kind": "cc3m"}, "give either path, or lists"),
        ({"kind": "cc3m", "path": "x", "lists": [{"path": "y"}]}, "give either path, or lists"),
        ("cc3m", "kind is missing"),
    ],
)
def test_a_wrong_source_table_is_one_error(table, words):
    with pytest.raises(RecipeError, match=words) as error:
        check(Recipe, {"source": table}, where="my.toml")
    assert str(error.value).startswith("my.toml: source")
    with pytest.raises((RecipeError, ValidationError), match=words):
        source_config(table)


def labels(*paths):
    return [file.label for file in find_lists([(path, None) for path in paths], (".tsv",))]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("a/0.tsv", "a/1.v2.tsv", "b/0.tsv", "b/c.tsv.gz", "b/notes.txt", "b/deep/0.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\thttp://x/\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_path_may_be_a_file_a_folder_or_a_pattern(tree):
    def names(path):
        return [os.path.relpath(file.path) for file in find_lists([(path, None)], (".tsv",))]

    assert names("a/0.tsv") == ["a/0.tsv"]
    assert names("b") == names("b/") == names(str(tree / "b")) == ["b/0.tsv", "b/c.tsv.gz"]
    assert names("*/0.tsv") == ["a/0.tsv", "b/0.tsv"]
    assert names("**/0.tsv") == ["a/0.tsv", "b/0.tsv", "b/deep/0.tsv"]


def test_labels_are_short_and_never_shared(tree):
    assert labels("a/0.tsv") == ["0"]
    assert labels("a/1.v2.tsv", "b/c.tsv.gz") == ["1.v2", "c"]
    assert labels("a/0.tsv", "b/0.tsv", "b/deep/0.tsv", "b/c.tsv.gz") == ["a/0", "b/0", "deep/0", "c"]


def test_each_list_may_set_its_split(tree):
    lists = [{"path": "a/0.tsv", "split": "train"}, {"path": "b/0.tsv", "split": "validation"}]
    source = open_source(source_config({"kind": "cc3m", "lists": lists}))
    assert [(file.index, file.split) for file in source.files()] == [(0, "train"), (1, "validation")]
    splits = [batch.to_pylist()[0]["split"] for file in source.files() for batch in source.read(file)]
    assert splits == ["train", "validation"]


def test_a_changed_list_has_another_stamp(tree):
    before = find_lists([("a", None)], (".tsv",))
    (tree / "a/0.tsv").write_text("more\thttp://x/\n")
    after = find_lists([("a", None)], (".tsv",))
    assert before[0].stamp != after[0].stamp
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("path", "words"),
    [("a/00.tsv", "no such file or folder"), ("nowhere/0.tsv", "no such file"), ("b/*.parquet", "no file matches"),
     ("b/deep/..", None), ("a/0.tsv,a/0.tsv", "named 2 times")],
)
def test_nothing_there_is_one_error(tree, path, words):
    entries = [(item, None) for item in path.split(",")]
    if words is None:
        assert find_lists(entries, (".tsv",))
        return
    with pytest.raises(SourceError, match=words):
        find_lists(entries, (".tsv",))


def test_a_folder_without_lists(tree):
    (tree / "empty").mkdir()
    with pytest.raises(SourceError, match=r"without a file that ends in \.tsv"):
        find_lists([("empty", None)], (".tsv",))


@pytest.mark.parametrize("kind", ["cc3m", "coco", "table"])
def test_an_unreadable_list_is_one_error(tmp_path, kind):
    suffix = {"cc3m": "tsv", "coco": "json", "table": "csv"}[kind]
    columns = {"url": "u", "text": "t"} if kind == "table" else {}
    for ending, data in [("gz", b"no gzip"), ("gz", gzip.compress(b"x" * 9999)[:-9]), ("xz", b"no xz"), ("bz2", b"no")]:
        path = tmp_path / f"list.{suffix}.{ending}"
        path.write_bytes(data)
        source = open_source(source_config({"kind": kind, "path": str(path), **columns}))
        with pytest.raises(SourceError, match=f"list.{suffix}.{ending}"):
            source.check()


def test_a_list_that_is_damaged_further_on(tmp_path):
    lines = "".join(f"caption {i * 7919}\thttp://x/{i * 104729}\n" for i in range(20_000)).encode()
    path = tmp_path / "list.tsv.gz"
    path.write_bytes(gzip.compress(lines)[:-5000])
    source = open_source(source_config({"kind": "cc3m", "path": str(path)}))
    source.check()
    with pytest.raises(SourceError, match=r"list\.tsv\.gz: damaged after about row 1\d{4}: EOFError"):
        list(source.read(source.files()[0]))
