"""show, subset, report, verify: look at recipes and datasets without changing them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.site import load_site
from pipeline.errors import AskedWrongly, nearest
from pipeline.recipe import RecipeTable, load, shipped_recipes
from pipeline.store import Store

RULES = "rules/"
"""Before the name of a rule set, since a recipe may have the same name."""
LISTS = {
    "dataset recipes": "pipeline",
    "training recipes": "pretrain",
    "bootstrap recipes": "cluster.bootstrap",
    "sites": "cluster",
}


def show(options: argparse.Namespace) -> dict[str, Any]:
    """List what ships, or show one recipe, one site or one dataset."""
    if options.what is None:
        if options.dropped is not None:
            raise AskedWrongly("--dropped wants a dataset: pairmill show DATASET --dropped RULE.")
        return _show_all(options)
    dataset = Store(options.what)
    if options.dropped is not None:
        return _show_dropped(options, _dataset(options.what))
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
    from cluster.progress import StageProgress
    from pipeline.engine import Engine, ray_session
    from pipeline.shard.manifest import MANIFEST
    from pipeline.shard.verify import verify as verify_dataset

    dataset = Store(options.dataset)
    if not dataset.exists(MANIFEST):
        dataset = _dataset(options.dataset)
    site, progress = load_site(options.on), StageProgress()
    try:
        with ray_session(site.engine):
            problems = verify_dataset(dataset, Engine(dataset, site.engine, progress))
    finally:
        progress.close()
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    sys.stderr.write(f"{options.dataset}: {len(problems)} problems\n")
    return {"problems": [str(problem) for problem in problems], "failed": bool(problems)}


def subset(options: argparse.Namespace) -> dict[str, Any]:
    """Write the uids of the kept rows as DataComp publishes its subsets."""
    from pipeline.filter.verdicts.subset import write_subset

    rows = write_subset(_dataset(options.dataset), Path(options.out))
    sys.stderr.write(f"wrote {rows:,} uids to {Path(options.out).resolve()}\n")
    return {"subset": str(Path(options.out).resolve()), "rows": rows}


def _dataset(url: str) -> Store:
    dataset = Store(url)
    if not dataset.exists("dataset.json"):
        raise AskedWrongly(f"{url}: holds no dataset (no dataset.json). Name a dataset folder.")
    return dataset


def _show_dropped(options: argparse.Namespace, dataset: Store) -> dict[str, Any]:
    """A few rows that a rule dropped, one block each, with the columns that say something."""
    from pipeline.filter.verdicts.dropped import sample_dropped

    if options.rows < 1:
        raise AskedWrongly(f"--rows is {options.rows}; it may be 1 or more.")
    rows = sample_dropped(dataset, options.dropped, options.rows)
    lines = []
    for row in rows:
        lines += [f"{name:<32}{value}" for name, value in row.items() if value is not None] + [""]
    return _say(options, {"dataset": options.what, "dropped_by": options.dropped, "rows": rows}, lines[:-1])


def _show_all(options: argparse.Namespace) -> dict[str, Any]:
    from pipeline.filter.verdicts.rules import rule_sets

    found = {title: shipped_recipes(package) for title, package in LISTS.items()}
    found["rule sets"] = {f"{RULES}{name}": path for name, path in rule_sets().items()}
    lines = []
    for title, files in found.items():
        lines.append(f"{title}:")
        lines += [f"  {name:<26} {_first_comment(path)}" for name, path in files.items()]
    return _say(options, {title: sorted(files) for title, files in found.items()}, lines)


def _resolve(what: str) -> dict[str, Any]:
    """The resolved settings of a recipe or a site, whichever `what` is."""
    from cluster.bootstrap.recipe import load_bootstrap
    from pipeline.curate import DatasetRecipe
    from pipeline.filter.verdicts.rules import read_rule_set, rule_sets
    from pretrain.recipe import TrainingRecipe

    if what.startswith(RULES) and what.removeprefix(RULES) in rule_sets():
        return {"name": what, **read_rule_set(what.removeprefix(RULES)).model_dump(mode="json", exclude_none=True)}
    models: dict[str, Callable[[str], RecipeTable]] = {
        "pipeline": lambda name: load(DatasetRecipe, name, package="pipeline"),
        "pretrain": lambda name: load(TrainingRecipe, name, package="pretrain"),
        "cluster.bootstrap": load_bootstrap,
        "cluster": load_site,
    }
    for package, read in models.items():
        if what in shipped_recipes(package):
            return read(what).model_dump(mode="json")
    if Path(what).is_file():
        return models[_package_of(Path(what).read_text("utf-8"))](what).model_dump(mode="json")
    names = [name for package in models for name in shipped_recipes(package)]
    names += [f"{RULES}{name}" for name in rule_sets()]
    raise AskedWrongly(f"{what}: no dataset folder, recipe or site. {nearest(what, names)}")


def _package_of(text: str) -> str:
    """What kind of recipe a file is, by its tables."""
    kinds = {"[seed]": "cluster.bootstrap", "[source]": "pipeline", "[model": "pretrain"}
    return next((package for table, package in kinds.items() if table in text), "cluster")


def _say(options: argparse.Namespace, result: dict[str, Any], lines: list[str]) -> dict[str, Any]:
    if not options.json:
        sys.stdout.write("\n".join(lines) + "\n")
    return result


def _first_comment(path: Path) -> str:
    first = path.read_text("utf-8").split("\n", 1)[0]
    return first.lstrip("# ") if first.startswith("#") else ""
