"""show, report, verify: look at recipes and datasets without changing them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cluster.site import Site
from pipeline.errors import AskedWrongly, nearest
from pipeline.recipe import load, shipped_recipes
from pipeline.store import Store

LISTS = {"dataset recipes": "pipeline", "training recipes": "pretrain", "sites": "cluster"}


def show(options: argparse.Namespace) -> dict[str, Any]:
    """List what ships, or show one recipe, one site or one dataset."""
    if options.what is None:
        return _show_all(options)
    dataset = Store(options.what)
    if dataset.exists("dataset.json"):
        from pipeline.funnel import read_funnel

        funnel = read_funnel(dataset)
        return _say(options, {"dataset": options.what, **funnel.to_dict()}, funnel.lines())
    resolved = _resolve(options.what)
    return _say(options, resolved, [json.dumps(resolved, indent=1)])


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Write the HTML page."""
    from cluster.report.page import build_page

    page = build_page(options.dataset, options.run)
    Path(options.out).write_text(page, encoding="utf-8")
    sys.stderr.write(f"wrote {Path(options.out).resolve()}\n")
    return {"report": str(Path(options.out).resolve())}


def verify(options: argparse.Namespace) -> dict[str, Any]:
    """Re-read every committed file; `failed` where anything is not what its record says."""
    from pipeline.shard.verify import verify as verify_dataset

    dataset = Store(options.dataset)
    if not dataset.exists("dataset.json"):
        raise AskedWrongly(f"{options.dataset}: holds no dataset (no dataset.json). Name a dataset folder.")
    problems = verify_dataset(dataset)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    sys.stderr.write(f"{options.dataset}: {len(problems)} problems\n")
    return {"problems": [str(problem) for problem in problems], "failed": bool(problems)}


def _show_all(options: argparse.Namespace) -> dict[str, Any]:
    found = {title: shipped_recipes(package) for title, package in LISTS.items()}
    lines = []
    for title, files in found.items():
        lines.append(f"{title}:")
        lines += [f"  {name:<18} {_first_comment(path)}" for name, path in files.items()]
    return _say(options, {title: sorted(files) for title, files in found.items()}, lines)


def _resolve(what: str) -> dict[str, Any]:
    """The resolved settings of a recipe or a site, whichever `what` is."""
    from pipeline.curate import DatasetRecipe
    from pretrain.recipe import TrainingRecipe

    models = {"pipeline": DatasetRecipe, "pretrain": TrainingRecipe, "cluster": Site}
    for package, model in models.items():
        if what in shipped_recipes(package):
            return load(model, what, package=package).model_dump(mode="json")
    if Path(what).is_file():
        text = Path(what).read_text("utf-8")
        package = "pipeline" if "[source]" in text else "pretrain" if "[model" in text else "cluster"
        return load(models[package], what, package=package).model_dump(mode="json")
    names = [name for package in models for name in shipped_recipes(package)]
    raise AskedWrongly(f"{what}: no dataset folder, recipe or site. {nearest(what, names)}")


def _say(options: argparse.Namespace, result: dict[str, Any], lines: list[str]) -> dict[str, Any]:
    if not options.json:
        sys.stdout.write("\n".join(lines) + "\n")
    return result


def _first_comment(path: Path) -> str:
    first = path.read_text("utf-8").split("\n", 1)[0]
    return first.lstrip("# ") if first.startswith("#") else ""
