import pyarrow.parquet as pq
import pytest

from pipeline.errors import RecipeError
from pipeline.filter.duplicates import COLUMNS, DuplicatesConfig, find_duplicates
from pipeline.filter.rules import Rule, VerdictConfig
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers import SCORERS
from pipeline.filter.scorers.image import ImageScoreConfig
from pipeline.filter.scorers.text import TextScoreConfig
from pipeline.filter.verdict import JudgeStage, compile_verdict
from pipeline.stage import Part

SCORES = {name: scorer.writes for name, scorer in SCORERS.items()} | {"duplicates": COLUMNS}
RULES = (
    Rule(name="too_few_words", column="text.num_words", min=3),
    Rule(name="too_small", column="image.min_side_px", min=100),
    Rule(name="too_long", column="image.aspect", max=2.0),
)
ROWS = [
    {"id": "good"},
    {"id": "again", "sha256": "good"},
    {"id": "dead", "outcome": "http_404"},
    {"id": "short", "texts": ["two words"]},
    {"id": "none", "texts": []},
    {"id": "small", "width": 99, "height": 99},
    {"id": "wide", "width": 401, "height": 200},
    {"id": "edge", "width": 400, "height": 200, "texts": ["just three words"]},
    {"id": "both", "width": 10, "height": 10, "texts": ["one"]},
]
REASONS = {
    "dead": "fetch:http_404",
    "short": "too_few_words",
    "none": "too_few_words",
    "small": "too_small",
    "wide": "too_long",
    "both": "too_few_words",
}


@pytest.fixture
def judged(raw_parts):
    def run(config, rows=ROWS):
        engine, fetched = raw_parts([rows])
        parts = [Part(part, (("fetch", part),)) for part in fetched]
        engine.run(ScoreStage(SCORERS["text"](TextScoreConfig())), parts)
        engine.run(ScoreStage(SCORERS["image"](ImageScoreConfig())), parts)
        stage, todo = find_duplicates(engine, DuplicatesConfig(), fetched)
        engine.run(stage, todo)
        judge = JudgeStage(compile_verdict(config, SCORES))
        commit = engine.run(judge, [Part("00000", judge.inputs("00000"))])["00000"]
        verdict = pq.read_table(engine.dataset.path(commit.file(".parquet"))).to_pylist()
        return commit, dict(zip([row["id"] for row in rows], verdict, strict=True))

    return run


def test_each_row_falls_to_the_first_rule_it_breaks(judged):
    commit, verdicts = judged(VerdictConfig(duplicates="pair", rules=RULES))
    found = {id: row["dropped_by"] for id, row in verdicts.items() if not row["keep"]}
    again = {id for id in ("good", "again") if not verdicts[id]["keep"]}
    assert len(again) == 1
    assert found == REASONS | {again.pop(): "duplicate_pair"}
    assert commit.rows_in == commit.rows_out + sum(commit.counts.values())
    assert {row["weight"] for row in verdicts.values()} == {0.0, 1.0}
    assert all(row["dropped_by"] is None for row in verdicts.values() if row["keep"])


def test_duplicates_may_stay(judged):
    _, verdicts = judged(VerdictConfig(duplicates="keep"))
    assert sum(row["keep"] for row in verdicts.values()) == len(ROWS) - 1


def test_a_key_twice_never_stays(judged):
    rows = [{"id": "a", "key": "k" * 32, "sha256": "1"}, {"id": "b", "key": "k" * 32, "sha256": "2"}]
    _, verdicts = judged(VerdictConfig(duplicates="keep"), rows)
    assert [row["dropped_by"] for row in verdicts.values()] == [None, "duplicate_key"]


def test_an_unknown_column_names_the_nearest():
    config = VerdictConfig(rules=(Rule(name="x", column="text.num_word", min=1),))
    with pytest.raises(RecipeError, match=r"rule 'x'.*'text\.num_word'.*Did you mean 'text\.num_words'"):
        compile_verdict(config, SCORES)


def test_a_column_without_order_is_refused():
    with pytest.raises(RecipeError, match=r"record\.url holds string"):
        compile_verdict(VerdictConfig(rules=(Rule(name="x", column="record.url", min=1),)), SCORES)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "x", "column": "a.b"}, "needs min, max or both"),
        ({"name": "x", "column": "a.b", "min": 2, "max": 1}, "no row could pass"),
        ({"name": "fetch:x", "column": "a.b", "min": 2}, "without ':'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Rule(**settings)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ValueError, match="share the name 'x'"):
        VerdictConfig(rules=(Rule(name="x", column="a.b", min=1), Rule(name="x", column="a.c", min=1)))
