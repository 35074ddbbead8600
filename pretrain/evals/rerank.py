"""Retrieval by a model that fuses: the best candidates of its unimodal rows, ranked again by "are these two a pair?".

To fuse every image with every text costs N x M forwards, so only the top k of each query are fused, and no candidate
can come back from below (ALBEF, arXiv:2107.07651, section 4). A single-stream model has no unimodal rows: there all
pairs are fused. Blocks of pairs depend on the split alone, so every number of ranks gives the same figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pretrain.batch import Features, Inputs, Pairs
from pretrain.evals.retrieval import RECALLS, EvalConfig, Galleries, Transforms, in_blocks, read_images, recalls
from pretrain.world import World

Answer = Callable[[Inputs], Features]
"""A model's one forward, without gradients."""


@dataclass(frozen=True, slots=True)
class Split:
    """What is evaluated on: a reader of the split, and how its samples become inputs."""

    reader: Any
    transforms: Transforms
    config: EvalConfig
    world: World


def reranked(answer: Answer, galleries: Galleries, split: Split) -> dict[str, float]:
    """Recalls `image_to_text_rerank_r1` ... among the fused candidates. Collective."""
    similarity_NM, k = galleries.image_ND @ galleries.text_MD.T, split.config.rerank
    chosen = {"image_to_text": best(similarity_NM, k), "text_to_image": best(similarity_NM.T, k).T}
    scores_NM = fused_scores(answer, galleries, split, np.logical_or(*chosen.values()))
    found = {way: recalls(galleries, np.where(own_NM, scores_NM, -np.inf)) for way, own_NM in chosen.items()}
    return {f"{way}_rerank_r{k}": found[way][f"{way}_r{k}"] for way in chosen for k in RECALLS}


def all_ranked(answer: Answer, galleries: Galleries, split: Split) -> dict[str, float]:
    """Recalls by fusing all images with all texts, under the names that retrieval by rows has. Collective."""
    all_NM = np.ones((len(galleries.image_ND), len(galleries.text_MD)), bool)
    return recalls(galleries, fused_scores(answer, galleries, split, all_NM))


def best(similarity_QG: np.ndarray, k: int) -> np.ndarray:
    """Which answers are among the k best of their query, as bool; of equal ones the first."""
    chosen_QG = np.zeros(similarity_QG.shape, bool)
    best_Qk = np.argsort(-similarity_QG, axis=1, kind="stable")[:, :k]
    np.put_along_axis(chosen_QG, best_Qk, True, axis=1)
    return chosen_QG


def fused_scores(answer: Answer, galleries: Galleries, split: Split, chosen_NM: np.ndarray) -> np.ndarray:
    """Log odds of "a pair" for the chosen pairs, minus infinity for the others."""
    images, texts = np.nonzero(chosen_NM)

    def fuse(start: int, stop: int) -> np.ndarray:
        image_rows, image_N = np.unique(images[start:stop], return_inverse=True)
        text_rows, text_N = np.unique(texts[start:stop], return_inverse=True)
        images_BCHW, _ = read_images(
            split.reader, [galleries.positions[row] for row in image_rows], split.transforms.side_px
        )
        tokens_BL = split.transforms.tokens([galleries.texts[row] for row in text_rows])
        device = split.world.device
        pairing = given_pairs(torch.from_numpy(image_N).to(device), torch.from_numpy(text_N).to(device))
        features = answer(Inputs(images_BCHW.to(device), tokens_BL.to(device), pairing=pairing))
        return (features.match_N2[:, 1] - features.match_N2[:, 0]).to("cpu", torch.float32).numpy()

    scores_NM = np.full(chosen_NM.shape, -np.inf, np.float32)
    scores_NM[images, texts] = np.concatenate(in_blocks(fuse, len(images), split.config.block, split.world))
    return scores_NM


def given_pairs(image_N: Tensor, text_N: Tensor) -> Callable[[Features, Inputs], Pairs]:
    """A choice of pairs that is no choice."""
    all_N = torch.ones_like(image_N, dtype=torch.bool)
    return lambda features, inputs: Pairs(image_N, text_N, all_N, all_N)
