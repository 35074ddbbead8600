"""The text encoder: a causal transformer, built from a transformers config, and its projection.

Takes token ids that hold one end token per row, gives the row of that token in the shared space. Attention is
causal, so what comes after the end token (padding) cannot reach it and needs no mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor, nn

from pretrain.encoders.transformer import TransformerConfig

if TYPE_CHECKING:
    from transformers import CLIPTextConfig


class TextConfig(TransformerConfig):
    """Size of the text transformer. Its vocabulary is the tokenizer's."""

    context_tokens: int = Field(ge=4)
    """Longest text in tokens, start and end included; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a model must know of its tokenizer: the number of ids, and the ids of start, end and padding."""

    size: int
    start: int
    end: int
    padding: int

    def __post_init__(self) -> None:
        # transformers reads eos_token_id == 2 as "an old config that names the wrong token" and then pools
        # at the largest id of the row instead.
        if self.end == 2:
            raise ValueError("the end token has id 2, which transformers' CLIP treats as a broken config; move it")


class TextEncoder(nn.Module):
    """Causal transformer and projection; `tower` and `projection` are those of a transformers CLIPModel."""

    def __init__(self, config: TextConfig, vocabulary: Vocabulary, projection_width: int) -> None:
        from transformers import CLIPTextModel

        super().__init__()
        self.tower = CLIPTextModel(to_transformers(config, vocabulary, projection_width))
        self.projection = nn.Linear(config.width, projection_width, bias=False)
        nn.init.normal_(self.projection.weight, std=config.width**-0.5)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Rows of the shared space, not yet of unit length, as BD."""
        pooled_BD = self.tower(input_ids=tokens_BL).pooler_output
        return self.projection(pooled_BD)


def to_transformers(config: TextConfig, vocabulary: Vocabulary, projection_width: int) -> CLIPTextConfig:
    """The same settings in the words of transformers."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocabulary.size,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        max_position_embeddings=config.context_tokens,
        hidden_act=config.activation,
        projection_dim=projection_width,
        bos_token_id=vocabulary.start,
        eos_token_id=vocabulary.end,
        pad_token_id=vocabulary.padding,
        attn_implementation="sdpa",
    )
