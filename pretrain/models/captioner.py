"""The captioner: an image encoder and a text decoder in two halves (CoCa, arXiv:2205.01917).

The first half reads the text alone, from left to right; a class token behind it gives the text's row of the shared
space. The second half goes on with the words and looks at the image, and says the next word. Two poolers look at the
image: one with many queries for the second half, and on top of it one with a single query for the shared space.
"""

from __future__ import annotations

import math
from collections.abc import Set
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.encoders.first_weights import initialise
from pretrain.encoders.image_tokens import ImageTokens, ImageTokensConfig
from pretrain.encoders.text import Vocabulary
from pretrain.encoders.words import BertLayers, WordEmbedding, WordHead, WordsConfig, bridge, causal, shown
from pretrain.models.fused import next_words
from pretrain.models.parallel import unit_rows

if TYPE_CHECKING:
    from transformers import BertConfig


class CaptionerConfig(RecipeTable):
    """The `[model]` table of a training recipe with `family = "captioner"`."""

    offers: ClassVar[frozenset[str]] = frozenset({"contrast", "captions"})

    family: Literal["captioner"]
    vision: ImageTokensConfig
    text: WordsConfig
    """The decoder's first half, which reads the text alone."""
    decoder_layers: int = Field(ge=1)
    """Layers of the second half, which looks at the image."""
    image_queries: int = Field(ge=1)
    """Rows that the image is pooled to for the second half; CoCa: 256."""
    projection_width: int = Field(ge=2)
    """Width D of the shared space."""
    initial_scale: float = Field(gt=0)
    """Factor of the cosines in the logits at the start; CoCa: 1 / 0.07 = 14.2857."""


class Pooler(nn.Module):
    """Learned queries that look at rows; as many rows as queries come out."""

    def __init__(self, config: BertConfig, num_queries: int) -> None:
        from transformers.models.bert.modeling_bert import BertAttention

        super().__init__()
        self.queries = nn.Parameter(torch.empty(num_queries, config.hidden_size).normal_(std=0.02))
        self.attention = initialise(BertAttention(config, is_cross_attention=True))

    def forward(self, rows_BPD: Tensor) -> Tensor:
        """Pooled rows, as BQD."""
        queries_BQD = self.queries.expand(len(rows_BPD), *self.queries.shape)
        return self.attention(queries_BQD, None, rows_BPD)[0]


class Captioner(nn.Module):
    """Image encoder, poolers, and a text decoder of two halves."""

    def __init__(self, config: CaptionerConfig, vocabulary: Vocabulary, heads: Set[str]) -> None:
        super().__init__()
        bert, width = config.text.to_transformers(vocabulary, cross=True), config.text.width
        self.end = vocabulary.end
        self.images = ImageTokens(config.vision, hides=False)
        self.bridge = bridge(config.vision.width, width)
        self.image_pooler, self.contrast_pooler = Pooler(bert, config.image_queries), Pooler(bert, 1)
        self.embedding = WordEmbedding(bert)
        self.class_token = nn.Parameter(torch.empty(1, width).normal_(std=0.02))
        self.first = BertLayers(config.text.to_transformers(vocabulary), config.text.num_layers)
        if "contrast" in heads:
            self.image_projection = initialise(nn.Linear(width, config.projection_width))
            self.text_projection = initialise(nn.Linear(width, config.projection_width))
            # One element, not none: DeepSpeed 0.19.8 cannot broadcast a parameter without dims.
            self.logit_scale = nn.Parameter(torch.tensor([math.log(config.initial_scale)]))
        if "captions" in heads:
            self.second = BertLayers(bert, config.decoder_layers)
            self.head = WordHead(bert)

    def forward(self, inputs: Inputs) -> Features:
        """Features of what is given and what is asked for."""
        image_BQD = text_BLD = None
        if inputs.images_BCHW is not None:
            image_BQD = self.image_pooler(self.bridge(self.images(inputs.images_BCHW)))
        if inputs.tokens_BL is not None:
            text_BLD = self._read(inputs.tokens_BL)
        features = self._unimodal(image_BQD, text_BLD)
        if not inputs.captions:
            return features
        seen_BLL = causal(inputs.tokens_BL)
        rows_BLD = self.second(text_BLD[:, :-1], seen_BLL, image_BQD)
        table = self.embedding.table
        return next_words(features, inputs, rows_BLD, self.end, lambda rows_MD: self.head(rows_MD, table))

    def _read(self, tokens_BL: Tensor) -> Tensor:
        """Rows of the words, which see those before them, and of a class token behind, which sees the whole text."""
        rows_BLD = self.embedding(tokens_BL)
        class_B1D = self.class_token.to(rows_BLD.dtype).expand(len(tokens_BL), 1, -1)
        length = tokens_BL.shape[1]
        seen_BLL = torch.nn.functional.pad(causal(tokens_BL), (0, 1, 0, 1)).repeat(len(tokens_BL), 1, 1)
        seen_BLL[:, length, :length], seen_BLL[:, length, length] = shown(tokens_BL, self.end), True
        return self.first(torch.cat([rows_BLD, class_B1D], dim=1), seen_BLL)

    def _unimodal(self, image_BQD: Tensor | None, text_BLD: Tensor | None) -> Features:
        if not hasattr(self, "logit_scale"):
            return Features(None, None, None)
        image_BD = text_BD = None
        if image_BQD is not None:
            image_BD = unit_rows(self.image_projection(self.contrast_pooler(image_BQD)[:, 0]))
        if text_BLD is not None:
            text_BD = unit_rows(self.text_projection(text_BLD[:, -1]))
        t = self.logit_scale
        return Features(image_BD, text_BD, (t if t.dtype == torch.float64 else t.float()).exp().squeeze(0))
