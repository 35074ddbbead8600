"""From shards to batches: the infinite training stream, made ahead of time by threads.

Step after step, a planner takes the next global batch off the stream (`pretrain/data/stream.py`) and gives this rank's
part of it to threads in pieces: reading, decoding and resizing release Python's lock, and pixels go straight into the
batch. So nothing is dropped or repeated within an epoch, what a batch holds does not depend on ranks, threads or
restarts, and the stream goes on from `state()`, some hundred bytes of JSON.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from pipeline.errors import DatasetError
from pipeline.recipe import RecipeTable
from pipeline.shard.reader import Example, Fault
from pretrain.batch import Batch
from pretrain.data.mixture import SourceConfig, parts_of
from pretrain.data.patient import PatientReader
from pretrain.data.picks import Draws, Picks
from pretrain.data.squares import SquareMaker
from pretrain.data.stream import TEXT_DRAW, Stream, StreamConfig, Weights
from pretrain.tokenize import Tokenizer, text_id
from pretrain.transform import AugmentConfig, decode_rgb

log = logging.getLogger(__name__)

PIECE = 32
"""Samples that a thread makes at once: some ten milliseconds of work between two turns with Python's lock."""


class DataConfig(RecipeTable):
    """The `[data]` table of a training recipe."""

    url: str
    """A dataset folder with finished shards: a local path, or a URL such as s3://bucket/folder."""
    split: str = "train"
    """Split to train on, where there is no mixture."""
    eval_split: str
    """Split to evaluate on; it is never trained on. It is that of `url`, with a mixture too."""
    mixture: tuple[SourceConfig, ...] = ()
    """Datasets to train on together, each with its weight; none trains on `split` of `url`."""
    weights: Weights = "ignore"
    """What the weights of the verdict do. `ignore`: nothing, each sample comes once an epoch. `repeat`: one of weight w
    comes w times, on average over epochs."""
    text_buckets: int | None = Field(default=None, ge=2)
    """Batches whose samples are sorted by the length of their texts and dealt out anew, so that a batch holds texts of
    like lengths; none leaves them as they come."""
    text_pad_multiple: int = Field(default=1, ge=1)
    """Texts are padded to the longest of their batch, rounded up to this."""
    broken: Literal["stop", "skip"] = "stop"
    """What a sample that cannot be read or decoded does. `stop`: ends the run. `skip`: another of its batch stands in,
    and it is counted."""
    max_broken: int = Field(default=1000, ge=0)
    """With `skip`: a run that met more, all ranks together, stops."""
    slow_s: float | None = Field(default=None, gt=0)
    """With `skip`: a shard that gives nothing for so many seconds counts as broken until it does; none waits. What is
    slow depends on the day: with this, two runs of one seed may differ."""

    @model_validator(mode="after")
    def _fits(self) -> DataConfig:
        places = [(source.url, source.split) for source in self.mixture]
        if len(set(places)) < len(places):
            raise ValueError("mixture names one split twice; name it once, with the sum of its weights")
        parts_of([source.weight for source in self.sources()])
        if self.slow_s is not None and self.broken == "stop":
            raise ValueError('slow_s has no effect while broken = "stop"; leave it out, or set broken = "skip"')
        return self

    def sources(self) -> tuple[SourceConfig, ...]:
        """What to train on."""
        return self.mixture or (SourceConfig(url=self.url, split=self.split, weight=1.0),)

    def stream(self, seed: int, batch_size: int) -> StreamConfig:
        """What of these settings decides the stream."""
        parts = tuple(parts_of([source.weight for source in self.sources()]))
        return StreamConfig(seed, batch_size, parts, self.weights, self.text_buckets)


class LoaderConfig(RecipeTable):
    """The `[loader]` table of a training recipe; has no influence on what a batch holds."""

    threads: int = Field(default=2, ge=1)
    """Threads of every rank that read and decode."""
    batches_ahead: int = Field(default=4, ge=1)
    """Batches ready or in the making before they are asked for."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of each global batch a loader makes, and how large its images are."""

    rank: int
    world: int
    side_px: int
    pinned: bool = False
    """Whether batches lie in memory that a GPU copies from at full speed."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a thread made of some samples; their images are in the batch already. `faults` has one entry for each."""

    keys: list[str]
    rows: list[list[int]]
    image_ids: list[int]
    text_ids: list[int]
    faults: list[str | None]


@dataclass(frozen=True, slots=True)
class _Planned:
    """A batch in the making, and the state of the stream behind it."""

    images_BCHW: Tensor
    pieces: list[Future[_Piece]]
    state: dict[str, Any]


class TrainLoader:
    """Batches of one rank from `stream` on. `waited_s` is the time spent waiting for them so far."""

    def __init__(
        self, stream: Stream, tokenizer: Tokenizer, share: Share, *, data: DataConfig, augment: AugmentConfig,
        config: LoaderConfig,
    ) -> None:  # fmt: skip
        self.stream, self.tokenizer, self.share, self.data, self.config = stream, tokenizer, share, data, config
        self.waited_s = 0.0
        self.num_broken = 0
        self._squares = SquareMaker(augment)
        self._readers = [PatientReader(reader, data.slow_s) for reader in stream.readers]
        self._state = stream.state()
        self._told: set[str] = set()

    def state(self) -> dict[str, Any]:
        """Where the stream stands behind the last batch given, as plain JSON; `go_on` takes it."""
        return {**self._state, "broken": self.num_broken}

    def go_on(self, state: dict[str, Any] | int) -> None:
        """Continue from a state, or from a number of samples; while no `batches` are taken."""
        self.stream.go_on(state)
        self._state = self.stream.state()
        self.num_broken = 0 if isinstance(state, int) else state["broken"]

    def count_broken(self, number: int) -> None:
        """Add what all ranks together met in one step. Raises: DatasetError: it is more than the recipe bears."""
        self.num_broken += number
        if self.num_broken > self.data.max_broken:
            raise DatasetError(
                f"{self.num_broken} broken samples, data.max_broken bears {self.data.max_broken}. The log names the "
                "shards: repair them as it says, or raise data.max_broken."
            )

    def batches(self) -> Iterator[Batch]:
        """Batch after batch without end; closing the iterator ends its threads."""
        planner = ThreadPoolExecutor(1, thread_name_prefix="loader-plan")
        pool = ThreadPoolExecutor(self.config.threads, thread_name_prefix="loader")
        ahead: deque[Future[_Planned]] = deque()
        try:
            while True:
                while len(ahead) < self.config.batches_ahead:
                    ahead.append(planner.submit(self._plan, pool))
                start = time.perf_counter()
                planned = ahead.popleft().result()
                batch = self._batch(planned.images_BCHW, [piece.result() for piece in planned.pieces])
                self.waited_s += time.perf_counter() - start
                self._state = planned.state
                yield batch
        finally:
            planner.shutdown(wait=True, cancel_futures=True)
            pool.shutdown(wait=True, cancel_futures=True)
            self.stream.go_on(self._state)

    def _plan(self, pool: ThreadPoolExecutor) -> _Planned:
        batch_size, share = self.stream.config.batch_size, self.share
        size = batch_size // share.world
        mine = self.stream.take(batch_size)[share.rank * size : (share.rank + 1) * size]
        images_BCHW = torch.empty((size, 3, share.side_px, share.side_px), dtype=torch.uint8, pin_memory=share.pinned)
        pieces = [
            pool.submit(self._piece, mine[first : first + PIECE], images_BCHW[first : first + PIECE].numpy())
            for first in range(0, size, PIECE)
        ]
        return _Planned(images_BCHW, pieces, self.stream.state())

    def _piece(self, picks: Picks, out_NCHW: np.ndarray) -> _Piece:
        draws = Draws(self.stream.config.seed, picks)
        found = self._read(picks)
        examples = [item if isinstance(item, Example) else _BLANK for item in found]
        undecoded = self._squares.fill(examples, draws, out_NCHW)
        texts = [choose_text(*pair) for pair in zip(examples, draws.uniform(TEXT_DRAW).tolist(), strict=True)]
        words = ["" if text is None else text for text in texts]
        return _Piece(
            keys=[example.key for example in examples],
            rows=self.tokenizer.rows(words),
            image_ids=[example.content_id for example in examples],
            text_ids=[text_id(text) for text in words],
            faults=[fault_of(*facts) for facts in zip(found, undecoded, texts, strict=True)],
        )

    def _read(self, picks: Picks) -> list[Example | Fault]:
        out: list[Any] = [None] * len(picks)
        for number in np.unique(picks.dataset):
            rows = np.flatnonzero(picks.dataset == number)
            for row, item in zip(rows, self._readers[number].attempt(picks.position[rows]), strict=True):
                out[row] = item
        return out

    def _batch(self, images_BCHW: Tensor, pieces: Sequence[_Piece]) -> Batch:
        keys, rows, image_ids, text_ids, faults = (
            list(chain.from_iterable(getattr(piece, field.name) for piece in pieces)) for field in fields(_Piece)
        )
        broken = [row for row, fault in enumerate(faults) if fault is not None]
        if broken:
            self._tell([faults[row] for row in broken])
            for row, other in zip(broken, stand_ins(broken, len(faults)), strict=True):
                images_BCHW[row] = images_BCHW[other]
                for values in (keys, rows, image_ids, text_ids):
                    values[row] = values[other]
        return Batch(
            images_BCHW=images_BCHW,
            tokens_BL=self.tokenizer.padded(rows, self.data.text_pad_multiple),
            image_ids_B=torch.tensor(image_ids),
            text_ids_B=torch.tensor(text_ids),
            keys=tuple(keys),
            num_broken=len(broken),
        )

    def _tell(self, faults: Sequence[str]) -> None:
        """Raises: DatasetError: the recipe says to stop."""
        if self.data.broken == "stop":
            raise DatasetError(faults[0])
        for fault in faults:
            if fault not in self._told:
                self._told.add(fault)
                log.warning("skipped: %s", fault)


_BLANK = Example("", b"", "", 0, 0, (), 0.0, 0)
"""What is in the place of a sample that cannot be read."""


def choose_text(example: Example, draw: float) -> str | None:
    """One of the sample's texts, each as likely as the others; None where it has none. `draw` is in [0, 1)."""
    return example.texts[int(draw * len(example.texts))] if example.texts else None


def fault_of(found: Example | Fault, undecoded: str | None, text: str | None) -> str | None:
    """Why a sample cannot be used, with what to do, or None."""
    if isinstance(found, Fault):
        return found.reason
    if text is None:
        return f"sample {found.key}: has no text, so no pair. Drop such rows in the dataset's verdict."
    return None if undecoded is None else f"sample {found.key}: {undecoded}. Run `pairmill verify` on the dataset."


def stand_ins(broken: Sequence[int], size: int) -> list[int]:
    """For each broken row of a batch the next whole one behind it.

    Raises: DatasetError: no row is whole.
    """
    whole = sorted(set(range(size)) - set(broken))
    if not whole:
        raise DatasetError(f"none of the {size} samples of a batch can be used. The log says why; repair the dataset.")
    return [whole[bisect(whole, row) % len(whole)] for row in broken]


def decoded(example: Example) -> np.ndarray:
    """The image of a sample as uint8 HWC. Raises: DatasetError: a shard holds what cannot be decoded."""
    try:
        return decode_rgb(example.media, example.mime)
    except ValueError as error:
        raise DatasetError(f"sample {example.key}: {error}. Run `pairmill verify` on the dataset.") from error


def stack_images(images: Sequence[np.ndarray]) -> Tensor:
    """Equal squares of HWC as one uint8 tensor BCHW."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
