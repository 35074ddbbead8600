"""The batch and the features: the first torch types of the mill, and the alphabet of shapes.

    B samples of this rank    G samples of all ranks (world * B)    C channels    H, W pixels
    L tokens                  P patches                             D width of the shared space

A name ends in the letters of its dims: `images_BCHW`, `tokens_BL`, `text_GD`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """What one rank sees in one step, still as bytes and ids.

    `images_BCHW` is uint8 RGB; `tokens_BL` is int64, padded. Equal `image_ids_B` are the same picture, equal
    `text_ids_B` the same words: such pairs off the diagonal are no negatives. `keys` name the samples. Of them, the
    `num_broken` could not be had, and others of the batch stand in for them, once more.
    """

    images_BCHW: Tensor
    tokens_BL: Tensor
    image_ids_B: Tensor
    text_ids_B: Tensor
    keys: tuple[str, ...]
    num_broken: int = 0

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        images, tokens = self.images_BCHW, self.tokens_BL
        image_ids, text_ids = self.image_ids_B, self.text_ids_B
        moved = [tensor.to(device, non_blocking=True) for tensor in (images, tokens, image_ids, text_ids)]
        return Batch(*moved, keys=self.keys, num_broken=self.num_broken)


class Inputs(NamedTuple):
    """What a model's one forward is given: a batch on its device, and what objectives ask of it beside.

    A side that is None is skipped. It is a named tuple for the reason that `Features` is one.
    """

    images_BCHW: Tensor | None
    tokens_BL: Tensor | None
    image_ids_B: Tensor | None = None
    text_ids_B: Tensor | None = None

    @classmethod
    def of(cls, batch: Batch) -> Inputs:
        """The batch as it is, before objectives ask for more."""
        return cls(batch.images_BCHW, batch.tokens_BL, batch.image_ids_B, batch.text_ids_B)


class Features(NamedTuple):
    """What a parallel-stream model returns: unit rows and the logit scale s = e^t, not t.

    A side that was not asked for is None. This is a named tuple because ZeRO-3's hooks look for tensors
    inside tuples and dicts alone; in a dataclass they would miss them.
    """

    image_BD: Tensor | None
    text_BD: Tensor | None
    scale: Tensor
