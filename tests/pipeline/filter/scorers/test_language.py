"""Language id on captions whose language their file says, and what becomes of texts that have none."""

import csv
import pickle

import pyarrow as pa
import pytest

from pipeline.errors import MissingExtra, RecipeError
from pipeline.filter.scorers.language import LanguageScore, LanguageScoreConfig, _model_path
from pipeline.record import FETCHED


def scored(*texts, **config):
    rows = [[{"text": text, "kind": "caption", "lang": None}] for text in texts]
    scorer = LanguageScore(LanguageScoreConfig(**config))
    scorer.setup()
    return scorer(pa.table({"texts": pa.array(rows, FETCHED.field("texts").type)}))


@pytest.mark.parametrize(
    ("lang", "least"), [("en", 0.97), ("de", 0.97), ("fr", 0.97), ("cs", 0.9), ("zh", 0.75)]
)  # short zh is often taken for ja
def test_real_captions_are_recognised(real_data, lang, least):
    folder = real_data / "image_text/flickr8k"
    if lang == "zh":
        lines = (folder / "captions_zh_machine.txt").read_text("utf-8").splitlines()
        captions = [line.split(" ", 1)[1] for line in lines if " " in line]
    else:
        with (folder / "multi30k_en_de_fr_cs.tsv").open(encoding="utf-8", newline="") as stream:
            captions = [row[lang] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
    captions = captions[:1000]
    found = scored(*captions).column("lang").to_pylist()
    assert len(captions) == 1000
    assert found.count(lang) / len(found) >= least


def test_no_text_has_no_language():
    found = scored("", " \n ", None).to_pylist()
    assert found == [{"lang": None, "prob": None}] * 3
    assert scored().num_rows == 0


def test_line_breaks_are_spaces():
    one, other = scored("Ein Hund läuft\nüber eine Wiese", "Ein Hund läuft über eine Wiese").to_pylist()
    assert one == other
    assert one["lang"] == "de"
    assert 0.9 < one["prob"] <= 1


def test_a_text_without_end_and_one_of_strange_signs_are_answered():
    found = scored("a dog " * 200_000, "a\0dog\r\x1b", "\U0001f415" * 9, "\ufffd").to_pylist()
    assert all(row["lang"] and 0 <= row["prob"] <= 1 for row in found)


def test_the_model_counts_by_its_content(tmp_path):
    default = LanguageScore(LanguageScoreConfig()).settings()
    copy = tmp_path / "copy.ftz"
    copy.write_bytes(_model_path(None).read_bytes())
    assert LanguageScore(LanguageScoreConfig(model=str(copy))).settings() == default
    copy.write_bytes(b"another")
    assert LanguageScore(LanguageScoreConfig(model=str(copy))).settings() != default


@pytest.mark.parametrize(("data", "words"), [(None, "no such file"), (b"not a model", "not a fastText classifier")])
def test_a_model_that_is_none_stops_a_recipe(tmp_path, data, words):
    path = tmp_path / "model.bin"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RecipeError, match=rf"score\.language\.model is .*{words}"):
        LanguageScore(LanguageScoreConfig(model=str(path))).check()


def test_a_scorer_that_was_set_up_may_travel():
    scorer = LanguageScore(LanguageScoreConfig())
    scorer.check()
    assert pickle.loads(pickle.dumps(scorer)).settings() == scorer.settings()


def test_without_its_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'pairmill\[text\]'"):
        LanguageScore(LanguageScoreConfig()).check()
