"""Order statistics against a sort of everything, under any cut into runs and any memory."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.verdicts.order_statistics import order_statistics

VALUES = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 0.5, 0.5, -math.inf, math.inf, 5e-324, -5e-324])


@given(
    st.lists(VALUES, min_size=1, max_size=60), st.integers(1, 5), st.sampled_from([0, 1, 4, 1000]), st.data()
)  # fmt: skip
def test_equal_to_a_sort(values, num_runs, max_held, data):
    ranks = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=4))
    runs = [np.sort(np.array(values[place::num_runs], np.float64)) for place in range(num_runs)]
    found = order_statistics(lambda: runs, ranks, len(values), max_held)
    assert found == [float(np.sort(values)[rank]) for rank in ranks]


def test_passes_and_memory_are_bounded():
    """100,000 numbers of one range, 1,000 of which may be held: read at most four times, one rank or many."""
    rng = np.random.default_rng(0)
    whole = 0.25 + rng.random(100_000) * 2**-20
    whole[:3000] = whole[0]  # so many equal ones that they never fit
    reads = []

    def runs():
        reads.append(1)
        return (np.sort(part) for part in np.array_split(whole, 20))

    ranks = [0, 10, 50_000, 99_999, int(np.searchsorted(np.sort(whole), whole[0]))]
    assert order_statistics(runs, ranks, len(whole), 1000) == np.sort(whole)[ranks].tolist()
    assert len(reads) <= 4
