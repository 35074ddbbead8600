"""The `[objective]` table of a training recipe: which objectives there are. A new one is entered here."""

from __future__ import annotations

from pydantic import model_validator

from pipeline.recipe import RecipeTable
from pretrain.objectives.captioning import Captioning, CaptioningConfig
from pretrain.objectives.infonce import InfoNCE, InfoNCEConfig
from pretrain.objectives.masked_pair import MaskedPair, MaskedPairConfig
from pretrain.objectives.masked_patches import MaskedPatches, MaskedPatchesConfig
from pretrain.objectives.masked_words import MaskedWords, MaskedWordsConfig
from pretrain.objectives.matching import Matching, MatchingConfig
from pretrain.objectives.momentum_contrast import MomentumContrast, MomentumContrastConfig
from pretrain.objectives.objective import Objectives
from pretrain.objectives.sigmoid import Sigmoid, SigmoidConfig
from pretrain.objectives.word_patch import WordPatch, WordPatchConfig
from pretrain.tokenize import WordTable

OBJECTIVES = {
    "infonce": InfoNCE,
    "sigmoid": Sigmoid,
    "momentum_contrast": MomentumContrast,
    "matching": Matching,
    "word_patch": WordPatch,
    "masked_words": MaskedWords,
    "masked_patches": MaskedPatches,
    "masked_pair": MaskedPair,
    "captioning": Captioning,
}
"""Name of a table under `[objective]` -> what it makes."""
HIDE_WORDS = ("masked_words", "masked_pair")
"""Those that must know how words lie in tokens."""
HIDE_PATCHES = ("masked_patches", "masked_pair")
"""Those that must know the side of a patch."""


class ObjectiveConfig(RecipeTable):
    """Objectives by name; those that have a table add up, each times its `weight`."""

    infonce: InfoNCEConfig | None = None
    sigmoid: SigmoidConfig | None = None
    matching: MatchingConfig | None = None
    masked_words: MaskedWordsConfig | None = None
    masked_patches: MaskedPatchesConfig | None = None
    masked_pair: MaskedPairConfig | None = None
    word_patch: WordPatchConfig | None = None
    captioning: CaptioningConfig | None = None
    momentum_contrast: MomentumContrastConfig | None = None

    @model_validator(mode="after")
    def _has_one(self) -> ObjectiveConfig:
        if not self.chosen():
            raise ValueError(f"no objective is named; wanted at least one of {', '.join(OBJECTIVES)}")
        return self

    def chosen(self) -> list[str]:
        """Names of the objectives that have a table."""
        return [name for name in OBJECTIVES if getattr(self, name) is not None]

    def needs(self) -> dict[str, str]:
        """What a model must give -> the objective that needs it; one that says nothing needs the shared space."""
        needs: dict[str, str] = {}
        for name in self.chosen():
            for need in getattr(getattr(self, name), "needs", ("contrast",)):
                needs.setdefault(need, name)
        return needs

    def hides_words(self) -> bool:
        """Whether the tokenizer must have a mask token."""
        return any(name in HIDE_WORDS for name in self.chosen())


def objectives(config: ObjectiveConfig, words: WordTable | None = None, patch_px: int | None = None) -> Objectives:
    """The objectives of a recipe, added up; `words` and `patch_px` are for those that hide some."""
    terms = {}
    for name in config.chosen():
        table = getattr(config, name)
        given = [words] * (name in HIDE_WORDS) + [patch_px] * (name in HIDE_PATCHES)
        terms[name] = table.weight, OBJECTIVES[name](table, *given)
    return Objectives(terms)
