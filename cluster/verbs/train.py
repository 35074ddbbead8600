"""pretrain, eval, export: from shards to a checkpoint, to its figures, to a transformers folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from cluster.launch import launch
from cluster.launch.follow import following
from cluster.progress import StageProgress
from cluster.site import Site, load_site
from pipeline.errors import AskedWrongly
from pipeline.recipe import load
from pretrain.recipe import TrainingRecipe


def pretrain(options: argparse.Namespace) -> dict[str, Any] | None:
    """Run a training recipe on a site; a run folder with a checkpoint of the same recipe is gone on with."""
    recipe = load(TrainingRecipe, options.recipe, options.set, package="pretrain")
    site = load_site(options.on)
    if options.dry_run:
        sys.stdout.write(json.dumps(training_plan(recipe, site), indent=1) + "\n")
        return None
    return run_training(recipe, site)


def training_plan(recipe: TrainingRecipe, site: Site) -> dict[str, Any]:
    """What a run would be: the resolved recipe, the site, and the DeepSpeed settings made from them."""
    from pretrain.zero import deepspeed_config

    return {
        "recipe": recipe.model_dump(mode="json"),
        "site": site.model_dump(mode="json"),
        "deepspeed": deepspeed_config(recipe, site.train.workers),
        "writes_to": recipe.run,
    }


def run_training(recipe: TrainingRecipe, site: Site) -> dict[str, Any]:
    """Launch, follow, and say where things are."""
    if recipe.batch_size % site.train.workers:
        raise AskedWrongly(
            f"batch_size is {recipe.batch_size} and site {site.name!r} has {site.train.workers} workers; "
            "the global batch must divide evenly. Change batch_size, or train.workers of the site."
        )
    run = _absolute(recipe.run)
    config = {"recipe": recipe.model_dump(mode="json"), "run": run}
    config["recipe"]["run"] = run
    config["recipe"]["data"]["url"] = _absolute(recipe.data.url)
    progress = StageProgress()

    def told(record: dict[str, Any]) -> None:
        if "loss" in record:
            note = f"loss {record['loss']:.3f}  {record.get('samples_per_s', 0):.0f} samples/s"
            progress("pretrain", record["step"], recipe.steps, note)

    try:
        with following(Path(run) / "metrics.jsonl", told):
            launch(config, site.train, site.engine.address)
    finally:
        progress.close()
    result = {"run": run, "export": str(Path(run) / "export"), "eval": last_eval(Path(run))}
    for name, value in sorted((result["eval"] or {}).items()):
        sys.stderr.write(f"{name:<28} {value:.4f}\n" if isinstance(value, float) else f"{name:<28} {value}\n")
    sys.stderr.write(f"wrote {run}\nnext: pairmill report {recipe.data.url} --run {recipe.run}\n")
    return result


def last_eval(run: Path) -> dict[str, Any] | None:
    """The newest evaluation in a run's metrics."""
    from cluster.report.run import read_metrics

    evals = [record["eval"] for record in read_metrics(run) if "eval" in record]
    return evals[-1] if evals else None


def _absolute(url: str) -> str:
    """A local path as an absolute one: workers have other working folders."""
    return url if "://" in url else os.path.abspath(url)
