"""The training recipe: everything that decides what a run learns, in one frozen table.

A recipe is one TOML file in `pretrain/recipes/` or of the user's own. Its tables stand beside the classes that use
them; this file only puts them together and checks what no table can check alone.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.errors import RecipeError
from pipeline.recipe import RecipeTable
from pretrain.checkpoint import CheckpointConfig
from pretrain.evals.retrieval import EvalConfig
from pretrain.loader import DataConfig, LoaderConfig
from pretrain.models.table import AnyModelConfig
from pretrain.momentum import MomentumConfig
from pretrain.objectives.table import ObjectiveConfig
from pretrain.schedule import ScheduleConfig
from pretrain.tokenize import TokenizerConfig
from pretrain.transform import AugmentConfig
from pretrain.zero import EngineSettings, OptimizerConfig, ZeroConfig


class TrainingRecipe(RecipeTable):
    """What a training run is."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the exported model."""
    seed: int = Field(ge=0)
    """Decides the first weights, the order of samples, the choice of texts and the crops."""
    batch_size: int = Field(ge=2)
    """Samples of all ranks in one step; the world size divides it."""
    steps: int = Field(ge=1)
    """Optimizer steps of the whole run."""
    precision: Literal["fp32", "bf16"]
    """Type that towers compute in. Masters, features and loss are float32 in both."""
    data: DataConfig
    tokenizer: TokenizerConfig
    augment: AugmentConfig
    model: AnyModelConfig
    objective: ObjectiveConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    zero: ZeroConfig
    loader: LoaderConfig = LoaderConfig()
    momentum: MomentumConfig | None = None
    checkpoint: CheckpointConfig
    eval: EvalConfig

    @model_validator(mode="after")
    def _fits(self) -> TrainingRecipe:
        if self.schedule.warmup_steps >= self.steps:
            raise ValueError(
                f"schedule.warmup_steps {self.schedule.warmup_steps} leaves nothing of steps {self.steps}; lower it"
            )
        self._check_momentum()
        for need, objective in self.objective.needs().items():
            if need not in self.model.offers:
                raise ValueError(
                    f"objective.{objective} needs {need!r}, and a model of the family {self.model.family!r} gives "
                    f"{', '.join(sorted(self.model.offers))} alone; take another family, or another objective"
                )
        return self

    def _check_momentum(self) -> None:
        needed = self.objective.momentum_contrast is not None
        if needed != (self.momentum is not None):
            tables = ("objective.momentum_contrast", "momentum")
            has, lacks = tables if needed else tables[::-1]
            raise ValueError(f"there is a table [{has}] and none [{lacks}]; they go together")
        if needed and self.zero.stage == 3:
            raise ValueError(
                "zero.stage 3 with [momentum]: a teacher follows whole parameters, and stage 3 keeps none; "
                "set zero.stage to 0, 1 or 2"
            )

    def engine_settings(self) -> EngineSettings:
        """What the engine takes of this recipe."""
        return EngineSettings(
            zero=self.zero, optimizer=self.optimizer, precision=self.precision, batch_size=self.batch_size
        )

    def batch_of_rank(self, world: int) -> int:
        """Samples of one rank in one step. Raises: RecipeError: the world size does not divide the batch."""
        if self.batch_size % world:
            raise RecipeError(
                f"recipe {self.name}: batch_size {self.batch_size} does not divide over {world} workers; "
                f"set it to {max(self.batch_size // world, 1) * world}, or change the number of workers."
            )
        return self.batch_size // world

    def identity(self) -> dict[str, Any]:
        """The settings that make two runs the same run; what may change at a resume is left out."""
        settings = self.model_dump(mode="json")
        for table in ("loader", "checkpoint", "eval"):
            settings.pop(table)
        for place in (settings["data"], *settings["data"]["mixture"]):
            place.pop("url")  # a dataset may move; its manifest tells whether it is the same
        for name in ("broken", "max_broken", "slow_s"):
            settings["data"].pop(name)  # what a damaged shard does may be decided when it is met
        settings["augment"].pop("decoder")  # lineage.json says which one it came to
        return settings


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """`a.b: old -> new` for every setting that differs."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key), new.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key}: {left!r} -> {right!r}")
    return found
