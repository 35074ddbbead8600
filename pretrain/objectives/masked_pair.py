"""Masked pairs: words and patches that are hidden at once, by the fused rest of both (FLAVA, arXiv:2112.04482).

Only true pairs are asked for: what a wrong image hides says nothing of a text. Patches are regressed as in
`masked_patches`.
"""

from __future__ import annotations

from pydantic import Field

from pipeline.recipe import RecipeTable
from pretrain.batch import Features, Inputs
from pretrain.objectives.masked_patches import patch_loss, with_hidden_patches
from pretrain.objectives.masked_words import with_hidden_words, word_loss
from pretrain.objectives.objective import Loss
from pretrain.tokenize import WordTable


class MaskedPairConfig(RecipeTable):
    """The `[objective.masked_pair]` table of a training recipe."""

    weight: float = Field(default=1.0, gt=0)
    """Factor in the sum of objectives."""
    word_prob: float = Field(default=0.15, gt=0, lt=1)
    """Probability of a word to be hidden; of another objective that hides words, where it stands first."""
    hidden_ratio: float = Field(default=0.4, gt=0, lt=1)
    """Part of the patches that is hidden; likewise."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model must give."""
        return ("masked_pair",)


class MaskedPair:
    """Cross entropy of hidden words plus squared error of hidden patches, as an objective."""

    def __init__(self, config: MaskedPairConfig, words: WordTable, patch_px: int) -> None:
        self.config, self.words, self.patch_px = config, words, patch_px
        self.ranges: dict[str, tuple[float, float]] = {}

    def ask(self, inputs: Inputs) -> Inputs:
        """What to hide on both sides."""
        inputs = with_hidden_words(inputs, self.words, self.config.word_prob)
        return with_hidden_patches(inputs, self.config.hidden_ratio, self.patch_px)

    def __call__(self, features: Features, inputs: Inputs) -> Loss:
        """The sum of both; `words` in nats."""
        words = word_loss(features.pair_words_MV, inputs._replace(teaching=None))
        patches = patch_loss(features.pair_patches_MX, inputs, self.patch_px)
        parts = {"words": words.total.detach(), "patches": patches.total.detach(), "accuracy": words.parts["accuracy"]}
        return Loss(words.total + patches.total, parts)
