"""Numbers of the whole dataset against numpy on the whole table, under any cut into parts, and resumed."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.commit import publish, read_commits
from pipeline.filter.verdicts.expression.check import Kind, Known, compile_expression
from pipeline.filter.verdicts.quantiles import find_numbers, whole_numbers
from pipeline.stage import Made

KNOWN = Known({"clip.similarity": pa.field("similarity", pa.float32())})
VALUES = st.none() | st.sampled_from([float("nan"), 0.25, 0.5, 0.5, -0.125]) | st.floats(-1, 1, width=32)


def wholes_of(text):
    return compile_expression(text, Kind.BOOLEAN, KNOWN)


@pytest.fixture
def scored(raw_parts, tmp_path):
    """Call with lists of similarities, one per part; gives the engine and the parts."""

    def write(parts, folder="ds", place="process"):
        engine, fetched = raw_parts(
            [[{"id": f"{number}-{row}"} for row in range(len(values))] for number, values in enumerate(parts)],
            folder, place,
        )  # fmt: skip
        for part, values in zip(fetched, parts, strict=True):
            local = tmp_path / "scores.parquet"
            pq.write_table(pa.table({"similarity": pa.array(values, pa.float32())}), local)
            made = Made({f"scores/clip/{part}.parquet": local}, len(values), len(values))
            publish(engine.dataset, "score-clip", part, f"by hand {values}", made)
        return engine, list(fetched)

    return write


def run(engine, parts, text):
    found = wholes_of(text)
    return list(whole_numbers(engine, found.wholes, dict(found.columns), parts).values())


def present(parts):
    flat = [value for values in parts for value in values if value is not None and value == value]
    return np.array(flat, np.float32).astype(np.float64)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES, max_size=20), st.integers(1, 4), st.sampled_from([0, 0.1, 0.3, 0.5, 0.7, 1]))
def test_equal_to_numpy_on_the_whole_table(scored, tmp_path_factory, values, num_parts, share):
    parts = [values[place::num_parts] for place in range(num_parts)]
    engine, names = scored(parts, tmp_path_factory.mktemp("ds").name)
    text = f"clip.similarity >= quantile(clip.similarity, {share}) or clip.similarity >= top(clip.similarity, {share})"
    quantile, top = run(engine, names, text)
    whole = present(parts)
    if not len(whole):
        assert (quantile, top) == (None, None)
        return
    assert quantile == np.quantile(whole, share)
    place = min(int(share * len(whole)), len(whole) - 1)
    assert top == -np.sort(-whole)[place]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.floats(0, 1))
def test_any_share_of_any_numbers(values, share):
    whole = np.sort(np.array(values, np.float64))
    wanted = wholes_of(f"1 > quantile(clip.similarity, {share!r})").wholes
    with np.errstate(over="ignore", invalid="ignore"):
        expected = float(np.quantile(whole, share))
    found = find_numbers(lambda: [whole], wanted, len(whole))[wanted[0].key]
    assert found == expected or (found is None and expected != expected)


def test_the_cut_into_parts_does_not_matter_and_nothing_is_done_twice(scored):
    values = [float(value) for value in np.random.default_rng(1).normal(size=60).astype(np.float32)]
    text = "clip.similarity >= top(clip.similarity, 0.3)"
    one = run(*scored([values], "one"), text)
    engine, parts = scored([values[place::5] for place in range(5)], "five")
    assert run(engine, parts, text) == one == [float(-np.sort(-np.array(values))[18])]
    before = {stage: read_commits(engine.dataset, stage) for stage in engine.dataset.folders("commits")}
    found = wholes_of("clip.similarity >= top(clip.similarity, 0.2)")
    whole_numbers(engine, found.wholes, dict(found.columns), parts)
    for stage, commits in before.items():
        if stage.startswith("quantile-") and not stage.endswith("-found"):
            assert read_commits(engine.dataset, stage) == commits  # another share reads the same values
    engine.dataset.delete("commits/" + next(stage for stage in before if stage.endswith("-found")) + "/all.json")
    assert run(engine, parts, text) == one
    run(engine, parts, "clip.similarity > 0")
    stages = [stage for stage in engine.dataset.folders("commits") if stage.startswith("quantile-")]
    assert not any(read_commits(engine.dataset, stage) for stage in stages)
    assert not [name for name in engine.dataset.folders("quantiles") if engine.dataset.list(f"quantiles/{name}")]


def test_other_scores_give_another_number(scored):
    text = "clip.similarity >= quantile(clip.similarity, 0.5)"
    assert run(*scored([[0.0, 1.0], [0.5]]), text) == [0.5]
    assert run(*scored([[0.0, 1.0], [0.25]]), text) == [0.25]


def test_expressions_inside(scored):
    engine, parts = scored([[0.0, -1.0, None], [0.5]])
    assert run(engine, parts, "1 > quantile(abs(clip.similarity), 1)") == [1.0]
    assert run(engine, parts, "1 > quantile(if_else(clip.similarity > -1, clip.similarity, null), 0)") == [0.0]
    assert run(engine, parts, "1 > top(coalesce(clip.similarity, -2), 0.75)") == [-2.0]
