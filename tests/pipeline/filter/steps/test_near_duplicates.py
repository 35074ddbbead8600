"""Near-duplicates against all pairs of rows, under any spread over parts and any bucket size."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.commit import publish
from pipeline.filter.steps.near_duplicates import NearDuplicatesConfig, find_near_duplicates
from pipeline.stage import Made

CENTRES = [0x0123456789ABCDEF, 0xFFFF0000FFFF0000, 0x1]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "centre": st.integers(0, 2),
            "flips": st.lists(st.integers(0, 63), max_size=4),
            "width": st.integers(1, 3),
            "contrast": st.sampled_from([50.0, 50.0, 50.0, 0.5, None]),
            "outcome": st.sampled_from(["success", "success", "success", "http_404"]),
        }
    ),
    max_size=24,
)


@pytest.fixture
def with_hashes(raw_parts, tmp_path):
    """Call as raw_parts, with rows that have `hash` and `contrast`; also commits the scores of `phash`."""

    def write(parts, folder):
        engine, fetched = raw_parts(parts, folder)
        for (part, commit), rows in zip(fetched.items(), parts, strict=True):
            sound = [row if row["outcome"] == "success" and row["contrast"] is not None else {} for row in rows]
            columns = {"hash": pa.uint64(), "contrast": pa.float32()}
            table = pa.table({name: pa.array([row.get(name) for row in sound], kind) for name, kind in columns.items()})
            local = tmp_path / "phash.parquet"
            pq.write_table(table, local)
            made = Made({f"scores/phash/{part}.parquet": local}, len(rows), len(rows))
            publish(engine.dataset, "score-phash", part, commit.made_by, made)
        return engine, fetched

    return write


def rows_of(drawn, num_parts):
    parts = [[] for _ in range(num_parts)]
    for i, row in enumerate(drawn):
        value = CENTRES[row["centre"]]
        for bit in row["flips"]:
            value ^= 1 << bit
        parts[i % num_parts].append({**row, "id": str(i), "hash": value, "key": f"{i * 7 % 31:032x}"})
    return parts


def brute_force(rows, radius, keep):
    """(cluster, copies, rank) of every row, by flooding from each."""
    sound = [
        row for row in rows if row["outcome"] == "success" and row["contrast"] is not None and row["contrast"] >= 4
    ]
    found = {}
    for row in sound:
        group, grown = [row], True
        while grown:
            more = [
                other
                for other in sound
                if other not in group
                and any((other["hash"] ^ member["hash"]).bit_count() <= radius for member in group)
            ]
            group, grown = group + more, bool(more)
        group.sort(key=lambda other: (-other["width"] if keep == "largest" else 0, other["key"]))
        found[row["key"]] = (min(other["hash"] for other in group), len(group), group.index(row))
    for row in rows:
        found.setdefault(row["key"], (None, 1, 0) if row["outcome"] == "success" else (None, None, None))
    return found


def run(with_hashes, parts, folder, config):
    engine, fetched = with_hashes(parts, folder)
    stage, todo = find_near_duplicates(engine, config, fetched)
    engine.run(stage, todo)
    assert engine.plan(stage, todo)[1] == []
    tables = [pq.read_table(engine.dataset.path(f"scores/near_duplicates/{part}.parquet")) for part in fetched]
    return {row["key"]: (row["cluster"], row["copies"], row["rank"]) for row in pa.concat_tables(tables).to_pylist()}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ROWS,
    st.integers(1, 3),
    st.sampled_from([8, 1000]),
    st.sampled_from([0, 2, 5]),
    st.sampled_from(["largest", "first"]),
)
def test_equal_to_brute_force(tmp_path_factory, with_hashes, drawn, num_parts, bucket_rows, radius, keep):
    parts = rows_of(drawn, num_parts)
    config = NearDuplicatesConfig(radius=radius, keep=keep, bucket_rows=bucket_rows)
    found = run(with_hashes, parts, tmp_path_factory.mktemp("ds").name, config)
    assert found == brute_force([row for part in parts for row in part], radius, keep)


def test_the_spread_over_parts_does_not_matter(with_hashes):
    rng = np.random.default_rng(1)
    drawn = [
        {"centre": int(rng.integers(3)), "flips": rng.integers(0, 64, 3).tolist(), "width": int(rng.integers(1, 4)),
         "contrast": 50.0, "outcome": "success"}
        for _ in range(120)
    ]  # fmt: skip
    rows = [{**row, "key": f"{i:032x}"} for i, row in enumerate(rows_of(drawn, 1)[0])]
    one = run(with_hashes, [rows], "one", NearDuplicatesConfig())
    many = run(with_hashes, [rows[i::3] for i in range(3)], "many", NearDuplicatesConfig(bucket_rows=64))
    assert one == many
    assert max(copies for _, copies, _ in one.values()) > 3
