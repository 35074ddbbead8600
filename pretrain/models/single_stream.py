"""The single-stream model: words and patches in one transformer, and no row for either alone (ViLT, arXiv:2102.03334).

Retrieval with it means to fuse every image with every text.
"""

from __future__ import annotations

from collections.abc import Set
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.recipe import RecipeTable
from pretrain.encoders.fusion import JointFusion
from pretrain.encoders.image_tokens import ImageTokensConfig, PatchEmbedding
from pretrain.encoders.text import Vocabulary
from pretrain.encoders.transformer import TransformerConfig
from pretrain.encoders.words import Words, WordsConfig
from pretrain.models.fused import FusedModel, Parts


class PatchesConfig(RecipeTable):
    """How an image is cut into patches."""

    side_px: int = Field(ge=8)
    """Height and width of the square that the model sees."""
    patch_px: int = Field(ge=2)
    """Height and width of a patch; divides `side_px`."""


class ContextConfig(RecipeTable):
    """How much of a text is read."""

    context_tokens: int = Field(ge=4)
    """Longest text in tokens, start and end included; the rest is cut off."""


class SingleStreamConfig(RecipeTable):
    """The `[model]` table of a training recipe with `family = "single_stream"`."""

    offers: ClassVar[frozenset[str]] = frozenset({"matching", "words_of_pair", "alignment"})

    family: Literal["single_stream"]
    vision: PatchesConfig
    text: ContextConfig
    stream: TransformerConfig
    """Size of the one transformer."""


def single_stream(config: SingleStreamConfig, vocabulary: Vocabulary, heads: Set[str]) -> FusedModel:
    """The model, with first weights by torch's generator."""
    stream = config.stream.model_dump()
    vision = ImageTokensConfig(**stream, **config.vision.model_dump())
    text = WordsConfig(**stream, **config.text.model_dump())
    width = config.stream.width
    parts = Parts(
        images=PatchEmbedding(vision),
        words=Words(text, vocabulary, num_layers=0),
        fusion=JointFusion(vision.to_transformers(), image_width=width, text_width=width),
        bert=text.to_transformers(vocabulary),
        image_width=width,
        patch_pixels=3 * vision.patch_px**2,
        end=vocabulary.end,
    )
    return FusedModel(parts, None, heads)
