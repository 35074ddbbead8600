import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.ranges import Range, range_of, ranged

BOUND = st.none() | st.integers(-(10**12), 10**12) | st.floats(-1e300, 1e300)


@given(BOUND, BOUND)
def test_what_is_declared_is_read_back(low, high):
    found = range_of(ranged("x", pa.float32(), low, high))
    assert (found.low if low is not None else None, found.high if high is not None else None) == (low, high)
    assert (low is None) == (-1e301 in found)


def test_the_metadata_is_the_contract():
    assert ranged("x", pa.float32(), -1, 1).metadata == {b"range": b"-1..1"}
    assert range_of(pa.field("x", pa.int32(), metadata={b"range": b"0.."})) == Range(0.0)
    assert range_of(pa.field("x", pa.int32())) is None
    with pytest.raises(ValueError, match="not of the form"):
        range_of(pa.field("x", pa.int32(), metadata={b"range": b"0-1"}))
