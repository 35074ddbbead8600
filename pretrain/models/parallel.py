"""The parallel-stream model: one encoder per side, one shared space, one learned scale (CLIP, arXiv:2103.00020).

There is one `forward`. Encoders are never called on their own: under ZeRO-3 a tower's parameters exist only
while the engine runs the whole model's forward.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.encoders.text import TextConfig, TextEncoder, Vocabulary
from pretrain.encoders.vision import VisionConfig, VisionEncoder


class ModelConfig(RecipeTable):
    """The `[model]` table of a training recipe."""

    offers: ClassVar[frozenset[str]] = frozenset({"contrast"})

    family: Literal["parallel"]
    """`parallel`: separate towers and a shared space."""
    vision: VisionConfig
    text: TextConfig
    projection_width: int = Field(ge=2)
    """Width D of the shared space."""
    initial_scale: float = Field(gt=0)
    """Factor of the cosines in the logits at the start; CLIP: 1 / 0.07 = 14.2857."""


class DualEncoder(nn.Module):
    """Image encoder, text encoder and the learned logarithm t of the logit scale."""

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vision = VisionEncoder(config.vision, config.projection_width)
        self.text = TextEncoder(config.text, vocabulary, config.projection_width)
        # One element, not none: DeepSpeed 0.19.8 cannot broadcast a parameter without dims.
        self.logit_scale = nn.Parameter(torch.tensor([math.log(config.initial_scale)]))

    def forward(self, inputs: Inputs) -> Features:
        """Features of what is given; a side that is None is skipped.

        Returns: unit rows in float32 (or wider, where the model is), whatever the precision of the towers.
        """
        image_BD = None if inputs.images_BCHW is None else unit_rows(self.vision(inputs.images_BCHW))
        text_BD = None if inputs.tokens_BL is None else unit_rows(self.text(inputs.tokens_BL))
        return Features(image_BD, text_BD, _at_least_float32(self.logit_scale).exp().squeeze(0))


def unit_rows(rows_BD: Tensor) -> Tensor:
    """The rows scaled to length 1, in float32 at least."""
    rows_BD = _at_least_float32(rows_BD)
    return rows_BD / rows_BD.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
