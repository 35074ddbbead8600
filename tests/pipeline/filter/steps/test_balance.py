"""Balanced concepts against the algorithm as it is written, row by row, and against what chance should give."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers.concepts import ConceptsScore, ConceptsScoreConfig
from pipeline.filter.steps import check_steps
from pipeline.filter.steps.balance import BalanceConfig, balance, draws, row_base

ENTRIES = ["a", "b", "c", "a b", "never"]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "words": st.lists(st.sampled_from(["a", "b", "c", "x"]), max_size=4),
            "outcome": st.sampled_from(["success", "success", "success", "http_404"]),
        }
    ),
    max_size=20,
)


def run(raw_parts, tmp_path, parts, folder, config):
    listed = tmp_path / "entries.txt"
    listed.write_text("\n".join(ENTRIES))
    engine, fetched = raw_parts(parts, folder)
    stage = ScoreStage(ConceptsScore(ConceptsScoreConfig(entries=str(listed))))
    engine.run(stage, [stage.part(part) for part in fetched])
    stage, todo = balance(engine, config, fetched)
    engine.run(stage, todo)
    return [pq.read_table(engine.dataset.path(f"scores/balance/{part}.parquet")).to_pylist() for part in fetched]


def draw(key, entry, seed):
    """One number of a splitmix64 stream, in Python's own integers."""
    mask = 2**64 - 1
    x = (row_base(key, seed) + (entry + 1) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return ((x ^ (x >> 31)) >> 11) / 2**53


def brute_force(rows, t, seed):
    """Algorithm 1: count, p = t / max(count, t), keep where any draw falls below p."""
    held = [[i for i, entry in enumerate(ENTRIES) if f" {entry} " in f" {row['texts'][0]} "] for row in rows]
    sound = [row["outcome"] == "success" for row in rows]
    counts = Counter(entry for entries, ok in zip(held, sound, strict=True) if ok for entry in entries)
    for row, entries, ok in zip(rows, held, sound, strict=True):
        if not ok:
            yield None, None, None
            continue
        p = {entry: t / max(counts[entry], t) for entry in entries}
        keep = any(draw(row["key"], entry, seed) < p[entry] for entry in entries)
        needed = min((draw(row["key"], entry, seed) * counts[entry] for entry in entries), default=None)
        yield keep, 1 - math.prod(1 - value for value in p.values()), needed


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 3), st.sampled_from([0.5, 1.0, 2.0, 7.0]), st.integers(0, 1))
def test_equal_to_brute_force(tmp_path_factory, tmp_path, raw_parts, drawn, num_parts, t, seed):
    parts = [[] for _ in range(num_parts)]
    for i, row in enumerate(drawn):
        made = {"id": str(i), "key": f"{i:032x}", "texts": [" ".join(row["words"])], "outcome": row["outcome"]}
        parts[i % num_parts].append(made)
    folder = tmp_path_factory.mktemp("ds").name
    found = run(raw_parts, tmp_path, parts, folder, BalanceConfig(t=t, seed=seed))
    wanted = brute_force([row for part in parts for row in part], t, seed)
    for row, (keep, prob, needed) in zip([row for part in found for row in part], wanted, strict=True):
        assert row["keep"] == keep
        assert row["keep_prob"] == (None if prob is None else pytest.approx(prob))
        assert row["needed_t"] == (None if needed is None else pytest.approx(needed))
        assert bool(keep) == (needed is not None and needed < t)


def test_the_spread_over_parts_does_not_matter(raw_parts, tmp_path):
    rows = [{"id": str(i), "texts": ["a b c"[: 1 + 2 * (i % 3)]]} for i in range(60)]
    one = run(raw_parts, tmp_path, [rows], "one", BalanceConfig(t=5))
    four = run(raw_parts, tmp_path, [rows[i::4] for i in range(4)], "four", BalanceConfig(t=5))

    def by_key(parts):
        return {row["key"]: row for part in parts for row in part}

    assert by_key(one) == by_key(four)


def test_as_many_rows_stay_as_chance_says(raw_parts, tmp_path):
    """A frequent entry is thinned to about t rows; rows that also hold a rare one all stay."""
    rows = [{"id": str(i), "texts": ["a c" if i < 50 else "a" if i % 2 else "b"]} for i in range(6000)]
    (found,) = run(raw_parts, tmp_path, [rows], "ds", BalanceConfig(t=300))
    keep = np.array([row["keep"] for row in found])
    prob = np.array([row["keep_prob"] for row in found])
    assert keep[:50].all()
    expected, deviation = prob.sum(), math.sqrt((prob * (1 - prob)).sum())
    assert abs(keep.sum() - expected) < 4 * deviation
    other = np.array([row["keep"] for row in run(raw_parts, tmp_path, [rows], "ds", BalanceConfig(t=300, seed=1))[0]])
    assert (keep != other).any()


def test_draws_are_even_and_apart():
    bases = np.array([row_base(f"{i:032x}", 0) for i in range(400)], np.uint64)
    drawn = np.array([draws(bases, np.full(400, entry)) for entry in range(200)])
    histogram = np.histogram(drawn, 20, (0, 1))[0]
    chi2 = ((histogram - 4000) ** 2 / 4000).sum()
    assert chi2 < 50  # 19 degrees of freedom: 1 in 10,000 by chance
    assert np.abs(np.corrcoef(drawn[:50]) - np.eye(50)).max() < 0.25


def test_another_t_counts_nothing_again(raw_parts, tmp_path):
    rows = [{"id": str(i), "texts": ["a"]} for i in range(9)]
    run(raw_parts, tmp_path, [rows], "ds", BalanceConfig(t=1))
    engine, fetched = raw_parts([rows], "ds")
    before = engine.dataset.read_bytes("commits/balance-total/all.json")
    stage, todo = balance(engine, BalanceConfig(t=2), fetched)
    assert engine.dataset.read_bytes("commits/balance-total/all.json") == before
    assert len(engine.plan(stage, todo)[1]) == 1
    stage, todo = balance(engine, BalanceConfig(t=1), fetched)
    assert engine.plan(stage, todo)[1] == []


def test_balance_without_concepts_stops_a_recipe():
    tables = SimpleNamespace(balance=BalanceConfig())
    with pytest.raises(RecipeError, match=r"score\.balance .*'concepts'.*off.*Add \[score\.concepts\]"):
        check_steps(tables, {})
