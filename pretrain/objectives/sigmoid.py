"""The sigmoid loss over the global batch (SigLIP, arXiv:2303.15343): every pair is a yes-or-no question of its own.

    L = -(1 / G) sum_i sum_j log sigmoid(z_ij (s u_i v_j + bias)),  z_ij = 1 where i = j, -1 elsewhere

No softmax crosses ranks. It is computed in tiles (see `tiled`); gradients of encoders, scale and bias are exact.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.objective import Loss
from pretrain.objectives.tiled import TILING, PairIds, Tiling, pairwise_sigmoid


class SigmoidConfig(RecipeTable):
    """The `[objective.sigmoid]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    false_negatives: Literal["mask", "keep"]
    """What to do with a pair off the diagonal whose image or text equals the row's: `mask` leaves it out, `keep`
    calls it a negative, as SigLIP did."""
    tile_rows: int = Field(default=2048, ge=1)
    """Rows, and columns, whose logits stand in memory at once. The loss does not depend on it."""


class Sigmoid:
    """The sigmoid loss of image and text rows as an objective. The scale is not held in a range."""

    def __init__(self, config: SigmoidConfig) -> None:
        self.config = config
        self.ranges: dict[str, tuple[float, float]] = {}

    def ask(self, inputs: Inputs) -> Inputs:
        """Both sides of the batch are all it needs."""
        return inputs

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """See `sigmoid`."""
        masked = self.config.false_negatives == "mask"
        ids = PairIds(inputs.image_ids_B, inputs.text_ids_B) if masked else None
        return sigmoid(features, ids, Tiling(self.config.tile_rows))


def sigmoid(features: Features, ids: PairIds | None, tiling: Tiling = TILING) -> Loss:
    """The sigmoid loss of this rank's images against the texts of all ranks.

    Args:
        features: unit rows of this rank, scale and bias; every rank has the same number of rows.
        ids: identities, to leave out false negatives; None counts every off-diagonal pair as a negative.
        tiling: how pairs are met; the loss is the same.
    Returns: mean over rows of the sum over columns, in nats.
    """
    image_BD, text_BD = features.image_BD, features.text_BD
    if image_BD is None or text_BD is None or image_BD.shape != text_BD.shape:
        raise ValueError("sigmoid: wanted image and text rows of equal shape, one pair per row")
    if features.bias is None:
        raise ValueError("sigmoid: the model has no logit bias; give model.initial_bias, SigLIP's is -10")
    return Loss(pairwise_sigmoid((image_BD, text_BD, features.scale, features.bias), ids, tiling), {})
