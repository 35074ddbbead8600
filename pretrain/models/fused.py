"""A model that fuses images and texts: tokens of both, one fusion, and a head for everything that it is asked for.

Families differ in what makes tokens and what fuses them; `forward` is the same. There is one of them in a step, and it
does all: unimodal rows, the choice of pairs by them, the fused pairs, the hidden words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pretrain.batch import IGNORED, Features, Inputs
from pretrain.encoders.first_weights import initialise
from pretrain.encoders.fusion import Fused
from pretrain.encoders.words import MixtureWords, WordHead, Words, shown
from pretrain.models.parallel import unit_rows

if TYPE_CHECKING:
    from transformers import BertConfig


@dataclass(frozen=True)
class Parts:
    """What a family gives: modules that make tokens of images and of texts, and one that fuses them."""

    images: nn.Module
    words: Words | MixtureWords
    fusion: Callable[[Tensor, Tensor, Tensor], Fused]
    bert: BertConfig
    """Size of the fused rows, and the vocabulary."""
    image_width: int
    """Width of the image's rows."""
    patch_pixels: int
    """Values of a patch, of all channels."""
    end: int
    """Id of the end token."""


PATCH_HEADS = frozenset({"patches_of_image", "masked_pair"})
"""Heads for which patches are hidden."""


@dataclass(frozen=True)
class Contrast:
    """The shared space of a model that has unimodal rows: its width and the first scale."""

    projection_width: int
    initial_scale: float


class FusedModel(nn.Module):
    """Tokens, fusion and heads. `heads` are names that objectives have in `needs`; others are not built."""

    def __init__(self, parts: Parts, contrast: Contrast | None, heads: Set[str]) -> None:
        super().__init__()
        self.images, self.words, self.fusion, self.end = parts.images, parts.words, parts.fusion, parts.end
        self.heads = frozenset(heads)
        width = parts.bert.hidden_size
        if contrast is not None:
            self.image_projection = initialise(nn.Linear(parts.image_width, contrast.projection_width))
            self.text_projection = initialise(nn.Linear(width, contrast.projection_width))
            # One element, not none: DeepSpeed 0.19.8 cannot broadcast a parameter without dims.
            self.logit_scale = nn.Parameter(torch.tensor([math.log(contrast.initial_scale)]))
        if "matching" in heads:
            self.match = initialise(nn.Linear(width, 2))
        if "words_of_text" in heads:
            self.text_words = WordHead(parts.bert)
        if heads & {"words_of_pair", "masked_pair"}:
            self.pair_words = WordHead(parts.bert)
        if "patches_of_image" in heads:
            self.image_patches = initialise(nn.Linear(parts.image_width, parts.patch_pixels))
        if "masked_pair" in heads:
            self.pair_patches = initialise(nn.Linear(width, parts.patch_pixels))
        if "captions" in heads:
            self.next_words = WordHead(parts.bert)

    def forward(self, inputs: Inputs) -> Features:
        """Features of what is given and what is asked for; rows of a shared space in float32 or wider."""
        shown_BL = None if inputs.tokens_BL is None else shown(inputs.tokens_BL, self.end)
        image_BPD = None if inputs.images_BCHW is None else self.images(inputs.images_BCHW)
        text_BLD = None if inputs.tokens_BL is None else self.words(inputs.tokens_BL, shown_BL)
        features = self._unimodal(image_BPD, text_BLD)
        if inputs.pairing is not None:
            features = self._matched(features, inputs, image_BPD, text_BLD)
        if inputs.hidden_tokens_BL is not None or inputs.hidden_patches_BP is not None:
            features = self._hidden(features, inputs, image_BPD)
        if inputs.captions:
            features = self._captions(features, inputs, image_BPD)
        return features

    def _unimodal(self, image_BPD: Tensor | None, text_BLD: Tensor | None) -> Features:
        """Unit rows of class token and start token in the shared space, where there is one."""
        if not hasattr(self, "logit_scale"):
            return Features(None, None, None)
        image_BD = None if image_BPD is None else unit_rows(self.image_projection(image_BPD[:, 0]))
        text_BD = None if text_BLD is None else unit_rows(self.text_projection(text_BLD[:, 0]))
        t = self.logit_scale
        return Features(image_BD, text_BD, (t if t.dtype == torch.float64 else t.float()).exp().squeeze(0))

    def _matched(self, features: Features, inputs: Inputs, image_BPD: Tensor, text_BLD: Tensor) -> Features:
        pairs = inputs.pairing(features, inputs)
        shown_NL = shown(inputs.tokens_BL[pairs.text_N], self.end)
        if isinstance(self.words, MixtureWords):
            text_BLD = self.words.embedding(inputs.tokens_BL)
        fused = self.fusion(image_BPD[pairs.image_N], text_BLD[pairs.text_N], shown_NL)
        features = features._replace(pairs=pairs, match_N2=self.match(fused.pair_ND), pair_shown_NL=shown_NL)
        return features._replace(pair_text_NLD=fused.text_NLD, pair_image_NPD=fused.image_NPD)

    def _hidden(self, features: Features, inputs: Inputs, image_BPD: Tensor) -> Features:
        """What was hidden, by whatever the model has a head for: words, patches, both at once."""
        shown_BL, table, asked_BP = shown(inputs.tokens_BL, self.end), self.words.embedding.table, None
        if inputs.hidden_tokens_BL is not None:
            asked_BL = inputs.word_targets_BL != IGNORED
            text_BLD = self.words(inputs.hidden_tokens_BL, shown_BL)
        if inputs.hidden_patches_BP is not None:
            asked_BP = inputs.hidden_patches_BP
            dimmed_BPD = self.images(inputs.images_BCHW, asked_BP)
        if "words_of_text" in self.heads:
            features = features._replace(text_words_MV=self.text_words(text_BLD[asked_BL], table))
        if "patches_of_image" in self.heads:
            features = features._replace(image_patches_MX=self.image_patches(dimmed_BPD[:, 1:][asked_BP]))
        if "words_of_pair" in self.heads:
            fused = self.fusion(image_BPD, text_BLD, shown_BL)
            features = features._replace(words_MV=self.pair_words(fused.text_NLD[asked_BL], table))
        if "masked_pair" in self.heads:
            fused = self.fusion(dimmed_BPD, text_BLD, shown_BL)
            features = features._replace(
                pair_words_MV=self.pair_words(fused.text_NLD[asked_BL], table),
                pair_patches_MX=self.pair_patches(fused.image_NPD[:, 1:][asked_BP]),
            )
        return features

    def _captions(self, features: Features, inputs: Inputs, image_BPD: Tensor) -> Features:
        rows_BLD = self.words.tell(image_BPD, inputs.tokens_BL)
        table = self.words.embedding.table
        return next_words(features, inputs, rows_BLD, self.end, lambda rows_MD: self.next_words(rows_MD, table))


def next_words(
    features: Features, inputs: Inputs, rows_BLD: Tensor, end: int, head: Callable[[Tensor], Tensor]
) -> Features:
    """The features with logits at all places whose next token is text."""
    has_next_BL = shown(inputs.tokens_BL, end)[:, 1:]
    logits_MV = head(rows_BLD[:, :-1][has_next_BL])
    return features._replace(next_words_MV=logits_MV, next_words_M=inputs.tokens_BL[:, 1:][has_next_BL])
