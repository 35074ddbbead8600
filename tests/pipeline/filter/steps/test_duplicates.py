"""Exact duplicates against a brute force over all pairs of rows, under any spread over parts and any bucket size."""

import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.filter.steps.duplicates import DuplicatesConfig, find_duplicates

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "media": st.integers(0, 5),
            "text": st.sampled_from(["a b", "b a", "", "a\0b"]),
            "key": st.integers(0, 30),
            "url": st.sampled_from([None, None, "http://a/1", "http://a/2", "http://a/1#"]),
            "outcome": st.sampled_from(["success", "success", "success", "http_404"]),
        }
    ),
    max_size=24,
)


def brute_force(rows):
    """Every row against every other, by the definition."""
    found = []
    sound = [row for row in rows if row["outcome"] == "success"]
    for row in rows:
        if row["outcome"] != "success":
            found.append(None)
            continue

        def facts(same, row=row):
            group = sorted(other["place"] for other in sound if same(other, row))
            return len(group), group.index(row["place"])

        found.append(
            {
                "key": facts(lambda a, b: a["key"] == b["key"]),
                "medium": facts(lambda a, b: a["sha256"] == b["sha256"]),
                "pair": facts(lambda a, b: a["sha256"] == b["sha256"] and a["texts"] == b["texts"]),
                "url": facts(lambda a, b: a["url"] == b["url"]) if row["url"] is not None else (1, 0),
            }
        )
    return found


def run(raw_parts, parts, folder, bucket_rows):
    engine, fetched = raw_parts(parts, folder)
    stage, todo = find_duplicates(engine, DuplicatesConfig(bucket_rows=bucket_rows), fetched)
    engine.run(stage, todo)
    return [pq.read_table(engine.dataset.path(f"scores/duplicates/{part}.parquet")).to_pylist() for part in fetched]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 4), st.sampled_from([1, 3, 1000]))
def test_equal_to_brute_force(tmp_path_factory, raw_parts, drawn, num_parts, bucket_rows):
    parts = [[] for _ in range(num_parts)]
    flat = [[] for _ in range(num_parts)]
    for i, row in enumerate(drawn):
        part = i % num_parts
        key = f"{row['key']:032x}"
        made = {
            "id": str(i), "key": key, "sha256": f"sha{row['media']}", "texts": [row["text"]], "outcome": row["outcome"],
            "url": row["url"],
        }  # fmt: skip
        flat[part].append({**made, "place": (key, part, len(parts[part]))})
        parts[part].append(made)
    folder = tmp_path_factory.mktemp("ds").name
    found = run(raw_parts, parts, folder, bucket_rows)
    wanted = brute_force([row for part in flat for row in part])
    for row, facts in zip([row for part in found for row in part], wanted, strict=True):
        for kind in ("key", "medium", "pair", "url"):
            copies, rank = facts[kind] if facts else (None, None)
            assert (row[f"{kind}_copies"], row[f"{kind}_rank"]) == (copies, rank)


def test_the_spread_over_parts_does_not_matter(raw_parts):
    rows = [{"id": str(i), "sha256": f"s{i % 7}", "texts": [f"t{i % 3}"]} for i in range(60)]
    one = run(raw_parts, [rows], "one", 1000)
    four = run(raw_parts, [rows[i::4] for i in range(4)], "four", 8)

    def by_key(parts):
        return {row["key"]: row for part in parts for row in part}

    assert by_key(one) == by_key(four)


def test_a_rerun_does_nothing_and_a_new_part_redoes_the_comparison(raw_parts):
    rows = [{"id": str(i), "sha256": f"s{i % 5}"} for i in range(20)]
    run(raw_parts, [rows], "ds", 1000)
    engine, fetched = raw_parts([rows], "ds")
    stage, todo = find_duplicates(engine, DuplicatesConfig(), fetched)
    assert engine.plan(stage, todo)[1] == []
    found = run(raw_parts, [rows, [{"id": "new", "sha256": "s0"}]], "ds", 1000)
    assert max(row["medium_copies"] for part in found for row in part) == 5
