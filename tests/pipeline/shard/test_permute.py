"""The epoch's order as a property over shards, sizes, ranks and workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shard.permute import EpochOrder, epoch_order, share_of

sizes = st.lists(st.integers(0, 50), min_size=1, max_size=12)
seeds = st.integers(0, 2**63)


@given(sizes=sizes, window=st.integers(1, 15), seed=seeds, epoch=st.integers(0, 1000))
def test_is_a_permutation(sizes, window, seed, epoch):
    order = epoch_order(sizes, window, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(sum(sizes)))


@given(sizes=sizes, window=st.integers(1, 15), seed=seeds, epoch=st.integers(0, 9))
def test_windows_make_up_the_order(sizes, window, seed, epoch):
    order = EpochOrder(sizes, window, seed=seed, epoch=epoch)
    whole = epoch_order(sizes, window, seed=seed, epoch=epoch)
    assert len(order) == sum(sizes)
    for number in range(order.num_windows):
        assert order.window(number).tolist() == whole[order.starts[number] : order.starts[number + 1]].tolist()
    assert order.starts[-1] == len(whole)


@given(sizes=sizes, window=st.integers(1, 15), world=st.integers(1, 9), workers=st.integers(1, 5), seed=seeds)
def test_shares_are_disjoint_and_complete(sizes, window, world, workers, seed):
    order = epoch_order(sizes, window, seed=seed, epoch=0)
    shares = [
        share_of(order, rank=rank, world_size=world, worker=worker, num_workers=workers)
        for rank in range(world)
        for worker in range(workers)
    ]
    assert sorted(np.concatenate(shares).tolist()) == list(range(sum(sizes)))
    per_rank = [sum(map(len, shares[rank * workers : (rank + 1) * workers])) for rank in range(world)]
    assert max(per_rank) - min(per_rank) <= 1


@given(window=st.integers(1, 8), seed=seeds)
def test_a_window_holds_whole_shards(window, seed):
    order = epoch_order([10] * 13, window, seed=seed, epoch=5)
    for start in range(0, 130, window * 10):
        shards, counts = np.unique(order[start : start + window * 10] // 10, return_counts=True)
        assert len(shards) <= window
        assert set(counts.tolist()) == {10}


def test_seeds_and_epochs_give_other_orders():
    orders = {tuple(epoch_order([20, 20], 2, seed=s, epoch=e).tolist()) for s in range(4) for e in range(4)}
    assert len(orders) == 16


def test_mixes_evenly():
    """Each position lands in each quarter of the epoch about equally often: chi-square over 400 epochs."""
    places = np.array([np.argsort(epoch_order([8, 8], 2, seed=0, epoch=epoch)) // 4 for epoch in range(400)])
    counts = np.array([np.bincount(column, minlength=4) for column in places.T])
    chi_square = ((counts - 100) ** 2 / 100).sum()  # 16 * 3 degrees of freedom, mean about 45
    assert chi_square < 90


def mix(x):
    """splitmix64's output function, on Python's integers."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def shuffled(values, seed, epoch, salt):
    state = mix(mix(mix(seed) ^ epoch) ^ salt)
    return sorted(values, key=lambda value: mix(value ^ state))


def test_the_order_stands():
    """Runs resume by position, so the order of a seed may never change: compared with the definition, and by hand."""
    assert mix(0) == 0xE220A8397B1DCDAF  # the first output of splitmix64 seeded with 0, as published
    positions = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
    shards = shuffled(range(3), 7, 1, salt=1)
    windows = [[position for shard in shards[i : i + 2] for position in positions[shard]] for i in (0, 2)]
    wanted = [position for window in windows for position in shuffled(window, 7, 1, salt=2)]
    assert epoch_order([3, 2, 4], 2, seed=7, epoch=1).tolist() == wanted == [3, 0, 1, 4, 2, 6, 5, 8, 7]


@pytest.mark.parametrize(("rank", "worker"), [(2, 0), (-1, 0), (0, 3), (0, -1)])
def test_refuses_a_rank_or_worker_that_is_not_there(rank, worker):
    with pytest.raises(ValueError, match="wanted 0 <= rank"):
        share_of(np.arange(5), rank=rank, world_size=2, worker=worker, num_workers=3)
