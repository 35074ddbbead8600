"""Words of the page: whatever would be markup never reaches it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.report.words import number, percent, shown
from pipeline.words import plain


@settings(max_examples=100)
@given(st.text(max_size=3_000))
def test_what_is_shown_is_short_one_line_and_no_markup(text):
    made = shown(text, 100)
    assert len(plain(text, 100)) <= 100
    assert not set("<>\"'\n\r\t\0") & set(made)
    made.encode("utf-8")


def test_shares_never_round_to_nothing_or_all():
    assert (percent(1, 10**6), percent(10**6 - 1, 10**6), percent(0, 5), percent(5, 5), percent(0, 0)) == (
        "< 0.1 %", "> 99.9 %", "0.0 %", "100.0 %", "–",
    )  # fmt: skip
    assert (number(1234567.0), number(0.25), number(float("nan"))) == ("1,234,567", "0.25", "nan")
