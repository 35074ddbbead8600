"""Word-patch alignment: the cost of carrying the words of a text onto the patches of its image (ViLT, UNITER).

Fused words and patches are two sets of points with equal weights, and the cost between two is 1 - cos. The plan is
found by IPOT, inexact proximal point iterations (arXiv:1802.04307, algorithm 2):

    A = e^(-C / beta), T = 1 1^T
    Q = A o T, delta = 1 / (n Q sigma), sigma = 1 / (m Q^T delta), T = diag(delta) Q diag(sigma)

It is held fixed, and the gradient goes through the cost. The loss is the mean cost of true pairs less that of wrong
ones (UNITER, arXiv:1909.11740, section 3.2; ViLT, arXiv:2102.03334, section 3.2: weight 0.1, beta 0.5, 50 iterations).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.mean import global_mean
from pretrain.objectives.objective import Loss


class WordPatchConfig(RecipeTable):
    """The `[objective.word_patch]` table of a training recipe; it goes with `[objective.matching]`, which pairs."""

    weight: float = Field(default=0.1, gt=0)
    """Factor in the sum of objectives."""
    beta: float = Field(default=0.5, gt=0)
    """Weight of the proximal term; it decides how fast the plan becomes exact, not what it becomes."""
    iterations: int = Field(default=50, ge=1)

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model must give."""
        return ("alignment", "matching")


class WordPatch:
    """Alignment of the pairs that matching chose, as an objective."""

    def __init__(self, config: WordPatchConfig) -> None:
        self.config = config
        self.ranges: dict[str, tuple[float, float]] = {}

    def ask(self, inputs: Inputs) -> Inputs:
        """The pairs of matching are all it needs."""
        return inputs

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """Mean cost of true pairs less that of wrong ones, in [-2, 2]; falls where true pairs lie closer."""
        pairs, text_NLD, image_NPD = features.pairs, features.pair_text_NLD, features.pair_image_NPD
        if pairs is None or text_NLD is None or image_NPD is None or features.pair_shown_NL is None:
            raise ValueError("word_patch: no pairs were fused; a recipe needs an [objective.matching] table as well")
        words_NLD, patches_NPD = (
            functional.normalize(rows.float(), dim=-1) for rows in (text_NLD[:, 1:], image_NPD[:, 1:])
        )
        words_NL = features.pair_shown_NL[:, 1:]  # the start token stands for the pair, as the class token does
        cost_NLP = 1 - words_NLD @ patches_NPD.transpose(1, 2)
        with torch.no_grad():
            plan_NLP = transport(cost_NLP, words_NL, self.config.beta, self.config.iterations)
        costs_N = (cost_NLP * plan_NLP).sum(dim=(1, 2))
        true = global_mean(costs_N, pairs.match_N & pairs.counts_N)
        wrong = global_mean(costs_N, ~pairs.match_N & pairs.counts_N)
        return Loss(true - wrong, {"true": true.detach(), "wrong": wrong.detach()})


def transport(cost_NLP: Tensor, rows_NL: Tensor, beta: float, iterations: int) -> Tensor:
    """Plans by IPOT, with one inner iteration, from equal weights of the rows that are there to those of all columns.

    Args:
        cost_NLP: costs, in float32 or wider.
        rows_NL: which rows are there, at least one for each plan; the others carry nothing.
    Returns: plans whose columns sum to 1 / P, and whose rows come near 1 / (number of rows).
    """
    there_NL1 = rows_NL[:, :, None].to(cost_NLP.dtype)
    num_rows_N1 = there_NL1.sum(dim=1)
    near_NLP = torch.exp(-cost_NLP / beta) * there_NL1
    plan_NLP = there_NL1.expand_as(cost_NLP)
    sigma_NP = cost_NLP.new_full((cost_NLP.shape[0], cost_NLP.shape[2]), 1 / cost_NLP.shape[2])
    for _ in range(iterations):
        moved_NLP = near_NLP * plan_NLP
        reach_NL = (moved_NLP @ sigma_NP[:, :, None]).squeeze(2)
        delta_NL = torch.where(rows_NL, 1 / (num_rows_N1 * reach_NL.masked_fill(~rows_NL, 1.0)), 0.0)
        sigma_NP = 1 / (cost_NLP.shape[2] * (moved_NLP.transpose(1, 2) @ delta_NL[:, :, None]).squeeze(2))
        plan_NLP = delta_NL[:, :, None] * moved_NLP * sigma_NP[:, None]
    return plan_NLP
