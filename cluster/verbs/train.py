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
from pipeline.recipe import load
from pipeline.shard.reader import ShardReader
from pretrain.recipe import TrainingRecipe


def pretrain(options: argparse.Namespace) -> dict[str, Any] | None:
    """Run a training recipe on a site; a run folder with a checkpoint of the same recipe is gone on with."""
    recipe = load(TrainingRecipe, options.recipe, options.set, package="pretrain")
    site = load_site(options.on)
    run = options.run or f"runs/{recipe.name}"
    recipe.batch_of_rank(site.train.workers)
    if options.dry_run:
        sys.stdout.write(json.dumps(training_plan(recipe, site, run), indent=1) + "\n")
        return None
    return run_training(recipe, site, run)


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Retrieval of a run, an exported folder or any CLIPModel folder on one split of a dataset."""
    from pretrain.evals.evaluate import evaluate as evaluate_model

    recalls = evaluate_model(options.model, options.data, options.split)
    if not options.json:
        sys.stdout.write("".join(f"{line}\n" for line in eval_lines(recalls)))
    return recalls


def export(options: argparse.Namespace) -> dict[str, Any]:
    """Export a run's newest checkpoint into RUN/export."""
    from pretrain.evals.evaluate import export_run

    where = export_run(options.run)
    sys.stderr.write(f"wrote {where}\n")
    return {"export": where}


def eval_lines(recalls: dict[str, float]) -> list[str]:
    """Recall at k both ways, chance and their ratio beside it, and captions where there are some; one line each."""
    lines = [f"{recalls['images']:.0f} images, {recalls['texts']:.0f} texts"]
    for way in ("image_to_text", "text_to_image"):
        for k in (1, 5, 10):
            found, chance = recalls[f"{way}_r{k}"], recalls[f"{way}_r{k}_chance"]
            line = f"{way} R@{k:<3} {found:7.1%}   chance {chance:6.2%}   {found / chance:5.1f} x"
            again = recalls.get(f"{way}_rerank_r{k}")
            lines.append(line if again is None else f"{line}   ranked again {again:7.1%}")
    if "cider" in recalls:
        lines.append(
            f"captions BLEU-4 {recalls['bleu4']:.3f}   CIDEr {recalls['cider']:.2f}   "
            f"of another image {recalls['cider_shuffled']:.2f}"
        )
    return lines


def training_plan(recipe: TrainingRecipe, site: Site, run: str) -> dict[str, Any]:
    """What a run would be: the resolved recipe, the site, and the DeepSpeed settings made from them."""
    from pretrain.zero import deepspeed_settings

    return {
        "recipe": recipe.model_dump(mode="json"),
        "site": site.model_dump(mode="json"),
        "deepspeed": deepspeed_settings(recipe.engine_settings(), site.train.workers),
        "writes_to": run,
    }


def run_training(recipe: TrainingRecipe, site: Site, run: str) -> dict[str, Any]:
    """Launch, follow, and say where things are."""
    recipe.batch_of_rank(site.train.workers)
    for source in recipe.data.sources():
        ShardReader(source.url, source.split)  # a missing dataset is told before anything starts
    said, run = run, _absolute(run)
    config = {"recipe": recipe.model_dump(mode="json"), "run": run}
    for place in (config["recipe"]["data"], *config["recipe"]["data"]["mixture"]):
        place["url"] = _absolute(place["url"])
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
    if result["eval"]:
        sys.stderr.write("".join(f"{line}\n" for line in eval_lines(result["eval"])))
    sys.stderr.write(f"wrote {run}\nnext: pairmill report {recipe.data.url} --run {said}\n")
    return result


def last_eval(run: Path) -> dict[str, Any] | None:
    """The newest evaluation in a run's metrics."""
    from cluster.report.run import read_metrics

    evals = [record["eval"] for record in read_metrics(run) if "eval" in record]
    return evals[-1] if evals else None


def _absolute(url: str) -> str:
    """A local path as an absolute one: workers have other working folders."""
    return url if "://" in url else os.path.abspath(url)
