"""Near-duplicate texts against a brute force over all pairs, under any spread over parts and any bucket size."""

import random
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.filter.steps import STEPS, check_steps, text_duplicates, text_pairs
from pipeline.filter.steps.text_duplicates import TextDuplicatesConfig, find_text_duplicates, pairs_of_groups
from pipeline.filter.text.minhash import band_hashes
from pipeline.filter.text.shingles import plain, shingles

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.lists(st.sampled_from(["red", "dog", "cat", "Dog", "a", "on", "lawn", "!"]), max_size=7),
            "key": st.integers(0, 40),
            "outcome": st.sampled_from(["success", "success", "success", "http_404"]),
        }
    ),
    max_size=16,
)


def jaccard(one, two, size):
    sets = [{t[i : i + size] for i in range(len(t) - size + 1)} for t in (one.ljust(size), two.ljust(size))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def brute_force(rows, config):
    """All pairs of texts that share a band, by sets; then clusters by merging lists."""
    texts = sorted({plain(row["texts"][0]) for row in rows if row["outcome"] == "success"} - {""})
    found = shingles(texts, config.shingles, config.shingle_size)
    bands = list(band_hashes(found, config.bands()))
    cluster = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            meet = any(band[i] == band[j] for band in bands)
            if meet and jaccard(texts[i], texts[j], config.shingle_size) >= config.threshold:
                cluster = [cluster[j] if number == cluster[i] else number for number in cluster]
    return {text: cluster[i] for i, text in enumerate(texts)}


def run(raw_parts, parts, folder, config):
    engine, fetched = raw_parts(parts, folder)
    stage, todo = find_text_duplicates(engine, config, fetched)
    engine.run(stage, todo)
    return [
        pq.read_table(engine.dataset.path(f"scores/text_duplicates/{part}.parquet")).to_pylist() for part in fetched
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 3), st.sampled_from([9, 40, 1000]), st.sampled_from([0.3, 0.6, 1.0]))
def test_equal_to_brute_force(tmp_path_factory, raw_parts, drawn, num_parts, bucket_rows, threshold):
    config = TextDuplicatesConfig(threshold=threshold, shingle_size=3, num_hashes=8, bucket_rows=bucket_rows)
    parts = [[] for _ in range(num_parts)]
    flat = []
    for i, row in enumerate(drawn):
        part, key = i % num_parts, f"{row['key']:032x}"
        made = {"id": str(i), "key": key, "texts": [" ".join(row["text"])], "outcome": row["outcome"]}
        flat.append({**made, "place": (key, part, len(parts[part]))})
        parts[part].append(made)
    found = run(raw_parts, parts, tmp_path_factory.mktemp("ds").name, config)
    clusters = brute_force(flat, config)
    groups = {}
    for row in flat:
        text = plain(row["texts"][0])
        if row["outcome"] == "success" and text:
            groups.setdefault(clusters[text], []).append(row["place"])
    names = {}
    for row in flat:
        facts = found[row["place"][1]][row["place"][2]]
        text = plain(row["texts"][0])
        if row["outcome"] != "success":
            assert (facts["cluster"], facts["copies"], facts["rank"]) == (None, None, None)
        elif not text:
            assert (facts["cluster"], facts["copies"], facts["rank"]) == (None, 1, 0)
        else:
            group = sorted(groups[clusters[text]])
            assert (facts["copies"], facts["rank"]) == (len(group), group.index(row["place"]))
            names.setdefault(facts["cluster"], set()).add(clusters[text])
    assert all(len(of) == 1 for of in names.values())


def test_the_spread_over_parts_does_not_matter(raw_parts):
    rng = random.Random(0)
    words = ["a", "red", "dog", "runs", "over", "the", "green", "lawn", "of", "house"]
    rows = [{"id": str(i), "texts": [" ".join(rng.choices(words, k=6))]} for i in range(80)]
    one = run(raw_parts, [rows], "one", TextDuplicatesConfig(threshold=0.5))
    four = run(raw_parts, [rows[i::4] for i in range(4)], "four", TextDuplicatesConfig(threshold=0.5, bucket_rows=200))

    def by_key(parts):
        return {row["key"]: row for part in parts for row in part}

    assert by_key(one) == by_key(four)
    assert any(row["copies"] > 1 for row in by_key(one).values())


def test_real_captions_that_were_changed_a_little_are_found(raw_parts, real_data):
    lines = (real_data / "url_lists/cc3m_val_5000.tsv").read_text("utf-8").splitlines()
    captions = [caption for caption in (line.split("\t")[0] for line in lines) if len(caption) > 40][:400]
    changed = [f"{caption.upper()} !" if i % 2 else f"the {caption}" for i, caption in enumerate(captions)]
    rows = [{"id": str(i), "texts": [text]} for i, text in enumerate(captions + changed)]
    (found,) = run(raw_parts, [rows], "ds", TextDuplicatesConfig())
    number = len(captions)
    same = sum(found[i]["cluster"] == found[i + number]["cluster"] for i in range(number))
    assert same >= 0.99 * number
    assert len({row["cluster"] for row in found}) >= 0.97 * number


def test_words_as_shingles(raw_parts):
    texts = ["a red dog runs", "a red dog runs fast", "dog a runs red"]
    rows = [{"id": str(i), "texts": [text]} for i, text in enumerate(texts)]
    (found,) = run(raw_parts, [rows], "ds", TextDuplicatesConfig(shingles="words", shingle_size=2, threshold=0.7))
    assert [row["copies"] for row in found] == [2, 2, 1]


def test_a_rerun_does_nothing_and_another_threshold_hashes_nothing_again(raw_parts):
    rows = [{"id": str(i), "texts": [f"a dog number {i}"]} for i in range(20)]
    run(raw_parts, [rows], "ds", TextDuplicatesConfig())
    engine, fetched = raw_parts([rows], "ds")
    stage, todo = find_text_duplicates(engine, TextDuplicatesConfig(), fetched)
    assert engine.plan(stage, todo)[1] == []
    before = engine.dataset.read_bytes("commits/text_duplicates-distinct/00000.json")
    stage, todo = find_text_duplicates(engine, TextDuplicatesConfig(threshold=0.9), fetched)
    assert engine.dataset.read_bytes("commits/text_duplicates-distinct/00000.json") == before


def test_a_crowd_is_compared_with_its_first_and_with_neighbours(monkeypatch):
    monkeypatch.setattr(text_duplicates, "MAX_GROUP", 4)
    left, right = pairs_of_groups(np.array([0, 3, 9]), np.array([3, 6, 1]))
    pairs = set(zip(left.tolist(), right.tolist(), strict=True))
    crowd = {(3, j) for j in range(4, 9)} | {(i, i + k) for i in range(3, 9) for k in (1, 2) if i + k < 9}
    assert pairs == {(0, 1), (0, 2), (1, 2)} | crowd


def test_a_crowd_of_one_caption_with_numbers_is_one_cluster(raw_parts):
    """Hundreds of texts that share most bands: not each is compared with each."""
    rows = [{"id": str(i), "texts": [f"stock photo of a red dog on a green lawn by the house {i}"]} for i in range(600)]
    (found,) = run(raw_parts, [rows], "ds", TextDuplicatesConfig())
    copies = np.array([row["copies"] for row in found])
    assert (copies > 570).mean() > 0.95


def test_the_size_of_batches_does_not_matter(raw_parts, monkeypatch):
    rows = [{"id": str(i), "texts": [f"a red dog of {i % 7} on the lawn {i % 3}"]} for i in range(30)]
    whole = run(raw_parts, [rows], "whole", TextDuplicatesConfig(threshold=0.9))
    for module in (text_duplicates, text_pairs):
        monkeypatch.setattr(module, "BATCH_BYTES", 50)
    assert run(raw_parts, [rows], "parts", TextDuplicatesConfig(threshold=0.9)) == whole


def test_it_is_a_step_that_needs_no_scorer():
    assert STEPS["text_duplicates"].needs == ()
    check_steps(SimpleNamespace(text_duplicates=TextDuplicatesConfig()), {})


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"threshold": 1.1}, {"recall": 1}, {"shingle_size": 0}])
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TextDuplicatesConfig(**wrong)
