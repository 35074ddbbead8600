"""The dataset card: where the data comes from, what became of it, and nothing of a list that could break its tables."""

import pytest

from pipeline.shard.card import card
from pipeline.shard.manifest import Generation, Manifest, Merged, ShardEntry, Split

TOLD = {
    "recipe": {"name": "toy", "sha256": "ab" * 32},
    "source": {"kind": "cc3m", "licence": "Free for any purpose", "citation": "Sharma et al. 2018"},
    "lists": [["train.tsv", 120, 103, 82]],
    "funnel": [["listed", 120, 120, {}], ["fetched", 120, 103, {"http_404": 12, "opted_out": 5}]],
    "rules": [["too_small", "image.min_side_px >= 200"], ["odd", 'a == "|" or b < 3']],
    "policy": {"fetch.robots": "respect"},
    "refused": [["opted_out", "robots.txt of the host", 5]],
    "licences": {"creativecommons.org/licenses/by/2.0": 30, "<script>": 1},
}


def manifest(**changes):
    entries = tuple(ShardEntry(f"train/{i:05d}.tar", 16, 10_240, "a" * 64, "b" * 64) for i in range(3))
    splits = {"train": Split(48, 30_720, entries)}
    cut = Generation({"train": 3}, 5, 16, None, {"test": 0.1})
    return Manifest("toy", splits, **({"generations": (cut,)} | changes))


def test_tells_all_that_is_known():
    text = card(manifest(), TOLD)
    for line in (
        "| train | 48 | 3 | 0.0 |", "16 samples, shuffled over the whole dataset (seed 5)", "0.1 of the samples",
        "| kind of list | cc3m |", "| licence of the list | Free for any purpose |", f"`toy`, sha256 `{'ab' * 32}`",
        "| train.tsv | 120 | 103 | 82 |", "| fetched | 120 | 103 |  |", "|  |  |  | 12 http_404 |",
        "| too_small | image.min_side_px >= 200 |", "- `fetch.robots` = respect",
        "| opted_out | robots.txt of the host | 5 |", "| creativecommons.org/licenses/by/2.0 | 30 |",
        "| not stated | 17 |", "{00000..00002}.tar",
    ):  # fmt: skip
        assert line in text, line


def test_words_of_a_list_end_no_cell_and_are_no_markup():
    text = card(manifest(), TOLD)
    assert '| odd | a == "\\|" or b &lt; 3 |' in text
    assert "| &lt;script> | 1 |" in text


def test_says_nothing_where_nothing_is_told():
    text = card(manifest())
    for title in ("Where it comes from", "What became", "Rules", "Asked not", "Generations"):
        assert title not in text
    assert "| not stated | 48 |" in text


def test_generations_and_sources_are_listed():
    sources = (Merged("a", "c" * 64, 40), Merged("b", "d" * 64, 8))
    generations = (Generation({"train": 2}, dataset="a"), Generation({"train": 1}, 7, dataset="b"))
    text = card(manifest(generations=generations, sources=sources))
    assert "merged by pairmill from the datasets named below" in text
    assert "0.1 of the samples" not in text
    assert "| 1 | b | 7 | train 1 |" in text
    assert f"| a | 40 | `{'c' * 64}` |" in text


@pytest.mark.parametrize(
    ("samples", "size", "says"),
    [(None, 10**9, "at most 1,000,000,000 bytes"), (8, 10**6, "8 samples and at most 1,000,000 bytes")],
)
def test_names_the_limits_of_a_shard(samples, size, says):
    assert says in card(manifest(generations=(Generation({"train": 3}, 0, samples, size),)))
