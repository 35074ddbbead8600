import random
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DatasetError, TrainingError
from pretrain.evals.evaluate import evaluate
from pretrain.evals.retrieval import chance, join, recalls


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_give_the_same_counts_and_the_same_bits(ranks_once, scenes, one, world):
    for found in ranks_once("recalls", world, url=scenes, block=16):
        assert found["recalls"] == one["recalls"]
        assert found["pairs"] == one["pairs"]
        np.testing.assert_array_equal(found["images"], one["images"])
        np.testing.assert_array_equal(found["texts"], one["texts"])


@pytest.fixture(scope="module")
def one(ranks_once, scenes):
    found = ranks_once("recalls", 1, url=scenes, block=16)[0]
    assert found["images"].shape == (67, 8)  # 70 samples, of which 3 files came twice
    return found


def by_hand(scores, pairs, k):
    """Recall at k of the rows of `scores`, a list at a time; wrong answers win ties."""
    hits = asked = 0
    for query, row in enumerate(scores):
        right = {answer for left, answer in pairs if left == query}
        if not right:
            continue
        asked += 1
        ranked = sorted(range(len(row)), key=lambda answer: (-row[answer], answer in right))
        hits += bool(right & set(ranked[:k]))
    return hits / asked


@given(st.integers(0, 10_000))
def test_recalls_equal_a_sorted_list(seed):
    rng = np.random.default_rng(seed)
    num_samples = int(rng.integers(2, 14))
    images = rng.integers(-1, 2, (num_samples, 3)).astype(np.float32)  # few values, so that there are ties
    content = rng.integers(0, 9, num_samples).tolist()
    owners = [n for n in range(num_samples) for _ in range(int(rng.integers(0, 4)))] or [0]
    words = [f"text {rng.integers(0, 12)}" for _ in owners]
    texts = rng.integers(-1, 2, (len(words), 3)).astype(np.float32)
    galleries = join(images, content, texts, words, owners)
    found = recalls(galleries)
    scores = galleries.image_ND @ galleries.text_MD.T
    turned = {(text, image) for image, text in galleries.pairs}
    for k in (1, 5, 10):
        assert found[f"image_to_text_r{k}"] == pytest.approx(by_hand(scores.tolist(), galleries.pairs, k))
        assert found[f"text_to_image_r{k}"] == pytest.approx(by_hand(scores.T.tolist(), turned, k))
    assert found["images"] == len(set(content))
    assert found["texts"] == len(set(words))


@pytest.mark.parametrize(("right", "gallery", "k"), [(1, 6, 2), (3, 6, 2), (5, 6, 2), (6, 6, 1), (2, 5, 5), (1, 3, 10)])
def test_chance_is_the_share_of_all_rankings_that_hit(right, gallery, k):
    firsts = list(combinations(range(gallery), min(k, gallery)))
    hits = sum(any(place < right for place in first) for first in firsts)
    assert chance(right, gallery, k) == pytest.approx(float(Fraction(hits, len(firsts))))


def test_chance_is_what_random_rows_reach():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(500, 16)).astype(np.float32), rng.normal(size=(2500, 16)).astype(np.float32)
    words = [f"text {n}" for n in range(2500)]
    found = recalls(join(images, list(range(500)), texts, words, [n // 5 for n in range(2500)]))
    assert found["image_to_text_r10_chance"] == pytest.approx(0.0198, abs=2e-4)
    assert found["text_to_image_r10_chance"] == pytest.approx(0.02)
    for way in ("image_to_text", "text_to_image"):
        assert found[f"{way}_r10"] == pytest.approx(found[f"{way}_r10_chance"], abs=0.015)


def test_a_model_that_answers_everything_alike_scores_nothing():
    images, texts = np.ones((20, 4), np.float32), np.ones((20, 4), np.float32)
    found = recalls(join(images, list(range(20)), texts, [str(n) for n in range(20)], list(range(20))))
    assert found["image_to_text_r10"] == found["text_to_image_r1"] == 0.0


def test_a_perfect_model_scores_all_whatever_the_order():
    order = random.Random(0).sample(range(12), 12)
    rows = np.eye(12, dtype=np.float32)
    found = recalls(join(rows, list(range(12)), rows[order], [str(n) for n in order], order))
    assert found["image_to_text_r1"] == found["text_to_image_r1"] == 1.0


def test_what_is_no_model_or_no_data_is_said(tmp_path, scenes):
    with pytest.raises(TrainingError, match=r"neither a run .* nor an exported model"):
        evaluate(str(tmp_path), scenes, "validation")
    with pytest.raises(DatasetError, match="no split 'vaildation'"):
        evaluate(str(tmp_path), scenes, "vaildation")
