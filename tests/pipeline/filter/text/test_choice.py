import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.text.choice import chosen_text, row_texts
from pipeline.record import FETCHED

ONE = st.none() | st.fixed_dictionaries({"text": st.none() | st.text(max_size=3), "kind": st.just("alt")})


@given(st.lists(st.none() | st.lists(ONE, max_size=3), max_size=6), st.integers(0, 3), st.booleans())
def test_texts_are_those_of_the_column_however_it_is_cut(rows, start, is_chunked):
    whole = pa.array(rows, FETCHED.field("texts").type)
    column = pa.chunked_array([whole[:2], whole[2:]] if is_chunked else [whole]).slice(start)
    wanted = [[(text or {}).get("text") or "" for text in row or []] for row in rows[start:]]
    assert row_texts(column) == wanted


@pytest.mark.parametrize(("which", "wanted"), [("first", "a"), ("longest", "bcd"), ("all", "a\nbcd\nefg")])
def test_the_text_that_is_meant(which, wanted):
    assert chosen_text(["a", "bcd", "efg"], which) == wanted
    assert chosen_text([], which) == ""
