"""InfoNCE over the global batch (CLIP, arXiv:2103.00020), with exact gradients and masked false negatives.

Every rank takes the losses of its own rows against the columns of all ranks, in both directions:

    L = 1/2 [ CE_i(s u_i V^T, i) + CE_j(s v_j U^T, j) ]

It is computed in tiles (see `tiled`), so memory grows with B, and under data-parallel averaging the gradients of
both encoders and of the scale are those of one process on the whole batch.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.objective import Loss
from pretrain.objectives.tiled import TILING, PairIds, Tiling, contrast


class InfoNCEConfig(RecipeTable):
    """The `[objective.infonce]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    false_negatives: Literal["mask", "keep"]
    """What to do with a pair off the diagonal whose image or text equals the row's: `mask` leaves it out of the
    denominator, `keep` counts it as a negative, as CLIP did."""
    max_scale: float = Field(gt=1)
    """The logit scale is held in [1, max_scale] after every step; CLIP: 100."""
    tile_rows: int = Field(default=2048, ge=1)
    """Rows, and columns, whose logits stand in memory at once. The loss does not depend on it."""


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
        ids = PairIds(inputs.image_ids_B, inputs.text_ids_B) if masked else None
        return infonce(features, ids, Tiling(self.config.tile_rows))


def infonce(features: Features, ids: PairIds | None, tiling: Tiling = TILING) -> Loss:
    """InfoNCE of this rank's rows against the columns of all ranks.

    Args:
        features: unit rows of this rank; every rank has the same number of rows.
        ids: identities, to leave out false negatives; None counts every off-diagonal pair as a negative.
        tiling: how pairs are met; the loss is the same.
    Returns: mean over rows of both directions, in nats; ln G for a model that knows nothing.
    """
    image_BD, text_BD, scale = features.image_BD, features.text_BD, features.scale
    if image_BD is None or text_BD is None or image_BD.shape != text_BD.shape:
        raise ValueError("infonce: wanted image and text rows of equal shape, one pair per row")
    image_to_text, text_to_image = contrast(image_BD, text_BD, scale, ids, tiling)
    parts = {"image_to_text": image_to_text.detach(), "text_to_image": text_to_image.detach()}
    return Loss((image_to_text + text_to_image) / 2, parts)
