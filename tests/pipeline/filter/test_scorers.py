import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers.image import ImageScore, ImageScoreConfig
from pipeline.filter.scorers.text import TextScore, TextScoreConfig
from pipeline.record import FETCHED
from pipeline.stage import Part


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["a red dog"], (9, 3, 1 / 3, 7 / 9, 1)),
        (["Dog dog DOG cat", "x"], (15, 4, 3 / 4, 12 / 15, 2)),
        (["été 犬"], (5, 2, 1 / 2, 4 / 5, 1)),
        ([""], (0, 0, 0, 0, 1)),
        ([None], (0, 0, 0, 0, 1)),
        ([], (0, 0, 0, 0, 0)),
        (None, (0, 0, 0, 0, 0)),
    ],
)
def test_text_facts(texts, wanted):
    rows = None if texts is None else [{"text": text, "kind": "caption", "lang": None} for text in texts]
    table = pa.table({"texts": pa.array([rows], FETCHED.field("texts").type)})
    found = TextScore(TextScoreConfig())(table).to_pylist()[0]
    assert tuple(found.values()) == pytest.approx(wanted)


def test_image_facts():
    table = pa.table(
        {
            "original_width": pa.array([300, 100], pa.int32()),
            "original_height": pa.array([200, 400], pa.int32()),
            "bytes": pa.array([10, 20], pa.int64()),
        }
    )
    found = ImageScore(ImageScoreConfig())(table).to_pylist()
    assert found == [
        {"min_side_px": 200, "max_side_px": 300, "aspect": 1.5, "body_bytes": 10},
        {"min_side_px": 100, "max_side_px": 400, "aspect": 4.0, "body_bytes": 20},
    ]


def test_rows_that_were_not_fetched_get_nulls_in_their_place(raw_parts):
    gone, late = {"id": "a", "outcome": "http_404"}, {"id": "c", "outcome": "timeout"}
    rows = [gone, {"id": "b", "width": 50}, late, {"id": "d"}]
    engine, _ = raw_parts([rows])
    engine.run(ScoreStage(ImageScore(ImageScoreConfig())), [Part("00000", (("fetch", "00000"),))])
    found = pq.read_table(engine.dataset.path("scores/image/00000.parquet")).to_pylist()
    assert [row["min_side_px"] for row in found] == [None, 50, None, 200]


def test_a_part_without_one_fetched_row_is_scored_too(raw_parts):
    engine, _ = raw_parts([[{"id": "a", "outcome": "http_404"}]])
    for scorer in (ImageScore(ImageScoreConfig()), TextScore(TextScoreConfig())):
        commit = engine.run(ScoreStage(scorer), [Part("00000", (("fetch", "00000"),))])["00000"]
        assert (commit.rows_in, commit.counts) == (1, {"scored": 0})
