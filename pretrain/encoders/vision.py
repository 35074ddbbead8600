"""The image encoder: a vision transformer, built from a transformers config, and its projection.

Takes uint8 RGB, gives one row per image in the shared space. Pixels travel as bytes and are normalised here, on
the device, in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pretrain.encoders.transformer import TransformerConfig, projection

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, SiglipVisionConfig

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of R, G, B in [0, 1] that published CLIP models use (Radford et al. 2021, arXiv:2103.00020)."""
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation that goes with `PIXEL_MEAN`."""


class VisionConfig(TransformerConfig):
    """Size of the vision transformer."""

    side_px: int = Field(ge=8)
    """Height and width of the square that the model sees."""
    patch_px: int = Field(ge=2)
    """Height and width of a patch; divides `side_px`."""
    pooling: Literal["class", "attention"] = "class"
    """`class`: a class token, then a projection, as CLIP. `attention`: a learned query over all patches, no
    projection, as SigLIP."""

    @model_validator(mode="after")
    def _patches_fill_side(self) -> VisionConfig:
        if self.side_px % self.patch_px:
            raise ValueError(f"patch_px {self.patch_px} does not divide side_px {self.side_px}")
        return self

    def to_transformers(self, projection_width: int) -> CLIPVisionConfig | SiglipVisionConfig:
        """The same settings in the words of transformers."""
        from transformers import CLIPVisionConfig, SiglipVisionConfig

        shared = self.sizes() | {"image_size": self.side_px, "patch_size": self.patch_px}
        if self.pooling == "attention":
            return SiglipVisionConfig(**shared)
        return CLIPVisionConfig(**shared, projection_dim=projection_width)


class VisionEncoder(nn.Module):
    """Vision transformer and projection; `tower` and `projection` are those of a transformers model."""

    def __init__(self, config: VisionConfig, projection_width: int) -> None:
        from transformers import CLIPVisionModel, SiglipVisionModel

        super().__init__()
        attends = config.pooling == "attention"
        tower = SiglipVisionModel if attends else CLIPVisionModel
        self.tower = tower(config.to_transformers(projection_width))
        self.projection = nn.Identity() if attends else projection(config.width, projection_width)
        self.register_buffer("mean", 255 * torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(PIXEL_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Rows of the shared space, not yet of unit length, as BD. `images_BCHW` is uint8."""
        mean, std = self.mean.float(), self.std.float()
        pixels_BCHW = (images_BCHW.float() - mean) / std
        pooled_BD = self.tower(pixel_values=pixels_BCHW).pooler_output
        return self.projection(pooled_BD)
