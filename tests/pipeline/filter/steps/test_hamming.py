"""Pairs of near hashes against all pairs, for every way of cutting the bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filter.steps.components import stars
from pipeline.filter.steps.hamming import BITS, MAX_LAG, Banding, choose_banding, near_links


def clumped(rng, num_centres, num_hashes, most_flips):
    """Hashes around few centres, so that many distances lie about the radius."""
    centres = rng.integers(0, 2**64, num_centres, np.uint64)
    found = []
    for _ in range(num_hashes):
        flips = rng.choice(64, rng.integers(0, most_flips + 1), replace=False)
        found.append(int(rng.choice(centres)) ^ sum(1 << int(bit) for bit in flips))
    return np.unique(np.array(found, np.uint64))


def all_pairs(hashes, radius):
    left, right = np.triu_indices(len(hashes), 1)
    close = np.bitwise_count(hashes[left] ^ hashes[right]) <= radius
    return stars(hashes[left[close]], hashes[right[close]])


def by_blocks(hashes, banding):
    found = [near_links(hashes, first, banding) for first in banding.copies()]
    assert all(crowded == 0 for _, _, crowded in found)
    return stars(*(np.concatenate([links[side] for links in found]) for side in (0, 1)))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(1, 4))
def test_equal_to_all_pairs(seed, radius, exact):
    hashes = clumped(np.random.default_rng(seed), 4, 60, radius + 2)
    for found, wanted in zip(by_blocks(hashes, Banding(radius, exact)), all_pairs(hashes, radius), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_random_hashes_that_pair_by_chance():
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**64, 3000, np.uint64))
    for radius in (10, 14):
        for found, wanted in zip(by_blocks(hashes, Banding(radius, 2)), all_pairs(hashes, radius), strict=True):
            np.testing.assert_array_equal(found, wanted)


@given(st.integers(0, 16), st.integers(1, 6))
def test_blocks_cover_every_bit_once(radius, exact):
    blocks = Banding(radius, exact).blocks
    assert sum(width for _, width in blocks) == BITS
    assert sorted(shift + bit for shift, width in blocks for bit in range(width)) == list(range(BITS))


@pytest.mark.parametrize("radius", [0, 4, 10])
def test_more_hashes_take_more_exact_blocks(radius):
    exact = [choose_banding(radius, 10**power).exact for power in range(3, 10)]
    assert exact == sorted(exact)


def test_a_crowd_costs_a_line_not_a_square_and_is_counted():
    low = np.arange(1 << 14, dtype=np.uint64)  # 16384 hashes that are equal in 50 bits
    node, other, crowded = near_links(low, 0, Banding(4, 2))
    assert crowded == len(low) - MAX_LAG
    assert len(node) == len(low) - 1  # neighbours in the sort are near enough to hang together
    assert set(other.tolist()) == {0}
