"""Clusters: sizes are those of a count over the whole table, members lie side by side with the kept one marked."""

import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.report.clusters import ClusterSurvey, Family, families_of
from cluster.report.columns import ScoreColumn, find_columns
from cluster.report.folder import Folder
from cluster.report.page import build_page
from cluster.report.part import walk
from pipeline.commit import read_commits


def columns(scorer, *names):
    return [ScoreColumn(scorer, name, "number") for name in names]


def test_families_are_found_by_their_columns():
    found = families_of(
        [
            *columns("duplicates", "key_copies", "key_rank", "medium_copies", "medium_rank"),
            *columns("near", "cluster", "copies", "rank"),
            *columns("alone", "copies"),
        ]
    )
    assert found == [
        Family("duplicates", "key_copies", "key_rank", None),
        Family("duplicates", "medium_copies", "medium_rank", "record.sha256"),
        Family("near", "copies", "rank", "cluster"),
    ]
    assert [family.title for family in found] == ["duplicates: same key", "duplicates: same medium", "near"]


def test_sizes_are_those_of_the_whole_table(scored):
    folder = Folder.open(scored.url)
    found = find_columns(folder, ())
    families = families_of(found)
    names = {scorer: [column.name for column in found if column.scorer == scorer] for scorer in folder.scorers}
    survey = ClusterSurvey(families, names)
    walk(folder, [survey])
    parts = read_commits(scored, "fetch")
    raw = pa.concat_tables([pq.read_table(scored.local_path(f"raw/{part}.parquet")) for part in parts])
    bodies = Counter(sha for sha in raw.column("sha256").to_pylist() if sha is not None)
    expected = Counter(rows for rows in bodies.values() if rows > 1)
    medium = next(family for family in families if family.copies == "medium_copies")
    assert expected
    assert survey.sizes[medium] == expected


def test_members_lie_side_by_side_and_the_kept_one_is_marked(scored):
    page = build_page(scored.url)
    section = page[page.index('id="duplicates"') : page.index('id="languages"')]
    blocks = re.findall(r'<div class="cluster">.*?</figure></div></div>', section)
    assert blocks
    medium = section[section.index("same medium") : section.index("same pair")]
    first = re.search(r'<div class="cluster">.*?</figure></div></div>', medium)[0]
    keys = re.findall(r'class="key">([0-9a-f]{32})<', first)
    parts = [pq.read_table(scored.local_path(f"raw/{part}.parquet")) for part in read_commits(scored, "fetch")]
    rows = [row for table in parts for row in table.select(["key", "sha256"]).to_pylist() if row["key"] in keys]
    judged = [pq.read_table(scored.local_path(one.file(".parquet"))) for one in read_commits(scored, "judge").values()]
    reason_of = {row["key"]: row["dropped_by"] for table in judged for row in table.to_pylist()}
    marks = re.findall(r'class="mark (\w+)">', first)
    assert marks[0] == "kept"
    assert marks == ["kept" if reason_of[key] is None else "left" for key in keys]
    assert first.count("dropped by = <b>duplicate_pair</b>") == marks.count("left") > 0
    assert len(rows) == len(keys) > 1
    assert len({row["sha256"] for row in rows}) == 1


def test_the_largest_cluster_comes_first_and_long_ones_say_what_is_not_shown(scored):
    for part, commit in read_commits(scored, "score-near_duplicates").items():
        name = scored.local_path(f"scores/near_duplicates/{part}.parquet")
        table = pq.read_table(name)
        one = pa.array([7] * table.num_rows, pa.uint64())
        rank = pa.array([0 if part == "00000" and row == 0 else 1 for row in range(table.num_rows)])
        copies = pa.array([50] * table.num_rows)
        columns_ = {"key": table.column("key"), "cluster": one, "copies": copies, "rank": rank}
        pq.write_table(pa.table(columns_), name)
        assert commit.files
    section = build_page(scored.url).partition('id="duplicates"')[2].partition("<h3>near_duplicates</h3>")[2]
    assert "50 rows; 42 more not shown" in section
    assert "10 to 99" in section
