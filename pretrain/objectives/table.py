"""The `[objective]` table of a training recipe: which objectives there are. A new one is entered here."""

from __future__ import annotations

from pydantic import model_validator

from pipeline.recipe import RecipeTable
from pretrain.objectives.infonce import InfoNCE, InfoNCEConfig
from pretrain.objectives.objective import Objectives

OBJECTIVES = {"infonce": InfoNCE}
"""Name of a table under `[objective]` -> what it makes."""


class ObjectiveConfig(RecipeTable):
    """Objectives by name; those that have a table add up, each times its `weight`."""

    infonce: InfoNCEConfig | None = None

    @model_validator(mode="after")
    def _has_one(self) -> ObjectiveConfig:
        if not self.chosen():
            raise ValueError(f"no objective is named; wanted at least one of {', '.join(OBJECTIVES)}")
        return self

    def chosen(self) -> list[str]:
        """Names of the objectives that have a table."""
        return [name for name in OBJECTIVES if getattr(self, name) is not None]


def objectives(config: ObjectiveConfig) -> Objectives:
    """The objectives of a recipe, added up."""
    tables = {name: getattr(config, name) for name in config.chosen()}
    return Objectives({name: (table.weight, OBJECTIVES[name](table)) for name, table in tables.items()})
