"""What towers of every modality share: the size of a transformer, and the projection into the shared space."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

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
    activation: Literal["quick_gelu", "gelu", "gelu_pytorch_tanh"]
    """`quick_gelu` is what OpenAI's models use, `gelu` what OpenCLIP's do, `gelu_pytorch_tanh` what SigLIP's do."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TransformerConfig:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}")
        return self

    def sizes(self) -> dict[str, Any]:
        """These settings in the words of any config of transformers."""
        return {
            "hidden_size": self.width,
            "intermediate_size": self.mlp_width,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "hidden_act": self.activation,
            "attn_implementation": "sdpa",
        }


def projection(width: int, projection_width: int) -> nn.Linear:
    """A projection into the shared space with CLIP's first weights."""
    made = nn.Linear(width, projection_width, bias=False)
    nn.init.normal_(made.weight, std=width**-0.5)
    return made
