"""Semantic duplicates: clusters by their rows below the verdict's bound, and the nearest rows of each."""

import re

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.report.columns import find_columns, names_to_read
from cluster.report.folder import Folder
from cluster.report.neighbours import EPS, NeighbourSurvey, regions_of
from cluster.report.page import build_page
from cluster.report.part import walk
from cluster.report.rules import rules_of
from pipeline.commit import read_commits


def rows_of(dataset):
    parts = read_commits(dataset, "score-semantic")
    tables = [pq.read_table(dataset.local_path(f"scores/semantic/{part}.parquet")) for part in parts]
    return pa.concat_tables(tables).to_pylist()


def test_near_rows_are_counted_per_cluster_below_the_bound_of_the_verdict(scored):
    folder = Folder.open(scored.url)
    columns = find_columns(folder, ())
    rules = rules_of({"verdict": {"rules": [{"name": "near", "keep": "semantic.distance >= 0.25"}]}})
    (region,) = regions_of(columns, rules)
    assert region.eps == 0.25
    assert regions_of(columns, ())[0].eps == EPS
    survey = NeighbourSurvey([region], names_to_read(columns))
    walk(folder, [survey])
    expected = {}
    for row in rows_of(scored):
        if row["cluster"] is not None:
            near = expected.setdefault(row["cluster"], [0, 0])
            near[0] += 1
            near[1] += row["distance"] < 0.25
    found = survey.clusters[region].ranked().to_pylist()
    assert {row["name"]: [row["rows"], row["near"]] for row in found} == expected


def test_the_nearest_rows_of_a_cluster_lie_in_order(scored):
    section = build_page(scored.url).partition('id="duplicates"')[2].partition("<h3>semantic</h3>")[2]
    first = re.search(r'<div class="cluster">.*?</figure></div></div>', section)[0]
    told = [float(text) for text in re.findall(r"distance = <b>([0-9.e-]+)</b>", first)]
    assert told == sorted(told)
    assert told[0] < EPS
    key = re.search(r'class="key">([0-9a-f]{32})<', first)[1]
    cluster = next(row["cluster"] for row in rows_of(scored) if row["key"] == key)
    distances = sorted(row["distance"] for row in rows_of(scored) if row["cluster"] == cluster)
    assert [round(value, 4) for value in distances[: len(told)]] == told
