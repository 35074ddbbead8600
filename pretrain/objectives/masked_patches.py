"""Masked patches: what stood where an image is hidden, by the rest of it.

FLAVA (arXiv:2112.04482) asks for the codes of a discrete VAE, which would have to be downloaded. Here the answer is the
patch itself, each normalised by its own mean and deviation, by squared error, as in MAE (arXiv:2111.06377, section 4).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.mean import global_mean
from pretrain.objectives.objective import Loss


class MaskedPatchesConfig(RecipeTable):
    """The `[objective.masked_patches]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    hidden_ratio: float = Field(default=0.4, gt=0, lt=1)
    """Part of the patches of every image that is hidden; FLAVA: 75 of 196."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model must give."""
        return ("patches_of_image",)


class MaskedPatches:
    """Regression of the hidden patches of images alone, as an objective."""

    def __init__(self, config: MaskedPatchesConfig, patch_px: int) -> None:
        self.config, self.patch_px = config, patch_px
        self.ranges: dict[str, tuple[float, float]] = {}

    def ask(self, inputs: Inputs) -> Inputs:
        """Which patches to hide."""
        return with_hidden_patches(inputs, self.config.hidden_ratio, self.patch_px)

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """Mean squared error over the hidden patches of all ranks; 1 for a model that says 0."""
        return patch_loss(features.image_patches_MX, inputs, self.patch_px)


def with_hidden_patches(inputs: Inputs, hidden_ratio: float, patch_px: int) -> Inputs:
    """The inputs with as many patches hidden in each image, unless another objective hid some already."""
    if inputs.hidden_patches_BP is not None:
        return inputs
    assert inputs.images_BCHW is not None
    number, _, height, width = inputs.images_BCHW.shape
    patches = (height // patch_px) * (width // patch_px)
    hidden = min(max(round(hidden_ratio * patches), 1), patches - 1)
    order_BP = torch.rand(number, patches, device=inputs.images_BCHW.device).argsort(dim=1)
    return inputs._replace(hidden_patches_BP=order_BP < hidden)


def patch_loss(patches_MX: Tensor | None, inputs: Inputs, patch_px: int) -> Loss:
    """Squared error of patches that stand in the order of those that `inputs` hides."""
    assert patches_MX is not None
    assert inputs.images_BCHW is not None
    targets_MX = patch_targets(inputs.images_BCHW, patch_px)[inputs.hidden_patches_BP]
    errors_M = (patches_MX.float() - targets_MX).square().mean(dim=1)
    return Loss(global_mean(errors_M, torch.ones_like(errors_M, dtype=torch.bool)), {})


def patch_targets(images_BCHW: Tensor, patch_px: int) -> Tensor:
    """Pixels of each patch, row by row of the image, with mean 0 and deviation 1, as BPX; of a plain patch all 0."""
    patches_BPX = functional.unfold(images_BCHW.float() / 255, patch_px, stride=patch_px).transpose(1, 2)
    centred_BPX = patches_BPX - patches_BPX.mean(dim=-1, keepdim=True)
    return centred_BPX / (patches_BPX.var(dim=-1, keepdim=True) + 1e-6).sqrt()
