"""Fusion: one representation of an image and a text. Three kinds.

- `CrossFusion`: layers over the words, each of which also looks at the image (ALBEF, arXiv:2107.07651).
- `JointFusion`: one transformer over the words and the patches in a row (ViLT, arXiv:2102.03334; FLAVA, 2112.04482).
- `mixture`: the text encoder's own layers once more, now looking at the image (BLIP, arXiv:2201.12086).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from pretrain.encoders.first_weights import initialise
from pretrain.encoders.words import BertLayers, MixtureWords, bridge

if TYPE_CHECKING:
    from transformers import BertConfig, ViTConfig


class Fused(NamedTuple):
    """Rows of N pairs: one for the pair, those of its words, and those of its patches where the fusion has them."""

    pair_ND: Tensor
    text_NLD: Tensor
    image_NPD: Tensor | None


class CrossFusion(nn.Module):
    """BERT layers with cross-attention; the pair's row is that of the start token."""

    def __init__(self, config: BertConfig, num_layers: int, image_width: int) -> None:
        super().__init__()
        self.bridge = bridge(image_width, config.hidden_size)
        self.layers = BertLayers(config, num_layers)

    def forward(self, image_NPD: Tensor, text_NLD: Tensor, shown_NL: Tensor) -> Fused:
        """Fuse pairs row by row."""
        text_NLD = self.layers(text_NLD, shown_NL[:, None], self.bridge(image_NPD))
        return Fused(text_NLD[:, 0], text_NLD, None)


class JointFusion(nn.Module):
    """A pre-norm transformer over [words ; patches].

    The two kinds are told apart by a learned row each. Widths that differ are bridged by a linear map.
    """

    def __init__(self, config: ViTConfig, image_width: int, text_width: int) -> None:
        from transformers.models.vit.modeling_vit import ViTLayer

        super().__init__()
        self.image_bridge, self.text_bridge = (bridge(width, config.hidden_size) for width in (image_width, text_width))
        self.kinds = nn.Embedding(2, config.hidden_size)
        self.layers = nn.ModuleList([ViTLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        initialise(self)

    def forward(self, image_NPD: Tensor, text_NLD: Tensor, shown_NL: Tensor) -> Fused:
        """Fuse pairs row by row; the pair's row is a map of the start token's."""
        length = text_NLD.shape[1]
        text, image = self.kinds(torch.arange(2, device=text_NLD.device))
        rows_NSD = torch.cat([self.text_bridge(text_NLD) + text, self.image_bridge(image_NPD) + image], dim=1)
        seen_NS = torch.cat([shown_NL, shown_NL.new_ones(image_NPD.shape[:2])], dim=1)
        for layer in self.layers:
            rows_NSD = layer(rows_NSD, seen_NS[:, None, None])
        rows_NSD = self.norm(rows_NSD)
        return Fused(torch.tanh(self.pooler(rows_NSD[:, 0])), rows_NSD[:, :length], rows_NSD[:, length:])


def mixture(words: MixtureWords) -> Callable[[Tensor, Tensor, Tensor], Fused]:
    """Fusion by the text encoder itself, from the embeddings of the words."""

    def fuse(image_NPD: Tensor, rows_NLD: Tensor, shown_NL: Tensor) -> Fused:
        text_NLD = words.fuse(image_NPD, rows_NLD, shown_NL)
        return Fused(text_NLD[:, 0], text_NLD, None)

    return fuse
