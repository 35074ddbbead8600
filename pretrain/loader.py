"""From shards to batches: the infinite training stream, and the blocks of an evaluation split.

Sample p of a run is `order(epoch=p // N)[p % N]` of N samples. Step s takes p in [s * G, (s + 1) * G) and rank r of
W the r-th run of G / W of them. So nothing is dropped or repeated within an epoch, a resume needs one integer, and
the stream does not depend on the world size. Batches are made ahead of time by threads: reading, decoding and
resizing release Python's lock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline.errors import DatasetError
from pipeline.recipe import RecipeTable
from pipeline.shard.reader import Example
from pretrain.batch import Batch
from pretrain.tokenize import Tokenizer, text_id
from pretrain.transform import AugmentConfig, augmented, decode_rgb, sample_random


class DataConfig(RecipeTable):
    """The `[data]` table of a training recipe."""

    url: str
    """A dataset folder with finished shards: a local path, or a URL such as s3://bucket/folder."""
    split: str = "train"
    """Split to train on."""
    eval_split: str
    """Split to evaluate on; it is never trained on."""


class LoaderConfig(RecipeTable):
    """The `[loader]` table of a training recipe; has no influence on what a batch holds."""

    threads: int = Field(default=2, ge=1)
    """Batches made at once by every rank."""
    batches_ahead: int = Field(default=4, ge=1)
    """Batches ready or in the making before they are asked for."""


class Reader(Protocol):
    """What a loader needs of a `pipeline.shard.reader.ShardReader`."""

    num_samples: int

    def order(self, *, seed: int, epoch: int) -> np.ndarray:
        """Permutation of the samples for one epoch."""

    def read(self, positions: Sequence[int]) -> list[Example]:
        """Samples at these positions."""


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Which part of the stream a loader makes, and how: `rank` of `world`, `batch_size` of all ranks together."""

    seed: int
    batch_size: int
    side_px: int
    augment: AugmentConfig
    rank: int
    world: int


class TrainLoader:
    """Batches of one rank, step by step, from `step` on. `waited_s` is the time spent waiting for them so far."""

    def __init__(self, reader: Reader, tokenizer: Tokenizer, stream: StreamConfig, config: LoaderConfig) -> None:
        self.reader, self.tokenizer, self.stream, self.config = reader, tokenizer, stream, config
        self.waited_s = 0.0
        self._order = lru_cache(maxsize=3)(lambda epoch: reader.order(seed=stream.seed, epoch=epoch))

    def batches(self, step: int) -> Iterator[Batch]:
        """Batches of `step`, `step + 1`, ... without end; closing the iterator ends its threads."""
        pool = ThreadPoolExecutor(self.config.threads, thread_name_prefix="loader")
        ahead: deque[Future[Batch]] = deque()
        try:
            while True:
                while len(ahead) < self.config.batches_ahead:
                    ahead.append(pool.submit(self.batch, step))
                    step += 1
                start = time.perf_counter()
                batch = ahead.popleft().result()
                self.waited_s += time.perf_counter() - start
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def places(self, step: int) -> list[tuple[int, int]]:
        """(epoch, position) of this rank's samples in one step."""
        size = self.stream.batch_size // self.stream.world
        first = step * self.stream.batch_size + self.stream.rank * size
        places = [divmod(number, self.reader.num_samples) for number in range(first, first + size)]
        return [(epoch, int(self._order(epoch)[place])) for epoch, place in places]

    def batch(self, step: int) -> Batch:
        """This rank's batch of one step; the same whenever it is asked for."""
        places = self.places(step)
        examples = self.reader.read([position for _, position in places])
        images, texts = [], []
        for (epoch, _), example in zip(places, examples, strict=True):
            random = sample_random(self.stream.seed, example.key, epoch)
            texts.append(choose_text(example, random))
            images.append(augmented(decoded(example), self.stream.augment, self.stream.side_px, random))
        return Batch(
            images_BCHW=stack_images(images),
            tokens_BL=self.tokenizer(texts),
            image_ids_B=torch.tensor([example.content_id for example in examples]),
            text_ids_B=torch.tensor([text_id(text) for text in texts]),
            keys=tuple(example.key for example in examples),
        )


def choose_text(example: Example, random: np.random.Generator) -> str:
    """One of the sample's texts, each as likely as the others."""
    if not example.texts:
        raise DatasetError(f"sample {example.key}: has no text, so no pair. Drop such rows in the dataset's verdict.")
    return example.texts[int(random.integers(len(example.texts)))]


def decoded(example: Example) -> np.ndarray:
    """The image of a sample as uint8 HWC. Raises: DatasetError: a shard holds what cannot be decoded."""
    try:
        return decode_rgb(example.media, example.mime)
    except ValueError as error:
        raise DatasetError(f"sample {example.key}: {error}. Run `pairmill verify` on the dataset.") from error


def stack_images(images: Sequence[np.ndarray]) -> Tensor:
    """Equal squares of HWC as one uint8 tensor BCHW."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
