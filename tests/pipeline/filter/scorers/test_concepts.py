import pickle

import pyarrow as pa
import pytest

from pipeline.errors import RecipeError
from pipeline.filter.scorers.concepts import ConceptsScore, ConceptsScoreConfig
from pipeline.record import FETCHED


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "entries.txt"
    path.write_text("dog\nred dog\ncat\n")
    return str(path)


def table(*rows):
    texts = [row and [{"text": text, "kind": "caption", "lang": None} for text in row] for row in rows]
    return pa.table({"texts": pa.array(texts, FETCHED.field("texts").type)})


def test_ids_are_places_in_the_list_and_all_texts_count(listed):
    scorer = ConceptsScore(ConceptsScoreConfig(entries=listed))
    scorer.setup()
    found = scorer(table(["a red dog.", "no cat"], ["horse"], [None], None)).to_pylist()
    assert found == [{"matches": [0, 1, 2], "num_matches": 3}] + [{"matches": [], "num_matches": 0}] * 3
    first = ConceptsScore(ConceptsScoreConfig(entries=listed, which="first"))
    assert first(table(["a red dog.", "no cat"])).to_pylist()[0]["matches"] == [0, 1]


def test_a_match_never_crosses_two_texts(listed):
    assert ConceptsScore(ConceptsScoreConfig(entries=listed))(table(["red", "dog"])).to_pylist()[0]["matches"] == [0]


def test_another_list_is_another_setting(listed, tmp_path):
    scorer = ConceptsScore(ConceptsScoreConfig(entries=listed))
    before = scorer.settings()
    scorer.setup()
    assert pickle.loads(pickle.dumps(scorer)).settings() == before
    (tmp_path / "entries.txt").write_text("dog\n")
    assert scorer.settings() != before


def test_a_missing_list_stops_a_recipe():
    with pytest.raises(RecipeError, match=r"score\.concepts\.entries is 'no'.*no such file"):
        ConceptsScore(ConceptsScoreConfig(entries="no")).check()
