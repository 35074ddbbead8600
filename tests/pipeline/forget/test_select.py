"""Selectors name what a look at every row names, and refuse what is none."""

import hashlib

import pytest

from pipeline.errors import AskedWrongly
from pipeline.forget.carry_out import forget
from pipeline.forget.select import Selectors, from_lines, select

from .conftest import PROCESS, raw_rows, samples_of


def named(dataset, **selectors):
    return set(select(dataset, Selectors(**selectors).checked()).keys.to_pylist())


def test_each_selector_names_its_rows(plain_world, copy_of):
    _, dataset = copy_of(plain_world)
    rows = raw_rows(dataset)
    of_host = {row["key"] for row in rows if "localhost" in row["url"]}
    assert named(dataset, domains=("localhost",)) == of_host
    assert len(of_host) == 8
    assert named(dataset, domains=("LOCALHOST.",)) == of_host
    assert named(dataset, domains=("host",)) == set()
    assert named(dataset, urls=(rows[9]["url"],)) == {rows[9]["key"]}  # its address is dead
    assert named(dataset, urls=(rows[5]["url"].replace("http://localhost", "https://LocalHost") + "#x",)) == {
        rows[5]["key"]
    }
    assert named(dataset, sha256=(rows[3]["sha256"].upper(),)) == {rows[3]["key"]}
    stored = hashlib.sha256(rows[4]["media"]).hexdigest()
    assert stored == samples_of(dataset)[rows[4]["key"]][2]["media_sha256"]
    assert named(dataset, sha256=(f"sha256:{stored}",)) == {rows[4]["key"]}
    sides = {row["key"] for row in rows if row["original_width"] is not None and row["original_width"] > 200}
    assert named(dataset, where="record.original_width > 200") == sides
    assert 0 < len(sides) < 44
    assert named(dataset, where='contains(record.caption, "zq011x")', keys=(rows[0]["key"],)) == {
        rows[0]["key"], rows[11]["key"]
    }  # fmt: skip


def test_a_list_of_keys_urls_and_hashes():
    lines = ["# asked for by mail\n", "0123abcd\n", " https://a.example/x \n", "\n", "sha256:" + "A" * 64, "b" * 64]
    found = from_lines(lines)
    assert (found.keys, found.urls) == (("0123abcd",), ("https://a.example/x",))
    assert found.checked().sha256 == ("a" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("selectors", "words"),
    [
        ({"keys": ("nope",)}, "holds no sample with the key 'nope'"),
        ({"urls": ("",)}, "is no URL"),
        ({"domains": ("http://a.example",)}, "is no domain"),
        ({"sha256": ("12",)}, "is no sha256; wanted 64 hex digits"),
        ({"where": "text.num_word > 1"}, "Did you mean 'text.num_words'"),
        ({"where": "text.num_words > quantile(text.num_words, 0.5)"}, "Write the number itself"),
    ],
)
def test_what_is_asked_wrongly_changes_nothing(plain_world, copy_of, selectors, words):
    _, dataset = copy_of(plain_world)
    with pytest.raises(AskedWrongly, match=words):
        forget(dataset, Selectors(**selectors), PROCESS)
    assert not dataset.exists("commits/forget/00000.json")


def test_what_matches_nothing_and_what_was_forgotten_before(plain_world, copy_of):
    _, dataset = copy_of(plain_world)
    key = raw_rows(dataset)[0]["key"]
    assert forget(dataset, Selectors(domains=("nowhere.example",)), PROCESS).request is None
    assert len(forget(dataset, Selectors(keys=(key,)), PROCESS, dry_run=True).removal.keys) == 1
    assert not dataset.exists("commits/forget/00000.json")
    assert forget(dataset, Selectors(keys=(key,)), PROCESS).request.id == "00000"
    again = forget(dataset, Selectors(keys=(key,)), PROCESS)
    assert (again.request, again.forgotten_before) == (None, {key})
    assert named(dataset, where="record.original_width > 0").isdisjoint({key})
