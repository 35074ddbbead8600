"""The subset file against a sort of all kept uids, and the sample of dropped rows against a sort of all dropped."""

import numpy as np
import pytest

from pipeline.curate import ScoreConfig
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers import scorers_of
from pipeline.filter.steps.duplicates import COLUMNS, DuplicatesConfig, find_duplicates
from pipeline.filter.verdicts.dropped import sample_dropped
from pipeline.filter.verdicts.rules import Rule, VerdictConfig
from pipeline.filter.verdicts.subset import write_subset
from pipeline.filter.verdicts.verdict import JudgeStage, compile_verdict
from pipeline.record import key_fraction, sample_key
from pipeline.stage import Part

UIDS = [f"{number:016x}{number * 7919 % 64:016x}" for number in (0, 1, 2**64 - 1, 2**63, 5, 5, 5, 77)]


@pytest.fixture
def judged(raw_parts):
    """Call with rows and the number of parts; gives the judged dataset."""

    def run(rows, num_parts=2, rule="image.min_side_px >= 100"):
        engine, fetched = raw_parts([rows[place::num_parts] for place in range(num_parts)], f"ds{num_parts}")
        scorer = scorers_of(ScoreConfig())["image"]
        stage = ScoreStage(scorer)
        engine.run(stage, [stage.part(part) for part in fetched])
        stage, todo = find_duplicates(engine, DuplicatesConfig(), fetched)
        engine.run(stage, todo)
        config = VerdictConfig(duplicates="keep", rules=(Rule(name="small", keep=rule),))
        judge = JudgeStage(compile_verdict(config, {"image": scorer.writes, "duplicates": COLUMNS}))
        engine.run(judge, [Part(part, judge.inputs(part)) for part in fetched])
        return engine.dataset

    return run


@pytest.mark.parametrize("num_parts", [1, 3])
def test_kept_uids_are_sorted_and_once_each(judged, tmp_path, num_parts):
    rows = [{"id": str(place), "uid": uid, "width": 99 if place == 7 else 300} for place, uid in enumerate(UIDS)]
    dataset = judged(rows, num_parts)
    assert write_subset(dataset, tmp_path / "new" / "kept.npy") == len({*UIDS[:7]})
    subset = np.load(tmp_path / "new" / "kept.npy")
    wanted = sorted({(int(uid[:16], 16), int(uid[16:], 16)) for uid in UIDS[:7]})
    assert [tuple(pair) for pair in subset.tolist()] == wanted
    assert subset.dtype == np.dtype("u8,u8")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kept.npy"]


def test_nothing_kept_is_an_empty_subset(judged, tmp_path):
    dataset = judged([{"id": "a", "uid": UIDS[0]}], 1, rule="false")
    assert write_subset(dataset, tmp_path / "kept.npy") == 0
    assert np.load(tmp_path / "kept.npy").shape == (0,)


def test_a_uid_that_is_none_is_told(judged, tmp_path):
    with pytest.raises(DatasetError, match="part 00000: the uid 'x' is not 32 lower-case hex digits"):
        write_subset(judged([{"id": "a", "uid": "x"}], 1), tmp_path / "kept.npy")
    assert not (tmp_path / "kept.npy").exists()


def test_nothing_judged_yet(raw_parts, tmp_path):
    engine, _ = raw_parts([[{"id": "a"}]])
    for call in (
        lambda: write_subset(engine.dataset, tmp_path / "x.npy"),
        lambda: sample_dropped(engine.dataset, "x", 1),
    ):
        with pytest.raises(AskedWrongly, match=r"nothing is judged yet\. Run `pairmill judge`"):
            call()


def test_a_sample_of_what_a_rule_dropped(judged):
    rows = [{"id": str(place), "width": 50 + place, "texts": [f"caption {place}"]} for place in range(80)]
    dropped = sorted((sample_key("test", row["id"]) for row in rows[:50]), key=lambda key: key_fraction(key, "dropped"))
    whole, cut = (sample_dropped(judged(rows, num_parts), "small", 7) for num_parts in (1, 4))
    assert [row["key"] for row in whole] == [row["key"] for row in cut] == dropped[:7]
    for row in cut:
        assert row["image.min_side_px"] == row["original_width"] < 100
        assert row["duplicates.key_rank"] == 0
        assert {"part", "url", "caption"} <= row.keys()
    assert len(sample_dropped(judged(rows, 4), "small", 1000)) == 50


def test_a_reason_that_dropped_nothing_names_the_nearest(judged):
    with pytest.raises(AskedWrongly, match=r"no row was dropped by 'smal'\. Did you mean 'small'"):
        sample_dropped(judged([{"id": "a", "width": 5}]), "smal", 3)
