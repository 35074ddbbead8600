import pytest

from pipeline.errors import RecipeError
from pipeline.filter.text.word_list import WordList


def listed(tmp_path, data):
    path = tmp_path / "words.txt"
    path.write_bytes(data)
    return WordList(str(path), "score.text.profanity")


def test_words_and_phrases_are_counted_whole(tmp_path):
    words = listed(tmp_path, "# neutral words\nturnip\nPurple  Hat\n\nête\n".encode())
    found = words.count(["A TURNIP, a turnip!", "turnips", "my (purple hat)", "purple; hat", "l'été ÊTE", ""])
    assert found.tolist() == [2, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("data", "words"), [(b"\xff\xfe\xfa", "not UTF-8"), (b"# nothing\n\n", "holds no word"), (b"--\n", "holds no word")]
)
def test_a_list_that_is_none_is_refused(tmp_path, data, words):
    with pytest.raises(RecipeError, match=rf"score\.text\.profanity is .*{words}"):
        listed(tmp_path, data)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"score\.text\.profanity is .*no such file"):
        WordList(str(tmp_path / "no.txt"), "score.text.profanity")
