"""Images as tokens for models that fuse: a class token and one token per patch, by a ViT (arXiv:2010.11929).

`ImageTokens` is the whole transformer of transformers' ViTModel, `PatchEmbedding` its embedding alone. Pixels travel
as bytes and are normalised here to [-1, 1]. Patches may be hidden: a learned token stands where they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator
from torch import Tensor, nn

from pretrain.encoders.first_weights import initialise
from pretrain.encoders.transformer import TransformerConfig

if TYPE_CHECKING:
    from transformers import ViTConfig


class ImageTokensConfig(TransformerConfig):
    """Size of a vision transformer that gives tokens."""

    side_px: int = Field(ge=8)
    """Height and width of the square that the model sees."""
    patch_px: int = Field(ge=2)
    """Height and width of a patch; divides `side_px`."""

    @model_validator(mode="after")
    def _patches_fill_side(self) -> ImageTokensConfig:
        if self.side_px % self.patch_px:
            raise ValueError(f"patch_px {self.patch_px} does not divide side_px {self.side_px}")
        return self

    def to_transformers(self) -> ViTConfig:
        """The same settings in the words of transformers."""
        from transformers import ViTConfig

        return ViTConfig(
            image_size=self.side_px,
            patch_size=self.patch_px,
            hidden_size=self.width,
            intermediate_size=self.mlp_width,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            hidden_act=self.activation,
            attn_implementation="sdpa",
        )


class ImageTokens(nn.Module):
    """A vision transformer and its last norm."""

    def __init__(self, config: ImageTokensConfig, *, hides: bool) -> None:
        """`hides`: patches may be hidden."""
        from transformers import ViTModel

        super().__init__()
        self.tower = ViTModel(config.to_transformers(), add_pooling_layer=False, use_mask_token=hides)

    def forward(self, images_BCHW: Tensor, hidden_BP: Tensor | None = None) -> Tensor:
        """Rows as BPD, the class token first. `images_BCHW` is uint8; `hidden_BP` says which patches are hidden."""
        pixels_BCHW = normalised(images_BCHW, self.tower.embeddings.cls_token)
        return self.tower(pixel_values=pixels_BCHW, bool_masked_pos=hidden_BP).last_hidden_state


class PatchEmbedding(nn.Module):
    """A linear map of patches, with places and a class token, and no layer."""

    def __init__(self, config: ImageTokensConfig) -> None:
        from transformers.models.vit.modeling_vit import ViTEmbeddings

        super().__init__()
        self.rows = ViTEmbeddings(config.to_transformers())
        initialise(self)
        for parameter in (self.rows.cls_token, self.rows.position_embeddings):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Rows as BPD, the class token first. `images_BCHW` is uint8."""
        return self.rows(normalised(images_BCHW, self.rows.cls_token))


def normalised(images_BCHW: Tensor, like: Tensor) -> Tensor:
    """uint8 RGB to [-1, 1], as ViTs of the literature take it, in the type of `like`."""
    return (images_BCHW.float() / 127.5 - 1).to(like.dtype)
