import pyarrow as pa
import pytest

from pipeline.errors import RecipeError
from pipeline.filter.scorers.synsets import SynsetsScore, SynsetsScoreConfig, read_synsets
from pipeline.record import FETCHED

LEMMAS = {"noun": {"dog": [2084071, 5], "paint": [9], "cat": [2121620]}, "verb": {"paint": [1], "run": [2084071]}}


@pytest.fixture
def config(tmp_path, write_wordnet):
    listed = tmp_path / "ids.txt"
    listed.write_text("n02084071\nn02121620\n")
    return {"wordnet": write_wordnet(tmp_path / "dict", LEMMAS, {"noun": {}}), "synsets": str(listed)}


def table(*rows):
    texts = [row and [{"text": text, "kind": "caption", "lang": None} for text in row] for row in rows]
    return pa.table({"texts": pa.array(texts, FETCHED.field("texts").type)})


def counts(scorer, *rows):
    scorer.setup()
    return scorer(table(*rows)).column("num_matches").to_pylist()


def test_words_between_blanks_whose_first_sense_is_listed(config):
    rows = (["Two dogs,\u00a0a DOG and\tcats"], ["a dog."], ["paint"], ["they run"], [""], [None], None)
    assert counts(SynsetsScore(SynsetsScoreConfig(**config)), *rows) == [2, 0, 0, 1, 0, 0, 0]  # `run`: by its number


def test_the_first_text_counts_or_all(config):
    assert counts(SynsetsScore(SynsetsScoreConfig(**config)), ["a cow", "a dog"]) == [0]
    assert counts(SynsetsScore(SynsetsScoreConfig(**config, which="all")), ["a dog", "a dog"]) == [2]


def test_contents_are_settings_and_places_are_not(config, write_wordnet, tmp_path):
    before = SynsetsScore(SynsetsScoreConfig(**config)).settings()
    moved = {**config, "wordnet": write_wordnet(tmp_path / "moved", LEMMAS, {"noun": {}})}
    assert SynsetsScore(SynsetsScoreConfig(**moved)).settings() == before
    write_wordnet(tmp_path / "moved", LEMMAS, {"noun": {"kine": ["cow"]}})
    assert SynsetsScore(SynsetsScoreConfig(**moved)).settings() != before


@pytest.mark.parametrize(
    ("content", "words"),
    [("dog\n", "holds 'dog'. Wanted a file with one synset per line"), ("\n", "holds no synset"),
     ("n0208407\n", "holds 'n0208407'")],
)  # fmt: skip
def test_a_list_that_is_none_is_refused(config, tmp_path, content, words):
    (tmp_path / "ids.txt").write_text(content)
    with pytest.raises(RecipeError, match=rf"score\.synsets\.synsets is .*{words}"):
        SynsetsScore(SynsetsScoreConfig(**config)).check()
    with pytest.raises(RecipeError, match=r"score\.synsets\.synsets is 'no': no such file"):
        read_synsets("no")


def test_a_folder_without_wordnet_is_refused(config, tmp_path):
    with pytest.raises(RecipeError, match=r"score\.synsets\.wordnet is .*index\.noun.*no such file"):
        SynsetsScore(SynsetsScoreConfig(**{**config, "wordnet": str(tmp_path)})).check()
