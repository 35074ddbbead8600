"""curate, its stages one by one, and retry: from a dataset recipe to a dataset folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from cluster.progress import StageProgress
from cluster.site import load_site
from pipeline.curate import DatasetRecipe, check_recipe
from pipeline.curate import curate as run_curation
from pipeline.curate import retry as run_retry
from pipeline.funnel import STAGES, StageName
from pipeline.recipe import load


def curate(options: argparse.Namespace) -> dict[str, Any] | None:
    """Bring a dataset up to date: all of it, or up to the stage that the verb names."""
    until: StageName = "shard" if options.verb == "curate" else options.verb
    recipe = load(DatasetRecipe, options.recipe, options.set, package="pipeline")
    site = load_site(options.on)
    if options.dry_run:
        check_recipe(recipe)
        plan = {
            "stages": list(STAGES[: STAGES.index(until) + 1]),
            "recipe": recipe.model_dump(mode="json"),
            "site": site.model_dump(mode="json"),
            "writes_to": recipe.dataset,
        }
        sys.stdout.write(json.dumps(plan, indent=1) + "\n")
        return None
    progress = StageProgress()
    try:
        curated = run_curation(recipe, site.engine, until=until, progress=progress)
    finally:
        progress.close()
    words = sys.stderr
    words.write("\n".join(curated.funnel.lines()) + "\n")
    where = recipe.dataset if "://" in recipe.dataset else os.path.abspath(recipe.dataset)
    words.write(f"wrote {where}\n")
    if until == "shard":
        words.write(f"next: pairmill report {recipe.dataset}\n")
        words.write(f"      pairmill pretrain tiny-clip --set data.url={recipe.dataset}\n")
    return {"dataset": recipe.dataset, "until": until, **curated.funnel.to_dict()}


def retry(options: argparse.Namespace) -> dict[str, Any]:
    """Fetch again the rows of a dataset whose failure may pass."""
    site = load_site(options.on)
    progress = StageProgress()
    try:
        retried = run_retry(options.dataset, site.engine, progress=progress)
    finally:
        progress.close()
    words = sys.stderr
    words.write("\n".join(retried.funnel.lines()) + "\n")
    rows = ", ".join(f"{status} {count:,}" for status, count in sorted(retried.tried.items()))
    words.write(f"tried again: {rows or 'nothing, no row failed in a way that may pass'}\n")
    if retried.tried:
        words.write("next: pairmill curate RECIPE (the recipe of this dataset), which takes in what came\n")
    return {"dataset": retried.dataset, "tried": retried.tried, **retried.funnel.to_dict()}
