"""The text encoder: a transformer, built from a transformers config, and its projection.

Takes token ids that hold one end token per row, gives one row of the shared space per text. Rows do not depend on
how far a batch is padded. CLIP's attention is causal, so what comes after the end token cannot reach it and needs no
mask. SigLIP's looks both ways, at padding too, and pools the last of all places, so every batch is filled up to
`context_tokens`, which is what its published models saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from pretrain.encoders.transformer import TransformerConfig, projection

if TYPE_CHECKING:
    from transformers import CLIPTextConfig, SiglipTextConfig


class TextConfig(TransformerConfig):
    """Size of the text transformer. Its vocabulary is the tokenizer's."""

    context_tokens: int = Field(ge=4)
    """Longest text in tokens, start and end included; the rest is cut off."""
    pooling: Literal["end", "last"] = "end"
    """`end`: causal, the end token's row, then a projection, as CLIP. `last`: attention both ways, the last place's
    row, then a projection with a bias, as SigLIP."""


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
    """Text transformer and projection; `tower` and `projection` are those of a transformers model."""

    def __init__(self, config: TextConfig, vocabulary: Vocabulary, projection_width: int) -> None:
        from transformers import CLIPTextModel, SiglipTextModel

        super().__init__()
        self.filled_to = config.context_tokens if config.pooling == "last" else None
        self.padding = vocabulary.padding
        tower = SiglipTextModel if config.pooling == "last" else CLIPTextModel
        self.tower = tower(to_transformers(config, vocabulary, projection_width))
        # SigLIP's projection is the head of its tower.
        self.projection = nn.Identity() if config.pooling == "last" else projection(config.width, projection_width)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Rows of the shared space, not yet of unit length, as BD."""
        if self.filled_to is not None:
            tokens_BL = filled(tokens_BL, self.filled_to, self.padding)
        pooled_BD = self.tower(input_ids=tokens_BL).pooler_output
        return self.projection(pooled_BD)


def filled(tokens_BL: Tensor, length: int, padding: int) -> Tensor:
    """Tokens with padding up to `length`."""
    return functional.pad(tokens_BL, (0, length - tokens_BL.shape[1]), value=padding)


def to_transformers(
    config: TextConfig, vocabulary: Vocabulary, projection_width: int
) -> CLIPTextConfig | SiglipTextConfig:
    """The same settings in the words of transformers."""
    from transformers import CLIPTextConfig, SiglipTextConfig

    shared = config.sizes() | {
        "vocab_size": vocabulary.size,
        "max_position_embeddings": config.context_tokens,
        "bos_token_id": vocabulary.start,
        "eos_token_id": vocabulary.end,
        "pad_token_id": vocabulary.padding,
    }
    if config.pooling == "last":
        return SiglipTextConfig(**shared, projection_size=projection_width)
    return CLIPTextConfig(**shared, projection_dim=projection_width)
