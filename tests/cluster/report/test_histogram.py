"""Histograms: counts of parts add up to numpy's of the whole table, lines stand where their numbers are."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.report.chart import LEFT, RIGHT, WIDTH, histogram
from cluster.report.histogram import BINS, FEWEST, Axis, Counts, choose_axis, nice
from cluster.report.part import TONES
from cluster.report.rules import Line

whole = st.lists(st.one_of(st.integers(-1_000, 100_000), st.integers(-(2**62), 2**62)), min_size=1, max_size=200)
wide = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50)
real = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=200)
positive = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200)


def counted(values, axis, lines=(), pieces=1):
    """The counts of `values`, cut into pieces and put together again."""
    tone = np.arange(len(values)) % TONES
    cuts = np.array_split(np.arange(len(values)), pieces)
    parts = [Counts.of(axis, lines, values[at], tone[at].astype(np.int8), 0) for at in cuts]
    return sum(parts[1:], parts[0])


@settings(max_examples=60)
@given(st.one_of(whole, real, positive), st.integers(1, 7))
def test_counts_of_parts_are_numpys_of_the_whole(values, pieces):
    is_whole = all(isinstance(value, int) for value in values)
    values = np.array(values, np.int64 if is_whole else np.float32)
    axis = choose_axis(values.astype(np.float64), is_whole=is_whole)
    counts = counted(values, axis, pieces=pieces)
    finite = values[np.isfinite(values)]
    tone = (np.arange(len(values)) % TONES)[np.isfinite(values)]
    for of_tone in range(TONES):
        expected, _ = np.histogram(finite[tone == of_tone].astype(np.float64), axis.edges)
        assert counts.inside[of_tone].tolist() == expected.tolist()
    assert counts.beyond.tolist() == [(finite < axis.edges[0]).sum(), (finite > axis.edges[-1]).sum()]
    assert counts.rows + counts.missing == len(values)
    if len(finite):
        assert (counts.low, counts.high) == (finite.min(), finite.max())


@settings(max_examples=60)
@given(st.one_of(whole, real, positive, wide))
def test_an_axis_rises_and_holds_all_but_far_tails(values):
    is_whole = all(isinstance(value, int) for value in values)
    sample = np.array(values, np.float64)
    axis = choose_axis(sample, is_whole=is_whole)
    assert (np.diff(axis.edges) > 0).all()
    assert len(axis.edges) <= 2 * BINS + 3
    finite = sample[np.isfinite(sample)]
    beyond = (finite < axis.edges[0]).sum() + (finite > axis.edges[-1]).sum()
    assert beyond <= max(2, 0.01 * len(finite)) or np.abs(finite).max() > 1e300
    assert 0 <= axis.at(float(axis.edges[0])) < axis.at(float(axis.edges[-1])) <= 1
    assert all(axis.edges[0] <= tick <= axis.edges[-1] for tick in axis.ticks())


def test_values_that_spread_far_get_a_logarithmic_axis_and_others_a_linear_one():
    rng = np.random.default_rng(1)
    assert choose_axis(10.0 ** rng.uniform(-3, 5, 5_000)).scale == "log"
    assert choose_axis(rng.normal(0.25, 0.08, 5_000)).scale == "linear"
    counts_ = np.concatenate([np.zeros(50, int), 10 ** rng.integers(0, 5, 50)])
    axis = choose_axis(counts_.astype(float), is_whole=True)
    assert axis.scale == "log"
    assert axis.edges[0] == -0.5


def test_whole_numbers_lie_in_bins_of_their_own():
    axis = choose_axis(np.array([1.0, 2.0, 14.0]), is_whole=True)
    assert axis.edges.tolist() == [k + 0.5 for k in range(15)]
    assert len(choose_axis(np.array([7.0]), is_whole=True).edges) == FEWEST + 1
    assert axis.ticks() == [5.0, 10.0]


def test_sides_of_a_line_are_told_in_the_columns_own_precision():
    values = np.array([0.1, 0.3, 0.5, np.nan], np.float32)
    counts = counted(values, Axis(np.array([0.0, 1.0])), lines=(0.3,))
    assert counts.sides.tolist() == [[1, 1, 1]]  # float32(0.3) is above 0.3, and a verdict takes it as equal
    assert counts.missing == 1


def test_the_middle_is_found_to_within_a_bin():
    rng = np.random.default_rng(2)
    values = rng.gamma(2.0, 3.0, 10_000)
    axis = choose_axis(values)
    counts = counted(values, axis, pieces=5)
    assert counts.about(0.5) == pytest.approx(np.quantile(values, 0.5), abs=float(np.diff(axis.edges).max()))


@pytest.mark.parametrize(("mark", "at"), [(">=", 2.5), ("<=", 3.5), (">", 3.5), ("<", 2.5)])
def test_a_threshold_stands_between_the_whole_numbers_that_it_parts(mark, at):
    values = np.arange(1, 11)
    axis = choose_axis(values.astype(float), is_whole=True)
    drawn = histogram(counted(values, axis), [Line("rule", "a.b", mark, 3.0)], label="")
    x = float(re.search(r'line class="threshold needed" x1="([\d.]+)"', drawn)[1])
    place = (at - axis.edges[0]) / (axis.edges[-1] - axis.edges[0])
    assert x == pytest.approx(LEFT + place * (WIDTH - LEFT - RIGHT), abs=0.06)


def test_a_threshold_on_a_logarithmic_axis_stands_at_its_power():
    values = 10.0 ** np.linspace(0, 6, 1_000)
    axis = choose_axis(values)
    drawn = histogram(counted(values, axis), [Line("rule", "a.b", ">=", 1_000.0)], label="")
    x = float(re.search(r'line class="threshold needed" x1="([\d.]+)"', drawn)[1])
    assert x == pytest.approx(WIDTH / 2, abs=0.2)
    shade = re.search(r'class="shade" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    assert float(shade[1]) == LEFT
    assert float(shade[2]) == pytest.approx(x - LEFT, abs=0.2)


def test_bars_are_as_high_as_their_rows_and_a_much_higher_one_is_broken():
    axis = Axis(np.array([0.0, 1.0, 2.0, 3.0]))
    level = histogram(counted(np.array([0.5, 1.5, 1.6, 2.5]), axis), [], label="")
    assert "cut" not in level
    tall = histogram(counted(np.repeat([0.5, 1.5, 2.5], [1_000, 5, 4]), axis), [], label="")
    assert tall.count('class="cut"') == 1
    assert ">1,000</text>" in tall


@pytest.mark.parametrize(("step", "wanted"), [(0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (0.03, 0.05), (7, 10.0)])
def test_steps_are_round(step, wanted):
    assert nice(step) == pytest.approx(wanted)
