"""InfoNCE over the global batch (CLIP, arXiv:2103.00020), with exact gradients and masked false negatives.

Every rank takes the losses of its own rows against the columns of all ranks, in both directions:

    L = 1/2 [ CE_i(s u_i V^T, i) + CE_j(s v_j U^T, j) ]

Memory is B x G instead of G x G, and under data-parallel averaging the gradients of both encoders and of the
scale are those of one process on the whole batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.gather import gather_constants, gather_rows, rank
from pretrain.objectives.objective import Loss


class InfoNCEConfig(RecipeTable):
    """The `[objective.infonce]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    false_negatives: Literal["mask", "keep"]
    """What to do with a pair off the diagonal whose image or text equals the row's: `mask` leaves it out of the
    denominator, `keep` counts it as a negative, as CLIP did."""
    max_scale: float = Field(gt=1)
    """The logit scale is held in [1, max_scale] after every step; CLIP: 100."""


@dataclass(frozen=True, slots=True)
class PairIds:
    """Identities of the images and the texts of this rank's rows; equal ids mean equal content."""

    image_B: Tensor
    text_B: Tensor


class InfoNCE:
    """InfoNCE of image and text rows as an objective."""

    def __init__(self, config: InfoNCEConfig) -> None:
        self.config = config
        self.ranges = {"logit_scale": (0.0, math.log(config.max_scale))}

    def ask(self, inputs: Inputs) -> Inputs:
        """Both sides of the batch are all it needs."""
        return inputs

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """See `infonce`."""
        masked = self.config.false_negatives == "mask"
        return infonce(features, PairIds(inputs.image_ids_B, inputs.text_ids_B) if masked else None)


def infonce(features: Features, ids: PairIds | None) -> Loss:
    """InfoNCE of this rank's rows against the columns of all ranks.

    Args:
        features: unit rows of this rank; every rank has the same number of rows.
        ids: identities, to leave out false negatives; None counts every off-diagonal pair as a negative.
    Returns: mean over rows of both directions, in nats; ln G for a model that knows nothing.
    """
    image_BD, text_BD, scale = features.image_BD, features.text_BD, features.scale
    if image_BD is None or text_BD is None or image_BD.shape != text_BD.shape:
        raise ValueError("infonce: wanted image and text rows of equal shape, one pair per row")
    offset = rank() * image_BD.shape[0]
    targets_B = torch.arange(image_BD.shape[0], device=image_BD.device) + offset
    to_text_BG = scale * image_BD @ gather_rows(text_BD).T
    to_image_BG = scale * text_BD @ gather_rows(image_BD).T
    if ids is not None:
        same_BG = same_content(ids, targets_B)
        to_text_BG = to_text_BG.masked_fill(same_BG, -torch.inf)
        to_image_BG = to_image_BG.masked_fill(same_BG, -torch.inf)
    image_to_text = functional.cross_entropy(to_text_BG, targets_B)
    text_to_image = functional.cross_entropy(to_image_BG, targets_B)
    total = (image_to_text + text_to_image) / 2
    parts = {"image_to_text": image_to_text.detach(), "text_to_image": text_to_image.detach()}
    return Loss(total, parts)


def same_content(ids: PairIds, targets_B: Tensor) -> Tensor:
    """Where a row and a column are different samples with the same image or the same text, as bool BG."""
    same_BG = (ids.image_B[:, None] == gather_constants(ids.image_B)[None, :]) | (
        ids.text_B[:, None] == gather_constants(ids.text_B)[None, :]
    )
    same_BG[torch.arange(len(targets_B), device=same_BG.device), targets_B] = False
    return same_BG
