"""Mixtures: shares are exact, and a place in the stream needs no history."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.data.mixture import Interleave, parts_of

parts = st.lists(st.integers(1, 1000), min_size=1, max_size=6)


@given(parts=parts, start=st.integers(0, 10**12), count=st.integers(0, 300))
def test_every_sample_has_one_dataset_and_counts_need_no_history(parts, start, count):
    mixture = Interleave(parts)
    picked = mixture.pick(start, count)
    before, after = mixture.counts(start), mixture.counts(start + count)
    assert np.bincount(picked, minlength=len(parts)).tolist() == [b - a for a, b in zip(before, after, strict=True)]
    assert sum(before) == start
    halves = np.concatenate([mixture.pick(start, count // 2), mixture.pick(start + count // 2, count - count // 2)])
    np.testing.assert_array_equal(picked, halves)


@given(parts=parts, total=st.integers(0, 10**9))
def test_shares_are_kept_to_within_half_a_sample_a_dataset(parts, total):
    for count, part in zip(Interleave(parts).counts(total), parts, strict=True):
        assert abs(count - total * part / sum(parts)) <= len(parts) / 2 + 1e-6


@given(parts=parts, rounds=st.integers(1, 5))
def test_shares_are_exact_over_whole_rounds(parts, rounds):
    assert Interleave(parts).counts(rounds * sum(parts)) == [rounds * part for part in parts]


def test_two_datasets_by_hand():
    assert Interleave([3, 1]).pick(0, 8).tolist() == [0, 0, 1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [([0.7, 0.2, 0.1], [7, 2, 1]), ([1, 2], [1, 2]), ([4.0], [1]), ([0.5, 0.25], [2, 1]), ([1e-3, 1.0], [1, 1000])],
)
def test_weights_are_the_decimals_they_are_written_as(weights, wanted):
    assert parts_of(weights) == wanted


def test_weights_of_too_many_digits_are_refused():
    with pytest.raises(ValueError, match=r"make 11111111 parts, wanted at most 1000000; round them"):
        parts_of([0.3333333, 3.0])
