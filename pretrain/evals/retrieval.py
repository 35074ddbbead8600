"""Image-text retrieval on a held-out split: recall at 1, 5 and 10, both ways, with chance beside it.

Images that are the same file count once, and so do texts of the same words. A text is right for an image where any
sample pairs them. The split is embedded in blocks whose content depends on the split alone; rank r takes every
W-th block, so embeddings, and with them all counts, are the same for every number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline.recipe import RecipeTable
from pipeline.shard.reader import ShardReader
from pretrain.batch import Features
from pretrain.loader import decoded, stack_images
from pretrain.tokenize import text_id
from pretrain.transform import centred
from pretrain.world import World

RECALLS = (1, 5, 10)

Embed = Callable[[Tensor | None, Tensor | None], Features]
"""A model's forward: uint8 images or token ids in, unit rows out."""


class EvalConfig(RecipeTable):
    """The `[eval]` table of a training recipe."""

    every_steps: int = Field(ge=1)
    """Steps between evaluations; the last step always has one."""
    max_samples: int | None = Field(default=None, ge=1)
    """Evaluate on the first so many samples of the split; none takes all."""
    block: int = Field(default=64, ge=1)
    """Images, or texts, embedded at once; pairs fused at once."""
    rerank: int = Field(default=16, ge=0)
    """So many best candidates of every query are ranked again by a model that fuses them; ALBEF: 128 to 256. A
    single-stream model, which has no other ranking, fuses all images with all texts, whatever this says."""


@dataclass(frozen=True, slots=True)
class Galleries:
    """Distinct images and texts as unit rows, and which belong together: `pairs` holds (image, text) row numbers.

    Rows of a model without a shared space have no width. `positions` are those of the images in the split.
    """

    image_ND: np.ndarray
    text_MD: np.ndarray
    pairs: frozenset[tuple[int, int]]
    positions: tuple[int, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Transforms:
    """How samples become what the model reads: the side of the square, and texts to token ids."""

    side_px: int
    tokens: Callable[[Sequence[str]], Tensor]


def retrieval(embed: Embed, reader: Any, transforms: Transforms, config: EvalConfig, world: World) -> dict[str, float]:
    """Recalls of `embed` on the split that `reader` reads. Collective; the same dictionary on every rank.

    Returns: `image_to_text_r1` ... `text_to_image_r10` in [0, 1], each with `_chance`, the exact expectation of a
        random ranking; `images` and `texts`, the sizes of the galleries.
    """
    galleries = embed_split(embed, reader, transforms, config, world)
    return recalls(galleries)


def embed_split(embed: Embed, reader: Any, transforms: Transforms, config: EvalConfig, world: World) -> Galleries:
    """Embed the split, a share per rank, and bring all rows together on all ranks."""
    num_samples = reader.num_samples if config.max_samples is None else min(config.max_samples, reader.num_samples)
    texts = [text for _, sample in zip(range(num_samples), reader.texts(), strict=False) for text in sample]
    owners = [n for n, sample in zip(range(num_samples), reader.texts(), strict=False) for _ in sample]

    def embed_images(start: int, stop: int) -> tuple[np.ndarray, list[int]]:
        images_BCHW, ids = read_images(reader, range(start, stop), transforms.side_px)
        return _rows(embed(images_BCHW.to(world.device), None).image_BD, stop - start), ids

    def embed_texts(start: int, stop: int) -> np.ndarray:
        tokens_BL = transforms.tokens(texts[start:stop])
        return _rows(embed(None, tokens_BL.to(world.device)).text_BD, stop - start)

    images = in_blocks(embed_images, num_samples, config.block, world)
    rows_of_texts = in_blocks(embed_texts, len(texts), config.block, world)
    content_ids = [id for _, ids in images for id in ids]
    return join(np.concatenate([rows for rows, _ in images]), content_ids, np.concatenate(rows_of_texts), texts, owners)


def join(
    image_ND: np.ndarray, content_ids: Sequence[int], text_MD: np.ndarray, texts: Sequence[str], owners: Sequence[int]
) -> Galleries:
    """Rows per sample and per text as galleries of distinct images and texts; the first of equal ones stays."""
    image_rows, image_of = _distinct(content_ids)
    text_rows, text_of = _distinct([text_id(text) for text in texts])
    pairs = frozenset((image_of[owner], text_of[number]) for number, owner in enumerate(owners))
    distinct = tuple(texts[row] for row in text_rows)
    return Galleries(image_ND[image_rows], text_MD[text_rows], pairs, tuple(image_rows), distinct)


def recalls(galleries: Galleries, scores_NM: np.ndarray | None = None) -> dict[str, float]:
    """Recalls in both directions with their chance, by the cosines of rows or by other scores of image and text.

    A tie counts against the model.
    """
    similarity_NM = galleries.image_ND @ galleries.text_MD.T if scores_NM is None else scores_NM
    right_NM = np.zeros(similarity_NM.shape, bool)
    for image, text in galleries.pairs:
        right_NM[image, text] = True
    found: dict[str, float] = {}
    for name, scores, right in (
        ("image_to_text", similarity_NM, right_NM),
        ("text_to_image", similarity_NM.T, right_NM.T),
    ):
        asked = right.any(axis=1)
        place = places(scores[asked], right[asked])
        num_right = right[asked].sum(axis=1)
        for k in RECALLS:
            found[f"{name}_r{k}"] = float(np.mean(place < k))
            found[f"{name}_r{k}_chance"] = float(np.mean([chance(int(n), right.shape[1], k) for n in num_right]))
    return found | {"images": float(len(galleries.image_ND)), "texts": float(len(galleries.text_MD))}


def places(scores_QG: np.ndarray, right_QG: np.ndarray) -> np.ndarray:
    """For each query, how many wrong answers score at least as high as the best right one; 0 is a hit at 1."""
    best_Q = np.where(right_QG, scores_QG, -np.inf).max(axis=1)
    return ((scores_QG >= best_Q[:, None]) & ~right_QG).sum(axis=1)


def chance(num_right: int, gallery: int, k: int) -> float:
    """Probability that a random ranking of `gallery` has one of `num_right` among its first `k`: hypergeometric."""
    if k >= gallery:
        return 1.0
    return 1.0 - math.comb(gallery - num_right, k) / math.comb(gallery, k)


def read_images(reader: ShardReader, positions: Sequence[int], side_px: int) -> tuple[Tensor, list[int]]:
    """Samples as the model sees them in evaluation, and the content ids of their images."""
    examples = reader.read(list(positions))
    squares = [centred(decoded(example), side_px) for example in examples]
    return stack_images(squares), [example.content_id for example in examples]


def in_blocks(make: Callable[[int, int], Any], total: int, size: int, world: World) -> list[Any]:
    """Results of all blocks in order. Every rank makes as many calls as every other, so ZeRO-3 stays in step."""
    starts = list(range(0, total, size))
    mine = starts[world.rank :: world.size]
    made = [make(start, min(start + size, total)) for start in mine]
    if len(mine) < math.ceil(len(starts) / world.size):
        make(starts[0], min(starts[0] + size, total))  # joins the others' collectives; the result is of no use
    shares = world.gather(made)
    return [shares[number % world.size][number // world.size] for number in range(len(starts))]


def _rows(rows_BD: Tensor | None, number: int) -> np.ndarray:
    if rows_BD is None:
        return np.zeros((number, 0), np.float32)
    return rows_BD.to("cpu", torch.float32).numpy()


def _distinct(ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Numbers of the first of each id, and for every entry the place of its id among those."""
    place: dict[int, int] = {}
    firsts = []
    for number, id in enumerate(ids):
        if id not in place:
            place[id] = len(firsts)
            firsts.append(number)
    return firsts, [place[id] for id in ids]
