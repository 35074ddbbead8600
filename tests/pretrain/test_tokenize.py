import pytest

from pipeline.errors import RecipeError
from pretrain.tokenize import END, START, Tokenizer, TokenizerConfig, text_id, train_tokenizer

TEXTS = [("a red square on black", "red square, black ground"), ("a BLUE  disc",), ("naïve œuvre 漢字 🙂",)] * 20
CONFIG = TokenizerConfig(vocabulary=320, max_texts=1000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, CONFIG, 12, made)
    return made


def test_the_same_texts_give_the_same_files(folder, tmp_path):
    train_tokenizer(iter(TEXTS), CONFIG, 12, tmp_path)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "tokenizer.json" in files


def test_every_row_has_a_start_and_an_end(folder):
    tokenizer = Tokenizer(folder, 12)
    vocabulary = tokenizer.vocabulary
    rows = tokenizer(["a red square", "", "red " * 50])
    assert rows.shape == (3, 12)
    assert (rows[:, 0] == vocabulary.start).all()
    assert ((rows == vocabulary.end).sum(dim=1) == 1).all()
    assert rows[2, -1] == vocabulary.end
    assert (rows[1, 2:] == vocabulary.padding).all()
    assert vocabulary.size <= 320
    assert vocabulary.end != 2


def test_any_text_can_be_read_back(folder):
    tokenizer = Tokenizer(folder, 64)
    row = tokenizer(["Naïve ŒUVRE\n漢字 🙂"])[0]
    assert tokenizer.fast.decode(row, skip_special_tokens=True).strip() == "naïve œuvre 漢字 🙂"


def test_a_text_cannot_forge_an_end(folder):
    """The text tower pools at the first end token, so one inside a caption would hide the rest of it."""
    row = Tokenizer(folder, 64)([f"a {END} red {START} disc"])[0].tolist()
    assert row.count(1) == 1
    assert row.count(0) == 1
    assert row.index(1) > 6


def test_only_so_many_texts_are_read(tmp_path):
    def texts():
        yield ("one two", "three four")
        yield ("five",)
        raise AssertionError("read on")

    train_tokenizer(texts(), TokenizerConfig(vocabulary=300, max_texts=2), 8, tmp_path)


def test_equal_words_have_equal_ids():
    assert text_id(" A  red\nsquare") == text_id("a red square ")
    assert text_id("a red square") != text_id("a red squares")
    assert 0 <= text_id("\ud800 lone surrogate") < 2**63


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    from tokenizers import Tokenizer as Raw
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=Raw(BPE()), bos_token="<s>").save_pretrained(str(tmp_path))
    with pytest.raises(RecipeError, match="no eos_token_id, pad_token_id"):
        Tokenizer(tmp_path, 8)
