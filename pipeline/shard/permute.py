"""The order of an epoch: a permutation that any number of ranks and workers compute alike, without talking.

Shards are permuted, and samples are permuted inside windows of a few shards, so reads stay inside a window. The
keys that are sorted are splitmix64 hashes, not a library's generator, whose stream may change between releases.

Source: splitmix64, Steele et al. 2014, "Fast splittable pseudorandom number generators", doi:10.1145/2660193.2660195.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def epoch_order(sizes: Sequence[int], window: int, *, seed: int, epoch: int) -> np.ndarray:
    """int64 permutation of range(sum(sizes)).

    Args:
        sizes: samples of each shard; position p lies in the shard that covers p in their running sum.
        window: shards whose samples are mixed.
    """
    starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
    shards = _shuffled(np.arange(len(sizes), dtype=np.int64), seed, epoch, salt=1)
    out = np.empty(int(starts[-1]), np.int64)
    filled = 0
    for first in range(0, len(shards), window):
        ranges = [np.arange(starts[shard], starts[shard + 1]) for shard in shards[first : first + window]]
        mixed = _shuffled(np.concatenate(ranges), seed, epoch, salt=2)
        out[filled : filled + len(mixed)] = mixed
        filled += len(mixed)
    return out


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


def _shuffled(values: np.ndarray, seed: int, epoch: int, salt: int) -> np.ndarray:
    base = np.array([seed % 2**64, epoch % 2**64, salt], np.uint64)
    state = np.uint64(0)
    for word in base:
        state = _mix(np.array([state ^ word], np.uint64))[0]
    return values[np.argsort(_mix(values.astype(np.uint64) ^ state), kind="stable")]


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
