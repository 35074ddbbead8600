"""The batch and the features: the first torch types of the mill, and the alphabet of shapes.

    B samples of this rank    G samples of all ranks (world * B)    C channels    H, W pixels
    L tokens                  P patches, a class token before them  D width of the shared space, or of a stream
    N pairs that are fused    M places that are asked for           V words of the vocabulary
    X pixels of a patch, of all channels

A name ends in the letters of its dims: `images_BCHW`, `tokens_BL`, `text_GD`.
"""

from __future__ import annotations

from collections.abc import Callable
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


IGNORED = -100
"""A target that is none, as torch's cross entropy has it."""


class Pairs(NamedTuple):
    """Who is fused with whom: rows of images and of texts, whether they belong together, and whether they count.

    A pair that does not count stands for one that could not be found, so that every rank fuses as many.
    """

    image_N: Tensor
    text_N: Tensor
    match_N: Tensor
    counts_N: Tensor


class Teaching(NamedTuple):
    """What a teacher sees in a batch, and remembers; the first of two sides is the image's. No gradient passes.

    K columns are the rows of all ranks, then those of past batches; empty places have the id -1.
    """

    own_2BD: Tensor
    rows_2KD: Tensor
    ids_2K: Tensor
    words_MV: Tensor | None
    alpha: float
    """Part of the targets that the teacher gives."""


class Inputs(NamedTuple):
    """What a model's one forward is given: a batch on its device, and what objectives ask of it beside.

    A side that is None is skipped. It is a named tuple for the reason that `Features` is one.
    """

    images_BCHW: Tensor | None
    tokens_BL: Tensor | None
    image_ids_B: Tensor | None = None
    text_ids_B: Tensor | None = None
    pairing: Callable[[Features, Inputs], Pairs] | None = None
    """Chooses the pairs to fuse, by the unimodal features where there are some: called inside the forward, because
    there is one of them in a step."""
    hidden_tokens_BL: Tensor | None = None
    """The tokens with some words hidden."""
    word_targets_BL: Tensor | None = None
    """Ids of the words that were hidden; `IGNORED` elsewhere."""
    hidden_patches_BP: Tensor | None = None
    """Which patches of the images are hidden, as bool; P without the class token."""
    captions: bool = False
    """Whether to say each text word by word, by its image and the words before."""
    teaching: Teaching | None = None
    """What a teacher says of the same inputs."""

    unmasked: bool = False
    """Whether to look at all patches, where training otherwise drops some."""

    @classmethod
    def of(cls, batch: Batch) -> Inputs:
        """The batch as it is, before objectives ask for more."""
        return cls(batch.images_BCHW, batch.tokens_BL, batch.image_ids_B, batch.text_ids_B)


class Features(NamedTuple):
    """What a model returns: unit rows and the logit scale s = e^t, not t; and what it was asked for beside.

    What was not asked for, or what the model's family has not, is None. This is a named tuple because ZeRO-3's hooks
    look for tensors inside tuples and dicts alone; in a dataclass they would miss them.
    """

    image_BD: Tensor | None
    text_BD: Tensor | None
    scale: Tensor | None
    bias: Tensor | None = None
    """Added to the logits; None where the model has none."""
    pairs: Pairs | None = None
    match_N2: Tensor | None = None
    """Logits of "not a pair" and "a pair"."""
    pair_text_NLD: Tensor | None = None
    """Fused rows of the words of `pairs`."""
    pair_shown_NL: Tensor | None = None
    """Which of these words are text, as bool."""
    pair_image_NPD: Tensor | None = None
    """Fused rows of their patches, the class token first."""
    words_MV: Tensor | None = None
    """Logits of the hidden words, row by row, from a text fused with its image."""
    text_words_MV: Tensor | None = None
    """The same from the text alone."""
    image_patches_MX: Tensor | None = None
    """Pixels of the hidden patches, row by row, from the image alone."""
    pair_words_MV: Tensor | None = None
    """Logits of the hidden words, where patches of their image were hidden too."""
    pair_patches_MX: Tensor | None = None
    """Pixels of the hidden patches, where words of their text were hidden too."""
    next_words_MV: Tensor | None = None
    """Logits of the next word at every place of every text that has one, row by row."""
    next_words_M: Tensor | None = None
    """Those words; the last of a text is its end token."""
