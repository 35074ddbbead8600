from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pretrain.schedule import ScheduleConfig, lr_ratio


@given(warmup=st.integers(0, 50), rest=st.integers(1, 200), floor=st.floats(0, 1))
def test_up_in_a_line_and_down_to_the_floor(warmup, rest, floor):
    config = ScheduleConfig(name="cosine", warmup_steps=warmup, floor_ratio=floor)
    num_steps = warmup + rest
    ratios = [lr_ratio(config, step, num_steps) for step in range(num_steps)]
    up, down = ratios[:warmup], ratios[warmup:]
    assert up == [(step + 1) / warmup for step in range(warmup)]
    assert all(left >= right - 1e-12 for left, right in pairwise(down))
    assert abs(down[-1] - floor) < 1e-12
    assert all(-1e-12 <= ratio <= 1 + 1e-12 for ratio in ratios)


def test_half_way_down_is_half_way():
    config = ScheduleConfig(name="cosine", warmup_steps=0, floor_ratio=0.2)
    assert abs(lr_ratio(config, 49, 100) - 0.6) < 1e-12
