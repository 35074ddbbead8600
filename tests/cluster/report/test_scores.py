"""Scores: what was counted part by part is what numpy counts on the whole table; any scorer is shown."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.report.columns import find_columns
from cluster.report.folder import Folder
from cluster.report.languages import WordSurvey
from cluster.report.page import build_page
from cluster.report.part import DROPPED, KEPT, walk
from cluster.report.rules import RuleView, rules_of
from cluster.report.scores import ScoreSurvey
from pipeline.commit import read_commits


def whole(dataset, scorer, column):
    """A column of all parts, and whether each row was kept."""
    parts = read_commits(dataset, "judge")
    files = [dataset.local_path(f"scores/{scorer}/{part}.parquet") for part in parts]
    values = pa.concat_tables([pq.read_table(file, columns=[column]) for file in files]).column(column)
    verdicts = [pq.read_table(dataset.local_path(commit.file(".parquet"))) for commit in parts.values()]
    return values, pa.concat_tables(verdicts).column("keep").to_numpy()


def surveyed(dataset):
    folder = Folder.open(dataset.url)
    rules = rules_of(folder.recipe)
    columns = find_columns(folder, [name for rule in rules for name in rule.columns])
    scores = ScoreSurvey(folder, columns, rules)
    words = WordSurvey(columns, scores.names)
    walk(folder, [scores, words])
    return scores, words, columns


def test_every_histogram_is_numpys_of_the_whole_table(scored):
    scores, _, columns = surveyed(scored)
    drawn = [column for column in columns if column.form == "number"]
    assert {"text.num_words", "clip_own.similarity", "odd.spread", "duplicates.pair_rank"} <= {c.full for c in drawn}
    for column in drawn:
        values, keep = whole(scored, column.scorer, column.name)
        numbers = values.to_numpy().astype(np.float64)
        finite = np.isfinite(numbers)
        counts = scores.counts[column.full]
        for tone, of_tone in ((KEPT, keep), (DROPPED, ~keep)):
            expected, _ = np.histogram(numbers[finite & of_tone], counts.axis.edges)
            assert counts.inside[tone].tolist() == expected.tolist(), column.full
        assert counts.missing == (~finite).sum()


def test_flags_and_words_are_counted_by_tone(scored):
    scores, words, _ = surveyed(scored)
    values, keep = whole(scored, "text", "has_url")
    true = np.array([value is True for value in values.to_pylist()])
    assert scores.flags["text.has_url"][KEPT, 1] == (true & keep).sum()
    langs, keep = whole(scored, "language", "lang")
    of_he = np.array([lang == "he" for lang in langs.to_pylist()])
    assert words.words["language.lang"]["he"][KEPT] == (of_he & keep).sum()
    assert words.words["language.lang"]["he"].sum() == of_he.sum()


def test_unknown_scorers_are_shown_and_what_cannot_be_drawn_is_named(scored):
    page = build_page(scored.url)
    assert "<figcaption>odd.spread</figcaption>" in page
    assert "logarithmic axis" in page
    assert re.search(r"odd\.nothing</figcaption><p>No row has a value; \d+ have none", page)
    assert re.search(r"Not drawn, since they are identifiers or lists:.*odd\.hash.*odd\.list", page)
    assert ">&lt;b&gt;</td>" in page  # a language called <b>


def test_what_a_threshold_parts_is_said_in_words(scored):
    values, _ = whole(scored, "text", "num_words")
    below = sum(value is not None and value < 3 for value in values.to_pylist())
    scored_rows = sum(value is not None for value in values.to_pylist())
    assert below == 1
    words = f"too_few_words wants ≥ 3: 1 row ({100 / scored_rows:.1f} %) lies below."
    assert words in build_page(scored.url)


def test_columns_of_the_record_are_drawn_where_a_rule_looks_at_them(scored):
    folder = Folder.open(scored.url)
    rules = (RuleView("wide", "", ("record.width", "record.url"), ()),)
    columns = find_columns(folder, rules[0].columns)
    scores = ScoreSurvey(folder, columns, rules)
    walk(folder, [scores])
    fetched = read_commits(scored, "fetch").values()
    assert scores.counts["record.width"].rows == sum(commit.counts["success"] for commit in fetched)


def test_parts_without_scores_are_left_out_and_uncommitted_files_are_not_read(scored):
    part = next(iter(read_commits(scored, "fetch")))
    before = surveyed(scored)[0].counts["odd.spread"]
    scored.delete(f"commits/score-odd/{part}.json")
    after = surveyed(scored)[0].counts["odd.spread"]
    assert 0 < after.rows < before.rows
