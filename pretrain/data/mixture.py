"""Mixtures: which dataset each sample of a stream is of, as a closed form of its number.

Datasets have whole numbers of parts, S in all. Of the first n samples the first dataset, of p parts, has
round(n p / S); what is left, n' samples, goes to the others by the same rule with S - p parts. Each count grows by one
at a time, so every sample has one dataset. After any number of samples no count is further than D / 2 from its share,
of D datasets, and a stream resumes anywhere without a record of what it drew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from pydantic import Field

from pipeline.recipe import RecipeTable

MAX_PARTS = 1_000_000
"""Of a whole mixture; so streams of 9e12 samples are counted in 64 bits."""


class SourceConfig(RecipeTable):
    """One `[[data.mixture]]` table of a training recipe."""

    url: str
    """A dataset folder with finished shards."""
    split: str = "train"
    """Split to train on."""
    weight: float = Field(gt=0, allow_inf_nan=False)
    """Its share of the samples, against the weights of the others."""


def parts_of(weights: Sequence[float]) -> list[int]:
    """The least whole numbers in the proportion of `weights`, taken as the decimals that they are written as.

    Raises: ValueError: they need more than a million parts in all.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    parts = [number // math.gcd(*whole) for number in whole]
    if sum(parts) > MAX_PARTS:
        raise ValueError(f"the weights {list(weights)} make {sum(parts)} parts, wanted at most {MAX_PARTS}; round them")
    return parts


class Interleave:
    """A mixture of datasets by whole numbers of parts."""

    def __init__(self, parts: Sequence[int]) -> None:
        """`parts`: of each dataset, at least one."""
        self.parts = list(parts)

    def counts(self, total: int) -> list[int]:
        """How many of the first `total` samples each dataset has."""
        return [int(taken[0]) for taken in self._taken(np.array([total], np.int64))]

    def pick(self, start: int, count: int) -> np.ndarray:
        """int64 number of the dataset of each sample from `start` on."""
        numbers = np.arange(start, start + count + 1, dtype=np.int64)
        picked = np.zeros(count, np.int64)
        for dataset, taken in enumerate(self._taken(numbers)):
            picked[np.diff(taken) == 1] = dataset
        return picked

    def _taken(self, totals: np.ndarray) -> list[np.ndarray]:
        rest, weight, taken = totals, sum(self.parts), []
        for part in self.parts[:-1]:
            taken.append((rest * part + weight // 2) // weight)
            rest, weight = rest - taken[-1], weight - part
        return [*taken, rest]
