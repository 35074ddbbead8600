"""MinHash signatures of texts, and how they are cut into bands so that similar texts meet.

Of each of `num_hashes` hash functions a signature keeps the least value over a text's shingles: two texts agree in a
place with the probability of their Jaccard similarity s. Cut into bands of r rows each, they agree in some band with
1 - (1 - s^r)^bands. Sources: Broder 1997; Leskovec et al., Mining of Massive Datasets, section 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.filter.text.shingles import Shingles
from pipeline.shuffle import spread


@dataclass(frozen=True)
class Bands:
    """How signatures are cut: `num_bands` bands of `rows` places."""

    num_bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        """The chance that two texts so similar share a band."""
        return 1 - (1 - similarity**self.rows) ** self.num_bands


def choose_bands(num_hashes: int, threshold: float, recall: float) -> Bands:
    """The longest bands, so that the fewest texts meet in vain, that find `recall` of pairs at the threshold.

    Bands of one row where none do.
    """
    for rows in range(num_hashes, 0, -1):
        bands = Bands(num_hashes // rows, rows)
        if bands.recall(threshold) >= recall:
            return bands
    return Bands(num_hashes, 1)


def band_hashes(found: Shingles, bands: Bands) -> Iterator[np.ndarray]:
    """For each band, one uint64 per text: equal where the texts agree in all its places."""
    for band in range(bands.num_bands):
        mixed = np.full(len(found.starts), band, np.uint64)
        for place in range(band * bands.rows, (band + 1) * bands.rows):
            mixed = spread(mixed * np.uint64(31) + signature(found, place))
        yield mixed


def signature(found: Shingles, place: int) -> np.ndarray:
    """One place of the signature of each text: the least value of hash function number `place` over its shingles."""
    if not len(found.starts):
        return np.zeros(0, np.uint64)
    factor, offset = spread(np.array([2 * place + 1, 2 * place + 2], np.uint64))
    # shingle hashes are mixed already, so that the high half of an odd multiple is a new order of them
    values = (found.hashes * (factor | np.uint64(1)) + offset) >> np.uint64(32)
    return np.minimum.reduceat(values, found.starts)
