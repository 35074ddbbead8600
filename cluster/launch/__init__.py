"""Start the same train_func under Ray Train or under torchrun, and follow it by its metrics file."""

from __future__ import annotations

import importlib
from typing import Any

from cluster.site import TrainSite

_LAUNCHERS = {"ray": "cluster.launch.ray_train:launch", "torchrun": "cluster.launch.torchrun:launch"}


def launch(config: dict[str, Any], site: TrainSite, address: str | None) -> None:
    """Run `pretrain.train.train_func(config)` on every worker of the site, and wait for the end.

    Raises: TrainingError: a worker failed; its last words are in the message.
    """
    module, function = _LAUNCHERS[site.launcher].split(":")
    getattr(importlib.import_module(module), function)(config, site, address)
