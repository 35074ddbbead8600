"""Contrast with a teacher: rows of the student against the teacher's, of this batch and of those before it.

    y_i = alpha softmax(s u'_i K^T) + (1 - alpha) onehot(i)
    L = -1/2 sum over both directions of y_i log softmax(s u_i K^T)

with u' and K the teacher's rows (ALBEF, arXiv:2107.07651, equations 1 and 6). Columns of equal content as the row,
other than its own, are left out, in this batch and in the queues. Rows are separable: every rank's loss is that of its
own rows, and nothing has to pass a gradient between ranks.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.gather import rank
from pretrain.objectives.objective import Loss


class MomentumContrastConfig(RecipeTable):
    """The `[objective.momentum_contrast]` table of a training recipe; it goes with a `[momentum]` table."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    max_scale: float = Field(gt=1)
    """The logit scale is held in [1, max_scale] after every step. ALBEF holds its inverse in [0.001, 0.5]."""


class MomentumContrast:
    """The contrast of ALBEF as an objective."""

    def __init__(self, config: MomentumContrastConfig) -> None:
        self.config = config
        self.ranges = {"logit_scale": (0.0, math.log(config.max_scale))}

    def ask(self, inputs: Inputs) -> Inputs:
        """Both sides of the batch; the trainer adds what the teacher says."""
        return inputs

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """Mean over this rank's rows and both directions, in nats."""
        teaching = inputs.teaching
        if teaching is None:
            raise ValueError("momentum_contrast: there is no teacher; a recipe needs a [momentum] table")
        rows_2BD = torch.stack([features.image_BD, features.text_BD])
        ids_2B = torch.stack([inputs.image_ids_B, inputs.text_ids_B])
        own_B = torch.arange(rows_2BD.shape[1], device=rows_2BD.device) + rank() * rows_2BD.shape[1]
        out_BK = _left_out(ids_2B, teaching.ids_2K, own_B)
        losses = []
        for side, other in ((0, 1), (1, 0)):
            keys_KD = teaching.rows_2KD[other]
            said_BK = (features.scale * rows_2BD[side] @ keys_KD.T).masked_fill(out_BK, -torch.inf).log_softmax(dim=1)
            taught_BK = (features.scale.detach() * teaching.own_2BD[side] @ keys_KD.T).masked_fill(out_BK, -torch.inf)
            target_BK = teaching.alpha * taught_BK.softmax(dim=1)
            target_BK[torch.arange(len(own_B)), own_B] += 1 - teaching.alpha
            losses.append(-(target_BK * said_BK.masked_fill(out_BK, 0.0)).sum(dim=1).mean())
        image_to_text, text_to_image = losses
        parts = {"image_to_text": image_to_text.detach(), "text_to_image": text_to_image.detach()}
        return Loss((image_to_text + text_to_image) / 2, parts)


def _left_out(ids_2B: Tensor, ids_2K: Tensor, own_B: Tensor) -> Tensor:
    """Columns that are no column for a row: empty places, and other samples of the same image or text; bool BK."""
    same_BK = (ids_2B[:, :, None] == ids_2K[:, None, :]).any(dim=0) | (ids_2K[0] < 0)
    same_BK[torch.arange(len(own_B)), own_B] = False
    return same_BK
