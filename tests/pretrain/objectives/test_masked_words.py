import math

import pytest
import torch

from pipeline.errors import RecipeError
from pipeline.recipe import check
from pretrain.batch import IGNORED, Features, Inputs
from pretrain.objectives.masked_words import MaskedWords, MaskedWordsConfig, chosen_words, hidden
from pretrain.tokenize import Tokenizer, TokenizerConfig, WordTable, train_tokenizer

START, END, PADDING, MASK, SIZE = 0, 1, 2, 3, 60
WORDS = WordTable(MASK, (START, END, PADDING, MASK), tuple(range(40, SIZE)), tuple(range(4, SIZE)))


def tokens_of(rows, length=30, seed=0):
    """Texts of random length; a third of the tokens go on a word."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, SIZE, (rows, length), generator=generator)
    tokens[:, 0] = START
    ends = torch.randint(1, length, (rows, 1), generator=generator)
    places = torch.arange(length)
    tokens = torch.where(places == ends, END, tokens)
    return torch.where(places > ends, PADDING, tokens)


def words_of(row):
    """Lists of places of each word of a row, by hand."""
    found = []
    for place, token in enumerate(row.tolist()):
        if token < 4:
            continue
        if token in WORDS.goes_on and found:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def test_whole_words_are_chosen_with_the_probability_and_nothing_else_is():
    torch.manual_seed(0)
    tokens = tokens_of(2000)
    chosen = chosen_words(tokens, WORDS, 0.15)
    assert not chosen[tokens < 4].any()
    number, total = 0, 0
    for row, picked in zip(tokens, chosen.tolist(), strict=True):
        for places in words_of(row):
            states = {picked[place] for place in places}
            assert len(states) == 1, "a word is chosen as a whole"
            number, total = number + states.pop(), total + 1
    assert number / total == pytest.approx(0.15, abs=3 * math.sqrt(0.15 * 0.85 / total))


def test_of_the_chosen_80_are_masked_10_replaced_10_kept():
    torch.manual_seed(0)
    tokens = tokens_of(3000)
    chosen = chosen_words(tokens, WORDS, 0.5)
    changed = hidden(tokens, chosen, WORDS)
    assert (changed[~chosen] == tokens[~chosen]).all()
    before, after = tokens[chosen], changed[chosen]
    number = len(before)
    ordinary = len(WORDS.ordinary)
    wanted = {
        "masked": ((after == MASK).sum() / number, 0.8),
        "replaced": (((after != MASK) & (after != before)).sum() / number, 0.1 * (1 - 1 / ordinary)),
        "kept": ((after == before).sum() / number, 0.1 + 0.1 / ordinary),
    }
    for name, (found, share) in wanted.items():
        assert float(found) == pytest.approx(share, abs=3 * math.sqrt(share * (1 - share) / number)), name
    assert set(after.tolist()) <= {MASK, *WORDS.ordinary}


def test_the_loss_is_that_of_the_hidden_words_alone():
    objective = MaskedWords(check(MaskedWordsConfig, {"word_prob": 0.4}, where="test"), WORDS)
    torch.manual_seed(0)
    tokens = tokens_of(5)
    inputs = objective.ask(Inputs(None, tokens))
    asked = inputs.word_targets_BL != IGNORED
    assert (inputs.word_targets_BL[asked] == tokens[asked]).all()
    assert asked.any()
    logits = torch.randn(int(asked.sum()), SIZE)
    loss = objective(Features(None, None, None, words_MV=logits), inputs)
    by_hand = [-float(row.log_softmax(0)[token]) for row, token in zip(logits, tokens[asked], strict=True)]
    assert loss.total.item() == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)


def test_texts_without_words_give_no_nan():
    objective = MaskedWords(check(MaskedWordsConfig, {}, where="test"), WORDS)
    inputs = objective.ask(Inputs(None, torch.tensor([[START, END, PADDING]] * 3)))
    assert (inputs.word_targets_BL == IGNORED).all()
    logits = torch.zeros(0, SIZE, requires_grad=True)
    loss = objective(Features(None, None, None, words_MV=logits), inputs)
    loss.total.backward()
    assert loss.total.item() == loss.parts["accuracy"].item() == 0.0


def test_words_of_a_trained_tokenizer(tmp_path):
    texts = [["a large red circle, left of a small blue square: it's one"]] * 5
    train_tokenizer(texts, TokenizerConfig(vocabulary=300, max_texts=10), 40, tmp_path / "masks", masks=True)
    tokenizer = Tokenizer(tmp_path / "masks", 40)
    words = tokenizer.words()
    ids = tokenizer(["a large red circle, it's blue"])[0].tolist()
    spelt = ["", *(tokenizer.fast.decode([id]) for id in ids[1:-1]), ""]
    grouped = []
    for id, part in zip(ids, spelt, strict=True):
        if id in words.goes_on:
            grouped[-1] += part
        elif id not in words.special:
            grouped.append(part)
    assert [word.strip() for word in grouped] == ["a", "large", "red", "circle", ",", "it", "'s", "blue"]
    assert set(words.special) | set(words.ordinary) == set(range(len(tokenizer.fast)))
    assert tokenizer.fast.mask_token_id == words.mask == 3


def test_a_tokenizer_without_a_mask_is_refused(tmp_path):
    train_tokenizer([["a b"]], TokenizerConfig(vocabulary=300, max_texts=10), 40, tmp_path / "plain")
    with pytest.raises(RecipeError, match="has no mask token"):
        Tokenizer(tmp_path / "plain", 40).words()
