"""Signatures against what chance says of them, and datasketch beside them."""

import numpy as np
import pytest

from pipeline.filter.text.minhash import Bands, band_hashes, choose_bands, signature
from pipeline.filter.text.shingles import Shingles


def sets_of(similarity, number, size=200, seed=0):
    """`number` pairs of sets of that Jaccard similarity, as one Shingles: pair i is texts 2i and 2i + 1."""
    rng = np.random.default_rng(seed)
    shared = round(2 * size * similarity / (1 + similarity))
    hashes, starts = [], []
    for _ in range(number):
        drawn = rng.integers(0, 2**64, 2 * size - shared, dtype=np.uint64)
        for part in (drawn[:size], drawn[size - shared :]):
            starts.append(sum(map(len, hashes)))
            hashes.append(np.sort(part))
    return Shingles(np.concatenate(hashes), np.array(starts))


@pytest.mark.parametrize("similarity", [0.25, 0.5, 0.8])
def test_places_agree_as_often_as_sets_overlap(similarity):
    found = sets_of(similarity, 60)
    places = np.array([signature(found, place) for place in range(128)])
    agree = (places[:, ::2] == places[:, 1::2]).mean()
    deviation = (similarity * (1 - similarity) / (60 * 128)) ** 0.5
    assert abs(agree - similarity) < 5 * deviation


@pytest.mark.parametrize(("similarity", "bands"), [(0.7, Bands(21, 6)), (0.5, Bands(32, 4)), (0.3, Bands(21, 6))])
def test_pairs_share_a_band_as_often_as_the_formula_says(similarity, bands):
    found = sets_of(similarity, 300)
    shared = np.zeros(300, bool)
    for band in band_hashes(found, bands):
        shared |= band[::2] == band[1::2]
    wanted = bands.recall(similarity)
    assert abs(shared.mean() - wanted) < 5 * (wanted * (1 - wanted) / 300) ** 0.5 + 0.01


def test_the_longest_bands_that_find_enough_are_chosen():
    bands = choose_bands(128, 0.7, 0.98)
    assert bands.recall(0.7) >= 0.98
    assert Bands(128 // (bands.rows + 1), bands.rows + 1).recall(0.7) < 0.98
    assert choose_bands(1, 0.1, 0.9) == Bands(1, 1)
    assert choose_bands(128, 1.0, 0.99) == Bands(1, 128)


def test_datasketch_estimates_no_better():
    """The same sets, 128 places each: the error of our estimate is that of datasketch's, or less."""
    datasketch = pytest.importorskip("datasketch")
    errors = {"ours": [], "datasketch": []}
    for similarity in (0.3, 0.6, 0.9):
        found = sets_of(similarity, 30, seed=1)
        places = np.array([signature(found, place) for place in range(128)])
        errors["ours"] += [abs(row.mean() - similarity) for row in (places[:, ::2] == places[:, 1::2]).T]
        ends = np.append(found.starts[1:], len(found.hashes))
        made = []
        for start, end in zip(found.starts, ends, strict=True):
            sketch = datasketch.MinHash(num_perm=128)
            sketch.update_batch([int(value).to_bytes(8, "big") for value in found.hashes[start:end]])
            made.append(sketch)
        errors["datasketch"] += [
            abs(one.jaccard(two) - similarity) for one, two in zip(made[::2], made[1::2], strict=True)
        ]
    mean = {name: sum(found) / len(found) for name, found in errors.items()}
    assert mean["ours"] < 1.25 * mean["datasketch"]
