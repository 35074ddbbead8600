"""Counts by name: those of a Counter, and none lost where names are let go."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.report import tally
from cluster.report.tally import Tally

PARTS = st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5), st.integers(0, 5)), max_size=12))


def counted(parts, most):
    found = Tally(("rows", "kept"), most)
    for part in parts:
        name, rows, kept = zip(*part, strict=True) if part else ((), (), ())
        counts = {"rows": pa.array(rows, pa.int64()), "kept": pa.array(kept, pa.int64())}
        found.add(pa.table({"name": pa.array(name, pa.string())} | counts))
    return found


@pytest.fixture(autouse=True, scope="module")
def often_put_together():
    before, tally._AHEAD = tally._AHEAD, 3
    yield
    tally._AHEAD = before


@given(PARTS)
def test_it_is_a_counter(parts):
    found, rows, kept = counted(parts, 100), Counter(), Counter()
    for name, more_rows, more_kept in (item for part in parts for item in part):
        rows[name] += more_rows
        kept[name] += more_kept
    expected = sorted(rows, key=lambda name: (-rows[name], name))
    assert found.ranked().to_pylist() == [{"name": n, "rows": rows[n], "kept": kept[n]} for n in expected]
    assert found.whole().tolist() == [rows.total(), kept.total()]
    assert found.num_let_go == 0


@given(PARTS, st.integers(1, 4))
def test_nothing_is_lost_where_names_are_let_go(parts, most):
    found = counted(parts, most)
    assert found.ranked().num_rows <= 2 * most
    assert found.whole().tolist() == [sum(item[i] for part in parts for item in part) for i in (1, 2)]
    assert found.ranked().num_rows + found.num_let_go >= len({item[0] for part in parts for item in part})


def test_names_with_most_rows_stay():
    found = counted([[("a", 9, 0), ("b", 1, 1)], [("c", 8, 0), ("d", 1, 0), ("e", 7, 0)]], 2)
    assert found.ranked().column("name").to_pylist() == ["a", "c"]
    assert found.let_go.tolist() == [9, 1]
    assert found.num_let_go == 3
