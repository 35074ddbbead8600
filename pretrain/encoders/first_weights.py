"""First weights for the modules of models that fuse."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def initialise(module: M) -> M:
    """BERT's first weights for maps and embeddings: normal with deviation 0.02, biases 0. Returns the module."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding, nn.Conv2d)):
            nn.init.normal_(part.weight, std=0.02)
            if getattr(part, "bias", None) is not None:
                nn.init.zeros_(part.bias)
    return module
