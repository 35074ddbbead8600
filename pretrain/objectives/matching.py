"""Image-text matching: is this text that image's? (ALBEF, arXiv:2107.07651; ViLT, arXiv:2102.03334.)

`hard` negatives are drawn from the batch of the rank, each with a probability that grows with the similarity that the
unimodal rows give it: one wrong image for every text and one wrong text for every image, beside the true pairs.
`random` ones need no similarity: an image is replaced with probability one half. Neither is ever a pair of equal
content, by the ids of images and texts; where no wrong one is left, none is made up, and the pair does not count.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs, Pairs
from pretrain.objectives.mean import global_mean
from pretrain.objectives.objective import Loss

_FLOOR = 1e-4
"""Added to every weight, as LAVIS does, so that a sure model still draws (blip_pretrain of arXiv:2209.09019)."""


class MatchingConfig(RecipeTable):
    """The `[objective.matching]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    negatives: Literal["hard", "random"]
    """`hard`: 2 wrong pairs to each true one, by similarity. `random`: an image is replaced with probability 0.5."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model must give."""
        return ("matching", "contrast") if self.negatives == "hard" else ("matching",)


class Matching:
    """Two-way cross entropy of fused pairs as an objective."""

    def __init__(self, config: MatchingConfig) -> None:
        self.config = config
        self.ranges: dict[str, tuple[float, float]] = {}

    def ask(self, inputs: Inputs) -> Inputs:
        """Pairs, right and wrong; chosen in the forward."""
        return inputs._replace(pairing=hard_pairs if self.config.negatives == "hard" else random_pairs)

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """Mean over the pairs that count, in nats; ln 2 for a model that says one half."""
        assert features.match_N2 is not None
        assert features.pairs is not None
        match_N, counts_N = features.pairs.match_N, features.pairs.counts_N
        losses_N = functional.cross_entropy(features.match_N2.float(), match_N.long(), reduction="none")
        right_N = (features.match_N2.argmax(dim=1) == match_N).float()
        return Loss(global_mean(losses_N, counts_N), {"accuracy": global_mean(right_N, counts_N).detach()})


@torch.no_grad()
def hard_pairs(features: Features, inputs: Inputs) -> Pairs:
    """B true pairs, then B texts with wrong images, then B images with wrong texts."""
    assert features.image_BD is not None
    assert features.text_BD is not None
    own_B = torch.arange(len(features.image_BD), device=features.image_BD.device)
    similarity_BB = _logits(features).softmax(dim=1), _logits(features).T.softmax(dim=1)
    may_BB = different(inputs)
    texts_B, found_texts_B = drawn(similarity_BB[0], may_BB)
    images_B, found_images_B = drawn(similarity_BB[1], may_BB)
    true_B, no_B = torch.ones_like(own_B, dtype=torch.bool), torch.zeros_like(own_B, dtype=torch.bool)
    return Pairs(
        image_N=torch.cat([own_B, images_B, own_B]),
        text_N=torch.cat([own_B, own_B, texts_B]),
        match_N=torch.cat([true_B, no_B, no_B]),
        counts_N=torch.cat([true_B, found_images_B, found_texts_B]),
    )


@torch.no_grad()
def random_pairs(features: Features, inputs: Inputs) -> Pairs:
    """B texts, each with its image or, with probability one half, another. Where there is no other, with its own."""
    may_BB = different(inputs)
    own_B = torch.arange(len(may_BB), device=may_BB.device)
    other_B, found_B = drawn(torch.ones_like(may_BB, dtype=torch.float32), may_BB)
    replaced_B = found_B & (torch.rand(len(own_B), device=own_B.device) < 0.5)
    image_B = torch.where(replaced_B, other_B, own_B)
    return Pairs(image_B, own_B, ~replaced_B, torch.ones_like(replaced_B))


def drawn(weights_BB: Tensor, may_BB: Tensor) -> tuple[Tensor, Tensor]:
    """For each row one column that it may have, with probability in proportion to its weight; and whether it has any.

    Weights that are no numbers count as 0, and `_FLOOR` is added to all. A row that may have no column gets its own.
    """
    weights_BB = (weights_BB.float().nan_to_num(0.0, 0.0, 0.0) + _FLOOR) * may_BB
    found_B = may_BB.any(dim=1)
    weights_BB = weights_BB + torch.diag((~found_B).float())
    return torch.multinomial(weights_BB, 1).squeeze(1), found_B


def different(inputs: Inputs) -> Tensor:
    """Which image and text of the batch are no pair, neither by place nor by content, as bool BB, symmetric."""
    image_ids_B, text_ids_B = inputs.image_ids_B, inputs.text_ids_B
    if image_ids_B is None or text_ids_B is None:
        raise ValueError("matching: wanted the ids of images and texts, to know which pairs are wrong")
    same_BB = (image_ids_B[:, None] == image_ids_B) | (text_ids_B[:, None] == text_ids_B)
    return ~(same_BB | torch.eye(len(image_ids_B), dtype=torch.bool, device=same_BB.device))


def _logits(features: Features) -> Tensor:
    """Similarities times the scale, image by text, in float32: they overflow in 16 bits."""
    assert features.image_BD is not None
    assert features.text_BD is not None
    assert features.scale is not None
    return features.scale.float() * features.image_BD.float() @ features.text_BD.float().T
