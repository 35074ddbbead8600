"""The parallel-stream model: one encoder per side, one shared space, one learned scale (CLIP, arXiv:2103.00020).

There is one `forward`. Encoders are never called on their own: under ZeRO-3 a tower's parameters exist only
while the engine runs the whole model's forward.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.encoders.text import TextConfig, TextEncoder, Vocabulary
from pretrain.encoders.vision import VisionConfig, VisionEncoder
from pretrain.models.initial import load_initial


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
    """Factor of the cosines in the logits at the start; CLIP: 1 / 0.07 = 14.2857, SigLIP: 10."""
    initial_bias: float | None = None
    """Added to the logits at the start, and learned; SigLIP: -10. None: there is no bias."""
    init: str | None = None
    """A local folder of a transformers CLIPModel or SiglipModel, to begin with its weights; none begins at random."""

    @model_validator(mode="after")
    def _towers_go_together(self) -> ModelConfig:
        pooled = (self.vision.pooling, self.text.pooling)
        if pooled not in (("class", "end"), ("attention", "last")):
            raise ValueError(
                f"vision.pooling {pooled[0]!r} with text.pooling {pooled[1]!r} is no model that transformers opens; "
                "take 'class' with 'end' (CLIP), or 'attention' with 'last' (SigLIP)"
            )
        if self.vision.pooling == "attention" and self.vision.width != self.projection_width:
            raise ValueError(
                f"vision.pooling 'attention' has no projection, so projection_width {self.projection_width} "
                f"must be vision.width {self.vision.width}"
            )
        return self


class DualEncoder(nn.Module):
    """Image encoder, text encoder, the learned logarithm t of the logit scale and, where asked for, a logit bias."""

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vision = VisionEncoder(config.vision, config.projection_width)
        self.text = TextEncoder(config.text, vocabulary, config.projection_width)
        # One element, not none: DeepSpeed 0.19.8 cannot broadcast a parameter without dims.
        self.logit_scale = nn.Parameter(torch.tensor([math.log(config.initial_scale)]))
        bias = config.initial_bias
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor([bias]))
        if config.init is not None:
            load_initial(self, config.init)

    def forward(self, inputs: Inputs) -> Features:
        """Features of what is given; a side that is None is skipped.

        Returns: unit rows in float32 (or wider, where the model is), whatever the precision of the towers.
        """
        image_BD = None if inputs.images_BCHW is None else unit_rows(self.vision(inputs.images_BCHW))
        text_BD = None if inputs.tokens_BL is None else unit_rows(self.text(inputs.tokens_BL))
        scale = _at_least_float32(self.logit_scale).exp().squeeze(0)
        bias = None if self.logit_bias is None else _at_least_float32(self.logit_bias).squeeze(0)
        return Features(image_BD, text_BD, scale, bias)


def unit_rows(rows_BD: Tensor) -> Tensor:
    """The rows scaled to length 1, in float32 at least."""
    rows_BD = _at_least_float32(rows_BD)
    return rows_BD / rows_BD.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
