"""The order of an epoch: a permutation that any number of ranks and workers compute alike, without talking.

Shards are permuted, and samples are permuted inside windows of a few shards, so reads stay inside a window. The
keys that are sorted are splitmix64 hashes, not a library's generator, whose stream may change between releases.

Source: splitmix64, Steele et al. 2014, "Fast splittable pseudorandom number generators", doi:10.1145/2660193.2660195.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class EpochOrder:
    """The order of one epoch, made a window at a time as it is asked for: the middle of an epoch costs no more than its
    start, whatever the size of the dataset."""

    def __init__(self, sizes: Sequence[int], window: int, *, seed: int, epoch: int) -> None:
        """`sizes`: samples of each shard, in the order of positions; `window`: shards whose samples are mixed."""
        self._window, self._seed, self._epoch = window, seed, epoch
        self._shards = _shuffled(np.arange(len(sizes), dtype=np.int64), seed, epoch, salt=1)
        self._firsts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        ends = np.cumsum(np.asarray(sizes, np.int64)[self._shards])[window - 1 :: window]
        if len(ends) * window < len(sizes):
            ends = np.append(ends, self._firsts[-1])
        self.starts = np.concatenate(([0], ends)).astype(np.int64)
        """Place in the epoch where each window starts, and where the last one ends."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def num_windows(self) -> int:
        """Windows of the epoch."""
        return len(self.starts) - 1

    def window(self, number: int) -> np.ndarray:
        """int64 positions of one window, in order."""
        shards = self._shards[number * self._window : (number + 1) * self._window]
        ranges = [np.arange(self._firsts[shard], self._firsts[shard + 1]) for shard in shards]
        return _shuffled(np.concatenate(ranges), self._seed, self._epoch, salt=2)


def epoch_order(sizes: Sequence[int], window: int, *, seed: int, epoch: int) -> np.ndarray:
    """int64 permutation of range(sum(sizes)): all windows of an `EpochOrder`.

    Args:
        sizes: samples of each shard; position p lies in the shard that covers p in their running sum.
        window: shards whose samples are mixed.
    """
    order = EpochOrder(sizes, window, seed=seed, epoch=epoch)
    windows = [order.window(number) for number in range(order.num_windows)]
    return np.concatenate([np.empty(0, np.int64), *windows])


def share_of(order: np.ndarray, *, rank: int, world_size: int, worker: int, num_workers: int) -> np.ndarray:
    """The part of `order` that one worker of one rank reads; the parts of all are disjoint and complete.

    Raises: ValueError: a rank or worker outside its range.
    """
    if not (0 <= rank < world_size and 0 <= worker < num_workers):
        raise ValueError(
            f"rank {rank} of {world_size}, worker {worker} of {num_workers}: wanted 0 <= rank < world_size and "
            "0 <= worker < num_workers"
        )
    return order[rank::world_size][worker::num_workers]


def hashed(*words: int | np.ndarray) -> np.ndarray:
    """uint64 hash of a sequence of words; where one is an array, of each of its elements."""
    state: np.ndarray = np.zeros(1, np.uint64)
    for word in words:
        bits = np.asarray(word % 2**64 if isinstance(word, int) else word).astype(np.uint64)
        state = _mix(state ^ bits)
    return state


def _shuffled(values: np.ndarray, seed: int, epoch: int, salt: int) -> np.ndarray:
    return values[np.argsort(hashed(seed, epoch, salt, values), kind="stable")]


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
