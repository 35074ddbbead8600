"""First weights from a folder that transformers opens: a CLIPModel or a SiglipModel, into a DualEncoder.

Only model.safetensors is read, so nothing in the folder is run. The tokenizer must be the folder's own as well:
`tokenizer.folder` of the recipe.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pipeline.errors import RecipeError

PARTS = {
    "vision.tower.": "vision_model.",
    "vision.projection.": "visual_projection.",
    "text.tower.": "text_model.",
    "text.projection.": "text_projection.",
}
"""How names of a DualEncoder's parameters begin -> how those of a CLIPModel or a SiglipModel do."""


def renamed(name: str) -> str:
    """The name a DualEncoder's parameter has in a CLIPModel or a SiglipModel."""
    for ours, theirs in PARTS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


@torch.no_grad()
def load_initial(model: nn.Module, folder: str) -> None:
    """Give `model` the weights in `folder`.

    Raises: RecipeError: there are none, one is missing, or one has another shape; every such parameter is named.
    """
    from safetensors.torch import load_file

    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise RecipeError(f"model.init {folder}: holds no model.safetensors. Name that of a CLIPModel or SiglipModel.")
    state = load_file(path)
    faults = []
    for name, parameter in model.named_parameters():
        found = state.get(renamed(name))
        if found is None:
            faults.append(f"{renamed(name)} is missing")
        elif found.numel() != parameter.numel() or (found.ndim > 0 and found.shape != parameter.shape):
            faults.append(f"{renamed(name)} is {tuple(found.shape)}, wanted {tuple(parameter.shape)}")
        else:
            parameter.copy_(found.reshape(parameter.shape))
    if faults:
        raise RecipeError(
            f"model.init {folder}: {'; '.join(faults[:4])} ({len(faults)} in all). Set the sizes of [model] and "
            "[tokenizer] to those of the folder's config.json."
        )
