"""Masked words: what was the word, by the rest of the text and by its image? (BERT, arXiv:1810.04805, section 3.1.)

Whole words are chosen. Of their tokens 80 % become the mask token, 10 % any other token, 10 % stay. Start, end and
padding are never chosen. A batch in which no word was chosen costs nothing, rather than 0 / 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from pipeline.recipe import RecipeTable
from pretrain.batch import IGNORED, Features, Inputs
from pretrain.objectives.mean import global_mean
from pretrain.objectives.objective import Loss
from pretrain.tokenize import WordTable

_MASKED, _REPLACED = 0.8, 0.1


class MaskedWordsConfig(RecipeTable):
    """The `[objective.masked_words]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    word_prob: float = Field(default=0.15, gt=0, lt=1)
    """Probability of a word to be chosen; BERT: 0.15."""
    sees: Literal["image", "text"] = "image"
    """What a hidden word is found by: the rest of its text and the `image` (ALBEF, ViLT), or the `text` alone (BERT;
    the masked language modelling of FLAVA)."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model must give."""
        return ("words_of_pair",) if self.sees == "image" else ("words_of_text",)


class MaskedWords:
    """Cross entropy of hidden words as an objective."""

    def __init__(self, config: MaskedWordsConfig, words: WordTable) -> None:
        self.config, self.words = config, words
        self.ranges: dict[str, tuple[float, float]] = {}

    def ask(self, inputs: Inputs) -> Inputs:
        """The tokens with words hidden."""
        return with_hidden_words(inputs, self.words, self.config.word_prob)

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """Mean over the hidden tokens of all ranks, in nats; ln V for a model that knows nothing."""
        alone = self.config.sees == "text"
        return word_loss(features.text_words_MV if alone else features.words_MV, inputs)


def with_hidden_words(inputs: Inputs, words: WordTable, word_prob: float) -> Inputs:
    """The inputs with some words hidden, unless another objective hid some already."""
    if inputs.word_targets_BL is not None:
        return inputs
    assert inputs.tokens_BL is not None
    chosen_BL = chosen_words(inputs.tokens_BL, words, word_prob)
    return inputs._replace(
        hidden_tokens_BL=hidden(inputs.tokens_BL, chosen_BL, words),
        word_targets_BL=inputs.tokens_BL.masked_fill(~chosen_BL, IGNORED),
    )


def word_loss(words_MV: Tensor | None, inputs: Inputs) -> Loss:
    """Cross entropy and accuracy of logits that stand in the order of the targets of `inputs`.

    Where a teacher read the same text, what it says is a part of the target (ALBEF, arXiv:2107.07651, equation 7).
    """
    assert words_MV is not None
    assert inputs.word_targets_BL is not None
    targets_M = inputs.word_targets_BL[inputs.word_targets_BL != IGNORED]
    losses_M = functional.cross_entropy(words_MV.float(), targets_M, reduction="none")
    if inputs.teaching is not None and inputs.teaching.words_MV is not None:
        taught_MV, alpha = inputs.teaching.words_MV.float().softmax(dim=1), inputs.teaching.alpha
        soft_M = functional.cross_entropy(words_MV.float(), taught_MV, reduction="none")
        losses_M = (1 - alpha) * losses_M + alpha * soft_M
    all_M = torch.ones_like(targets_M, dtype=torch.bool)
    right_M = (words_MV.argmax(dim=1) == targets_M).float()
    return Loss(global_mean(losses_M, all_M), {"accuracy": global_mean(right_M, all_M).detach()})


def chosen_words(tokens_BL: Tensor, words: WordTable, word_prob: float) -> Tensor:
    """Tokens of the words that are chosen, each word with `word_prob`, as bool."""
    device = tokens_BL.device
    special_BL = torch.isin(tokens_BL, torch.tensor(words.special, device=device))
    begins_BL = ~special_BL & ~torch.isin(tokens_BL, torch.tensor(words.goes_on, device=device, dtype=torch.int64))
    # A token that goes on a word where none began belongs to word 0, which is as good a word as any.
    draws_BL = torch.rand(tokens_BL.shape[0], tokens_BL.shape[1] + 1, device=device)
    return (draws_BL.gather(1, begins_BL.long().cumsum(dim=1)) < word_prob) & ~special_BL


def hidden(tokens_BL: Tensor, chosen_BL: Tensor, words: WordTable) -> Tensor:
    """The tokens, of which the chosen ones are masked, replaced, or left as they are."""
    draws_BL = torch.rand(tokens_BL.shape, device=tokens_BL.device)
    ordinary = torch.tensor(words.ordinary, device=tokens_BL.device)
    other_BL = ordinary[torch.randint(len(ordinary), tokens_BL.shape, device=tokens_BL.device)]
    changed_BL = torch.where(draws_BL < _MASKED + _REPLACED, other_BL, tokens_BL)
    changed_BL = torch.where(draws_BL < _MASKED, words.mask, changed_BL)
    return torch.where(chosen_BL, changed_BL, tokens_BL)
