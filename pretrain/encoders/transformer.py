"""The size of a transformer, which towers of every modality share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.recipe import RecipeTable


class TransformerConfig(RecipeTable):
    """Width, depth and activation of one tower."""

    width: int = Field(ge=8)
    """Width of the residual stream."""
    mlp_width: int = Field(ge=8)
    """Hidden width of the MLPs; 4 times `width` by custom."""
    num_layers: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    """Heads; divides `width`."""
    activation: Literal["quick_gelu", "gelu"]
    """`quick_gelu` is what OpenAI's models use, `gelu` what OpenCLIP's do."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TransformerConfig:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}")
        return self
