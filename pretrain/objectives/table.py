"""The `[objective]` table of a training recipe: which objectives there are. A new one is entered here."""

from __future__ import annotations

from pydantic import model_validator

from pipeline.recipe import RecipeTable
from pretrain.objectives.infonce import InfoNCE, InfoNCEConfig
from pretrain.objectives.masked_words import MaskedWords, MaskedWordsConfig
from pretrain.objectives.matching import Matching, MatchingConfig
from pretrain.objectives.objective import Objectives
from pretrain.objectives.sigmoid import Sigmoid, SigmoidConfig
from pretrain.tokenize import WordTable

OBJECTIVES = {"infonce": InfoNCE, "sigmoid": Sigmoid, "matching": Matching, "masked_words": MaskedWords}
"""Name of a table under `[objective]` -> what it makes."""
HIDE_WORDS = ("masked_words",)
"""Those that must know how words lie in tokens."""


class ObjectiveConfig(RecipeTable):
    """Objectives by name; those that have a table add up, each times its `weight`."""

    infonce: InfoNCEConfig | None = None
    sigmoid: SigmoidConfig | None = None
    matching: MatchingConfig | None = None
    masked_words: MaskedWordsConfig | None = None

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


def objectives(config: ObjectiveConfig, words: WordTable | None = None) -> Objectives:
    """The objectives of a recipe, added up; `words` is for those that hide some."""
    tables = {name: getattr(config, name) for name in config.chosen()}
    given = {name: (words,) if name in HIDE_WORDS else () for name in tables}
    return Objectives({name: (table.weight, OBJECTIVES[name](table, *given[name])) for name, table in tables.items()})
