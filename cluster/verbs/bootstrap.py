"""bootstrap: the loop of a data filtering network, from a clean seed to a model trained on what it let through."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from cluster.bootstrap.recipe import BootstrapRecipe, load_bootstrap
from cluster.bootstrap.run import bootstrap as run_bootstrap
from cluster.bootstrap.run import check_bootstrap
from cluster.site import Site, load_site
from cluster.verbs.train import training_plan


def bootstrap(options: argparse.Namespace) -> dict[str, Any] | None:
    """Run the loop; run again, it does only what is missing or changed."""
    recipe, site = load_bootstrap(options.recipe, options.set), load_site(options.on)
    if options.dry_run:
        check_bootstrap(recipe, site)
        sys.stdout.write(json.dumps(_plan(recipe, site), indent=1) + "\n")
        return None
    made = run_bootstrap(recipe, site, _say)
    _say(f"wrote {recipe.folder}\nnext: pairmill report {recipe.pool.dataset}")
    _say(f"      pairmill show {recipe.pool.dataset} --dropped dfn")
    return {
        "seed": {"dataset": recipe.seed.dataset, **made.seed.to_dict()},
        "network": asdict(made.network),
        "pool": {"dataset": recipe.pool.dataset, **made.pool.to_dict()},
        "train": None if made.train is None else asdict(made.train),
    }


def _plan(recipe: BootstrapRecipe, site: Site) -> dict[str, Any]:
    """What each link would be. The folder of a run ends in a hash that depends on the data it will learn from."""
    datasets = {"seed": recipe.seed, "pool": recipe.judged_pool(f"{recipe.folder}/runs/network-HASH")}
    links: dict[str, Any] = {
        name: {"recipe": made.model_dump(mode="json"), "writes_to": made.dataset} for name, made in datasets.items()
    }
    for name, training in recipe.trainings().items():
        links[name] = training_plan(training, site, f"{recipe.folder}/runs/{name}-HASH")
    order = [name for name in ("seed", "network", "pool", "train") if name in links]
    return {"name": recipe.name, "site": site.model_dump(mode="json"), **{name: links[name] for name in order}}


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
