"""The fission model: a row for the image, a row for the text, and one for both (ALBEF, arXiv:2107.07651).

Two encoders give tokens; those of class and start, projected, are the shared space. A fusion over the tokens of both
gives what no single row can, and is what ranks the best candidates again.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

from pydantic import Field, model_validator

from pipeline.recipe import RecipeTable
from pretrain.encoders.fusion import CrossFusion, JointFusion, mixture
from pretrain.encoders.image_tokens import ImageTokens, ImageTokensConfig
from pretrain.encoders.text import Vocabulary
from pretrain.encoders.transformer import TransformerConfig
from pretrain.encoders.words import MixtureWords, Words, WordsConfig
from pretrain.models.fused import PATCH_HEADS, Contrast, FusedModel, Parts


class FusionConfig(RecipeTable):
    """What fuses the tokens of images and texts; its width, MLPs and heads are the text encoder's."""

    kind: Literal["cross", "joint", "mixture"]
    """`cross`: layers over the words that look at the image, as ALBEF has it; `joint`: one transformer over words and
    patches, as FLAVA has it; `mixture`: the text encoder's layers once more, as BLIP has it, which can also caption."""
    num_layers: int = Field(ge=0)
    """Layers after the text encoder's; of a `mixture` 0, because it has none of its own."""

    @model_validator(mode="after")
    def _has_layers(self) -> FusionConfig:
        if (self.kind == "mixture") != (self.num_layers == 0):
            raise ValueError(f"kind {self.kind!r} with num_layers {self.num_layers}; a mixture has 0, others have some")
        return self


class FissionConfig(RecipeTable):
    """The `[model]` table of a training recipe with `family = "fission"`."""

    @property
    def offers(self) -> frozenset[str]:
        """What objectives may need of it."""
        joint = {"words_of_pair", "alignment", "masked_pair"}
        kinds = {"cross": {"words_of_pair"}, "joint": joint, "mixture": {"captions"}}
        return frozenset({"contrast", "matching", "words_of_text", "patches_of_image"} | kinds[self.fusion.kind])

    family: Literal["fission"]
    vision: ImageTokensConfig
    text: WordsConfig
    """The text encoder before the fusion."""
    fusion: FusionConfig
    projection_width: int = Field(ge=2)
    """Width D of the shared space."""
    initial_scale: float = Field(gt=0)
    """Factor of the cosines in the logits at the start; ALBEF: 1 / 0.07 = 14.2857."""


def fission(config: FissionConfig, vocabulary: Vocabulary, heads: Set[str]) -> FusedModel:
    """The model, with first weights by torch's generator."""
    vision, text, layers = config.vision, config.text, config.fusion.num_layers
    bert = text.to_transformers(vocabulary, cross=True)
    words = Words(text, vocabulary, text.num_layers) if layers else MixtureWords(bert, text.num_layers, vision.width)
    if isinstance(words, MixtureWords):
        fusion = mixture(words)
    elif config.fusion.kind == "cross":
        fusion = CrossFusion(bert, layers, vision.width)
    else:
        size = {name: getattr(text, name) for name in TransformerConfig.model_fields} | {"num_layers": layers}
        both = ImageTokensConfig(**size, side_px=vision.side_px, patch_px=vision.patch_px)
        fusion = JointFusion(both.to_transformers(), vision.width, text.width)
    parts = Parts(
        images=ImageTokens(vision, hides=bool(heads & PATCH_HEADS)),
        words=words,
        fusion=fusion,
        bert=bert,
        image_width=vision.width,
        patch_pixels=3 * vision.patch_px**2,
        end=vocabulary.end,
    )
    return FusedModel(parts, Contrast(config.projection_width, config.initial_scale), heads)
