"""Samples of a stream before they are read: where each lies, and the random numbers that belong to it.

A sample is drawn as (dataset, epoch, position, copy): `position` in its split, `copy` where it comes several times in
an epoch. Its random numbers depend on these and on the seed alone, so not on ranks, threads, batches or restarts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pipeline.shard.permute import hashed


@dataclass(frozen=True, slots=True)
class Picks:
    """N samples of a stream in its order; four int64 arrays."""

    dataset: np.ndarray
    epoch: np.ndarray
    position: np.ndarray
    copy: np.ndarray

    @classmethod
    def empty(cls, count: int) -> Picks:
        """Room for `count` samples."""
        return cls(*(np.zeros(count, np.int64) for _ in fields(cls)))

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, rows: slice | np.ndarray) -> Picks:
        return Picks(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: np.ndarray, picks: Picks) -> None:
        """Write `picks` at `rows`."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(picks, field.name)


def joined(parts: list[Picks]) -> Picks:
    """Several runs of samples as one."""
    return Picks(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Picks)))


class Draws:
    """The random numbers of N samples: number k of each is a hash of its pick, the seed and k."""

    def __init__(self, seed: int, picks: Picks) -> None:
        self._state = hashed(seed, picks.dataset, picks.epoch, picks.position, picks.copy)

    def __getitem__(self, rows: np.ndarray) -> Draws:
        part = Draws.__new__(Draws)
        part._state = self._state[rows]
        return part

    def uniform(self, number: int) -> np.ndarray:
        """Number `number` of each sample, float64 in [0, 1)."""
        return (hashed(0, self._state ^ hashed(number)) >> np.uint64(11)) * 2.0**-53
