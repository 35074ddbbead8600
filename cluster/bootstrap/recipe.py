"""The recipe of a filter that trains itself: one TOML file for the loop of a data filtering network.

    name = "first"
    folder = "runs/first"                      # everything lands here: seed/  pool/  runs/

    [seed]                                     # a dataset recipe: pairs that are known to be good
    recipe = "cc3m"                            # the recipe to begin from; what follows is laid over it
    source.path = "lists/trusted.tsv"

    [network]                                  # a training recipe; it learns from the seed
    recipe = "tiny-clip"

    [pool]                                     # a dataset recipe: the pairs that the network judges
    recipe = "cc3m"
    source.path = "lists/pool.tsv"

    [filter]
    share = 0.15

    [train]                                    # a training recipe; it learns from what is kept of the pool
    recipe = "clip-vit-b32"

Source: Fang et al. 2023, arXiv:2309.17425: a small network that is good at telling clean pairs makes a better filter
than a large one that is good at all else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from pipeline.curate import DatasetRecipe
from pipeline.errors import RecipeError
from pipeline.filter.verdicts.expression.parse import ExpressionError, parse
from pipeline.recipe import RecipeTable, check, find, laid_over, read
from pretrain.recipe import TrainingRecipe

PACKAGE = "cluster.bootstrap"
NETWORK = "dfn"
"""The network's table under `[score.models]`, and so the first word of its columns; also the name of its rule."""
_BASES = {"seed": "pipeline", "network": "pretrain", "pool": "pipeline", "train": "pretrain"}
_LEARNS_FROM = {"network": "seed", "train": "pool"}


class FilterConfig(RecipeTable):
    """The `[filter]` table: which of the pool's pairs stay."""

    share: float = Field(gt=0, le=1)
    """The share of the judged pairs that stays: those which the network finds most similar. The paper's is 0.15."""
    trusted: str | None = None
    """An expression such as `list.origin == "seed"`, of pairs that stay unjudged and do not count into the share; none
    trusts nobody. Pairs to evaluate on are best among them, or the network has chosen the exam."""

    scoring: dict[str, Any] = Field(default={})
    """How the network runs: settings of `[score.clip]` other than its checkpoint, such as `batch_rows` or `gpus`."""

    @model_validator(mode="after")
    def _parses(self) -> FilterConfig:
        if self.trusted is not None:
            try:
                parse(self.trusted)
            except ExpressionError as error:
                raise ValueError(f"trusted {error.within(self.trusted)}") from None
        return self

    def rule(self) -> str:
        """The condition of what is kept, in the language of verdicts."""
        judged = f"{NETWORK}.similarity"
        if self.trusted is None:
            return f"{judged} >= top({judged}, {self.share!r})"
        counted = f"if_else(coalesce({self.trusted}, false), null, {judged})"
        return f"({self.trusted}) or {judged} >= top({counted}, {self.share!r})"


class BootstrapRecipe(RecipeTable):
    """Seed, network, pool, filter, training: what each of them is, and in which folder all of it lands."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the loop."""
    folder: str
    """Folder of the runs, and of seed and pool where they name none of their own (`seed.dataset`). It is one of this
    machine or of a file system that all machines share, since a run is followed by its files."""
    seed: DatasetRecipe
    """The clean pairs that the network learns from."""
    network: TrainingRecipe
    """The filtering network."""
    pool: DatasetRecipe
    """The pairs that the network judges; its own rules apply beside."""
    filter: FilterConfig
    """Which of them stay."""
    train: TrainingRecipe | None = None
    """What learns from the pairs that stay; none ends with the filtered pool."""

    @model_validator(mode="after")
    def _fits(self) -> BootstrapRecipe:
        if "://" in self.folder:
            raise ValueError(
                f"folder is {self.folder!r}; wanted a folder of a file system, since a run is followed by its files. "
                "Datasets may lie in a bucket: set seed.dataset and pool.dataset"
            )
        if _place(self.seed.dataset) == _place(self.pool.dataset):
            raise ValueError(
                f"seed and pool are one folder, {self.seed.dataset}; the pool is cut anew by what was learned from the "
                "seed, so give each its own (seed.dataset, pool.dataset)"
            )
        if NETWORK in self.pool.score.models:
            raise ValueError(
                f"pool.score.models.{NETWORK} is where the loop puts its own network; give that model another name"
            )
        if self.network.model.family != "parallel":
            raise ValueError(
                f"network.model.family is {self.network.model.family!r}; pairs are judged by two towers apart, so "
                "wanted 'parallel'. [train] may be of any family"
            )
        for name, training in self.trainings().items():
            dataset = getattr(self, _LEARNS_FROM[name]).dataset
            if _place(training.data.url) != _place(dataset):
                raise ValueError(
                    f"{name}.data.url is {training.data.url!r}, and {name} learns from the {_LEARNS_FROM[name]}, "
                    f"{dataset!r}; leave it out"
                )
        return self

    def trainings(self) -> dict[str, TrainingRecipe]:
        """The training recipes by the name of their table, in order."""
        return {"network": self.network} | ({} if self.train is None else {"train": self.train})

    def judged_pool(self, run: str) -> DatasetRecipe:
        """The pool's recipe with the network of `run` among its scorers and the filter last among its rules.

        Raises: RecipeError: the pool has a rule of that name, or `filter.scoring` a setting that there is not.
        """
        settings = self.pool.model_dump(mode="json")
        settings["score"]["models"][NETWORK] = {**self.filter.scoring, "checkpoint": run}
        settings["verdict"]["rules"].append({"name": NETWORK, "keep": self.filter.rule()})
        return check(DatasetRecipe, settings, where=f"{self.name}: pool with its filter")


def load_bootstrap(recipe: str, overrides: Sequence[str] = ()) -> BootstrapRecipe:
    """Read the recipe at a path, or the one of that name that ships.

    Raises: RecipeError: it, or a recipe that it begins from, is missing or wrong.
    """
    where, data = str(find(recipe, PACKAGE)), read(recipe, overrides, package=PACKAGE)
    folder = data.get("folder")
    for name, package in _BASES.items():
        if isinstance(data.get(name), dict) and isinstance(folder, str):
            table = laid_over(_placed(name, folder, data), data[name])
            base = table.pop("recipe", None)
            if not isinstance(base, str | None):
                raise RecipeError(f"{where}: {name}.recipe is {base!r}; wanted the name or the path of a recipe.")
            data[name] = table if base is None else laid_over(read(base, package=package), table)
    return check(BootstrapRecipe, data, where=where)


def _placed(name: str, folder: str, data: dict[str, Any]) -> dict[str, Any]:
    """Where a link of the loop stands, unless its own table says it."""
    if name not in _LEARNS_FROM:
        return {"dataset": os.path.join(folder, name)}
    source = data.get(_LEARNS_FROM[name])
    return {"data": {"url": source["dataset"]}} if isinstance(source, dict) and "dataset" in source else {}


def _place(url: str) -> str:
    return url.rstrip("/") if "://" in url else os.path.abspath(url)
