import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RecipeError
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers.image import ImageScore, ImageScoreConfig
from pipeline.filter.scorers.text import TextScore, TextScoreConfig
from pipeline.record import FETCHED
from pipeline.stage import Part


def text_table(*rows):
    texts = [row and [{"text": text, "kind": "caption", "lang": None} for text in row] for row in rows]
    return pa.table({"texts": pa.array(texts, FETCHED.field("texts").type)})


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
    found = TextScore(TextScoreConfig())(text_table(texts)).to_pylist()[0]
    names = ("num_chars", "num_words", "max_word_share", "letter_share", "num_texts")
    assert tuple(found[name] for name in names) == pytest.approx(wanted)


def test_a_share_equals_the_number_it_is_printed_as():
    """One word of five is 0.2: CC12M keeps texts whose most frequent word is at most 0.2 of them."""
    found = TextScore(TextScoreConfig())(text_table(["a dog on the lawn"], ["Ab1 , c9xyz"])).to_pylist()
    assert found[0]["max_word_share"] == 0.2
    assert found[1]["digit_share"] == 2 / 11


@pytest.mark.parametrize(
    ("which", "num_chars", "has_url"), [("first", 5, False), ("longest", 22, False), ("all", 44, True)]
)
def test_a_recipe_says_which_text_is_meant(which, num_chars, has_url):
    table = text_table(["a dog", "a dog on a green lawn.", "www.example.com"], [None], None)
    found = TextScore(TextScoreConfig(which=which))(table).to_pylist()
    assert (found[0]["num_chars"], found[0]["has_url"]) == (num_chars, has_url)
    assert [row["num_texts"] for row in found] == [3, 1, 0]


def test_grammar_and_a_word_list_are_there_where_asked_for(tmp_path):
    (tmp_path / "words.txt").write_text("turnip\n")
    config = TextScoreConfig(parts_of_speech="english", profanity=str(tmp_path / "words.txt"))
    scorer, plain = TextScore(config), TextScore(TextScoreConfig())
    scorer.check()
    scorer.setup()
    found = scorer(text_table(["the turnip on the plate"], ["so happy"])).to_pylist()
    assert [row["profanity"] for row in found] == [1, 0]
    assert [(row["has_noun"], row["has_determiner"]) for row in found] == [(True, True), (False, False)]
    assert {*scorer.writes.names} - {*plain.writes.names} == {
        "has_noun",
        "has_determiner",
        "has_preposition",
        "noun_share",
        "profanity",
    }
    assert scorer.writes.names == TextScore.writes.names


def test_a_word_list_counts_by_its_content(tmp_path):
    def settings(name, words):
        (tmp_path / name).write_text(words)
        return TextScore(TextScoreConfig(profanity=str(tmp_path / name))).settings()

    assert settings("a", "turnip\n") == settings("b", "turnip\n") != settings("a", "turnip\nswede\n")


def test_a_missing_word_list_stops_a_recipe():
    with pytest.raises(RecipeError, match=r"score\.text\.profanity is 'no/such'.*no such file"):
        TextScore(TextScoreConfig(profanity="no/such")).check()


@pytest.mark.parametrize("stuff", ["a", " ", "dog ", "1 ", ".", "a@"])
def test_a_caption_of_a_million_characters_is_no_trap(stuff):
    number = 1_000_000 // len(stuff)
    found = TextScore(TextScoreConfig(parts_of_speech="english"))(text_table([stuff * number])).to_pylist()
    assert found[0]["num_chars"] == number * len(stuff)


def test_counts_are_those_of_datacomp_on_real_captions(real_data):
    """DataComp, baselines/apply_filter.py: len(text.split()) > 2 and len(text) > 5."""
    lines = (real_data / "url_lists/cc3m_val_5000.tsv").read_text("utf-8").splitlines()
    captions = [line.split("\t")[0] for line in lines]
    found = TextScore(TextScoreConfig())(text_table(*([caption] for caption in captions)))
    assert found.column("num_words").to_pylist() == [len(caption.split()) for caption in captions]
    assert found.column("num_chars").to_pylist() == [len(caption) for caption in captions]


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
