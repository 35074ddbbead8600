import pickle

import pyarrow.parquet as pq
import pytest

from pipeline.errors import RecipeError
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers import SCORERS
from pipeline.filter.scorers.image import ImageScoreConfig
from pipeline.filter.scorers.text import TextScoreConfig
from pipeline.filter.steps.duplicates import COLUMNS, DuplicatesConfig, find_duplicates
from pipeline.filter.verdicts.rules import Rule, VerdictConfig
from pipeline.filter.verdicts.verdict import JudgeStage, compile_verdict
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


def test_a_condition_may_join_columns_of_several_scorers(judged):
    rule = Rule(name="thin", keep="image.aspect <= 2 and (text.num_words >= 3 or is_null(text.num_words))")
    _, verdicts = judged(VerdictConfig(duplicates="keep", rules=(rule,)))
    found = {id for id, row in verdicts.items() if row["dropped_by"] == "thin"}
    assert found == {"short", "none", "wide", "both"}


def test_null_passes_only_where_the_rule_says_so(judged):
    rows = [
        {"id": "a", "meta": '{"similarity": 0.5}'},
        {"id": "b", "meta": "{}"},
        {"id": "c", "meta": '{"similarity": "x"}'},
    ]
    for keep, wanted in (
        ("list.similarity >= 0.3", {"a"}),
        ("not (list.similarity < 0.3)", {"a"}),
        ("list.similarity >= 0.3 or is_null(list.similarity)", {"a", "b", "c"}),
        ("coalesce(list.similarity, 1) >= 0.3", {"a", "b", "c"}),
    ):
        _, verdicts = judged(VerdictConfig(duplicates="keep", rules=(Rule(name="x", keep=keep),)), rows)
        assert {id for id, row in verdicts.items() if row["keep"]} == wanted, keep


def test_kept_rows_have_the_weight_of_the_expression(judged):
    rule = Rule(name="too_small", keep="image.min_side_px >= 50")
    weight = "if_else(text.num_words == 2, null, min(text.num_words, 3) - 1)"
    commit, verdicts = judged(VerdictConfig(duplicates="keep", rules=(rule,), weight=weight))
    assert {id: (row["dropped_by"], row["weight"]) for id, row in verdicts.items()} == {
        "good": (None, 2.0), "again": (None, 2.0), "dead": ("fetch:http_404", 0.0), "short": ("no_weight", 0.0),
        "none": ("no_weight", 0.0), "small": (None, 2.0), "wide": (None, 2.0), "edge": (None, 2.0),
        "both": ("too_small", 0.0),
    }  # fmt: skip
    assert commit.counts == {"fetch:http_404": 1, "too_small": 1, "no_weight": 2}
    assert commit.rows_in == commit.rows_out + sum(commit.counts.values())


def test_a_stage_travels_to_its_workers():
    config = VerdictConfig(rules=(Rule(name="x", keep="image.aspect <= quantile(image.aspect, 0.5)"),), weight="1")
    stage = JudgeStage(compile_verdict(config, SCORES), {"quantile(image.aspect, 0.5)": 1.5})
    assert pickle.loads(pickle.dumps(stage)).settings() == stage.settings()


def test_only_the_scores_that_rules_read_are_inputs():
    judge = JudgeStage(compile_verdict(VerdictConfig(duplicates="keep", rules=RULES[:1]), SCORES))
    assert judge.inputs("00000") == (("fetch", "00000"), ("score-duplicates", "00000"), ("score-text", "00000"))


def test_a_rule_of_no_scorer_says_how_to_turn_it_on():
    config = VerdictConfig(rules=(Rule(name="x", keep="image.aspect < 2 and clip.similarity > 0.3"),))
    with pytest.raises(RecipeError) as error:
        compile_verdict(config, {"image": SCORES["image"], "duplicates": COLUMNS}, {"clip": "Add [score.clip]."})
    assert str(error.value) == (
        "verdict rule 'x': at character 22 ('clip.similarity > 0.3'): 'clip.similarity' is written by the scorer "
        "'clip', which is off. Add [score.clip]."
    )


def test_a_threshold_outside_its_range_is_refused():
    config = VerdictConfig(rules=(Rule(name="x", column="text.letter_share", min=50),))
    with pytest.raises(RecipeError, match=r"rule 'x': 50 is outside the range of text.letter_share, which is 0..1"):
        compile_verdict(config, SCORES)


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(RecipeError, match=r"verdict.weight: at character 14 .* is true or false; wanted a number"):
        compile_verdict(VerdictConfig(weight="image.aspect > 2"), SCORES)


def test_a_column_of_the_list_is_one_kind_in_all_rules():
    rules = (Rule(name="x", keep="list.a > 1"), Rule(name="y", keep='list.a == "z"'))
    with pytest.raises(RecipeError, match=r"list.a is a number in 'x' and a text in 'y'"):
        compile_verdict(VerdictConfig(rules=rules), SCORES)


def test_the_same_verdict_under_any_cut_into_parts(raw_parts):
    rows = [{"id": str(i), "width": 90 + i, "height": 97 + i % 7, "sha256": f"s{i % 11}"} for i in range(60)]
    config = VerdictConfig(rules=RULES[1:], weight='draw("w")')
    found = []
    for num_parts in (1, 4):
        engine, fetched = raw_parts([rows[place::num_parts] for place in range(num_parts)], f"ds{num_parts}")
        stage = ScoreStage(SCORERS["image"](ImageScoreConfig()))
        engine.run(stage, [stage.part(part) for part in fetched])
        stage, todo = find_duplicates(engine, DuplicatesConfig(), fetched)
        engine.run(stage, todo)
        judge = JudgeStage(compile_verdict(config, SCORES))
        commits = engine.run(judge, [Part(part, judge.inputs(part)) for part in fetched])
        tables = [
            pq.read_table(engine.dataset.path(commit.file(".parquet"))).to_pylist() for commit in commits.values()
        ]
        found.append(sorted((row for table in tables for row in table), key=lambda row: row["key"]))
    assert found[0] == found[1]
    assert {row["dropped_by"] for row in found[0]} == {None, "too_small", "duplicate_pair"}
