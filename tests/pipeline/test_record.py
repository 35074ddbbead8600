from hypothesis import given
from hypothesis import strategies as st

from pipeline.record import CANDIDATE, FETCHED, IMG2DATASET, RETRYABLE, Status, key_fraction, sample_key


@given(st.text(), st.text(), st.text(), st.text())
def test_keys_are_equal_only_for_equal_sources_and_ids(a, b, c, d):
    assert (sample_key(a, b) == sample_key(c, d)) == ((a, b) == (c, d))


def test_the_parts_of_a_key_do_not_run_into_each_other():
    assert sample_key("a", "bc") != sample_key("ab", "c")
    assert len(sample_key("cc3m", "train#0")) == 32


@given(st.text(), st.text())
def test_a_fraction_is_in_the_unit_interval_and_stable(key, salt):
    assert 0.0 <= key_fraction(key, salt) < 1.0
    assert key_fraction(key, salt) == key_fraction(key, salt)


def test_fractions_are_even():
    values = [key_fraction(sample_key("s", str(i)), "split") for i in range(20_000)]
    share = sum(value < 0.1 for value in values) / len(values)
    assert abs(share - 0.1) < 0.01


def test_fetched_begins_with_the_columns_of_img2dataset_and_holds_the_candidate():
    assert FETCHED.names[: len(IMG2DATASET)] == IMG2DATASET.names
    assert all(FETCHED.field(item.name) == item for item in CANDIDATE)
    assert len(set(FETCHED.names)) == len(FETCHED)


def test_no_final_outcome_is_retried():
    assert Status.HTTP_404 not in RETRYABLE
    assert Status.OPTED_OUT not in RETRYABLE
    assert Status.HTTP_429 in RETRYABLE
