"""Ranking again, against one forward for each pair and a sorted list."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.shard.reader import ShardReader
from pretrain.batch import Inputs
from pretrain.evals.held_out import held_out
from pretrain.evals.rerank import Split, best, fused_scores, given_pairs
from pretrain.evals.retrieval import EvalConfig, Transforms, embed_split, read_images
from pretrain.world import World

spec = importlib.util.spec_from_file_location("fused_scenarios", Path(__file__).parents[1] / "fused_scenarios.py")
fused = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fused)


def letters(texts):
    """A tokenizer of four letters a text."""
    return torch.tensor([[0] + [4 + ord(letter) % 36 for letter in text[::4][:4].ljust(4)] + [1] for text in texts])


def test_the_best_of_every_query_are_taken_the_first_of_equals():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (9, 13)).astype(np.float32)
    for k in (1, 3, 13, 20):
        chosen = best(scores, k)
        for row, picked in zip(scores, chosen, strict=True):
            wanted = sorted(range(13), key=lambda column: (-row[column], column))[:k]
            assert sorted(np.flatnonzero(picked)) == sorted(wanted)


@pytest.fixture(scope="module")
def model():
    made = fused.model_of("cross").eval()
    with torch.no_grad():  # as it begins, it finds all pairs alike
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(parameter))))
    return made


@pytest.fixture(scope="module")
def split(scenes):
    config = EvalConfig(every_steps=1, max_samples=14, block=7, rerank=4)
    return Split(ShardReader(scenes, "validation"), Transforms(16, letters), config, World(0, 1, torch.device("cpu")))


def answer_of(model):
    @torch.no_grad()
    def answer(inputs):
        return model(inputs)

    return answer


def test_recalls_are_those_of_one_forward_a_pair_and_a_sorted_list(model, split):
    answer = answer_of(model)
    galleries = embed_split(
        lambda images, tokens: answer(Inputs(images, tokens)), split.reader, split.transforms, split.config, split.world
    )
    images, _ = read_images(split.reader, galleries.positions, 16)
    one = given_pairs(torch.tensor([0]), torch.tensor([0]))
    scores = np.zeros((len(images), len(galleries.texts)))
    for (row, column), _ in np.ndenumerate(scores):
        inputs = Inputs(images[row : row + 1], letters([galleries.texts[column]]), pairing=one)
        scores[row, column] = float(torch.diff(answer(inputs).match_N2))
    everywhere = np.ones(scores.shape, bool)
    np.testing.assert_allclose(fused_scores(answer, galleries, split, everywhere), scores, rtol=1e-4, atol=1e-5)
    found = held_out(answer, {"contrast", "matching"}, split)
    cosines = galleries.image_ND @ galleries.text_MD.T
    pairs = galleries.pairs
    for way, near, odds, right in (
        ("image_to_text", cosines, scores, pairs),
        ("text_to_image", cosines.T, scores.T, {(text, image) for image, text in pairs}),
    ):
        for k in (1, 5):
            hits = []
            for query in {left for left, _ in right}:
                first = sorted(range(near.shape[1]), key=lambda other: (-near[query, other], other))[:4]
                again = sorted(first, key=lambda other: -odds[query, other])[:k]
                hits.append(any((query, other) in right for other in again))
            assert found[f"{way}_rerank_r{k}"] == pytest.approx(np.mean(hits)), (way, k)


def test_a_model_without_rows_is_ranked_by_all_its_pairs(split):
    model = fused.model_of("single_stream").eval()
    found = held_out(answer_of(model), {"matching"}, split)
    assert {"image_to_text_r1", "text_to_image_r10_chance"} <= found.keys()
    assert not any("rerank" in name for name in found)
