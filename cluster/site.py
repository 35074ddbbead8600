"""Sites: where things run. A site is a small TOML file; those that ship are in cluster/sites/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.engine import EngineConfig
from pipeline.recipe import RecipeTable, load


class TrainSite(RecipeTable):
    """The `[train]` table of a site: how training processes are started."""

    launcher: Literal["ray", "torchrun"] = "ray"
    """`ray`: Ray Train. `torchrun`: processes of this machine. Both run the same train_func."""
    workers: int = Field(default=1, ge=1)
    """Training processes, one per GPU, or per CPU share where there is none."""
    cpus_per_worker: float = Field(default=1, gt=0)
    """CPUs that Ray reserves for each; also the threads that each may use."""
    max_failures: int = Field(default=1, ge=0)
    """Times that a failed training is started again from its last checkpoint (Ray Train)."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """GPUs that Ray reserves for each."""


class Site(RecipeTable):
    """Where stages and training run."""

    name: str
    """Name of the site, for messages."""
    engine: EngineConfig = EngineConfig()
    """Where dataset stages run."""
    train: TrainSite = TrainSite()
    """Where training runs."""


def load_site(name: str, overrides: Sequence[str] = ()) -> Site:
    """The site given by name or by path. Raises: RecipeError: unknown or wrong."""
    return load(Site, name, overrides, package="cluster")
