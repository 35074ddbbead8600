"""trace, forget: a sample's whole life, from the list to the checkpoints that saw it, and its end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cluster.life import life_lines
from cluster.progress import StageProgress
from cluster.site import load_site
from pipeline.consumers import read_consumers
from pipeline.errors import AskedWrongly
from pipeline.forget.carry_out import check_asked
from pipeline.forget.carry_out import forget as forget_samples
from pipeline.forget.request import Removal
from pipeline.forget.select import Selectors, from_lines
from pipeline.store import Store
from pipeline.trace import trace as trace_samples
from pretrain.consumed import Told, tell

_NAMED = 20
"""Shards that a dry run names to people."""


def trace(options: argparse.Namespace) -> dict[str, Any]:
    """Tell the lives of the samples of a key, a URL or a hash."""
    dataset = _dataset(options.data)
    selectors = Selectors(tuple(filter(None, [options.key])), tuple(options.url), (), tuple(options.sha256))
    if not selectors:
        raise AskedWrongly("trace: no sample is named. Give a KEY, --url or --sha256.")
    traced = trace_samples(dataset, selectors)
    told = _tell(dataset, options.run, traced.removal)
    for life in traced.lives:
        life["runs"] = [_of_run(item, life["key"]) for item in told]
    if not options.json:
        sys.stdout.write("\n\n".join("\n".join(life_lines(life)) for life in traced.lives) + "\n")
    return {"dataset": options.data, "samples": traced.lives}


def forget(options: argparse.Namespace) -> dict[str, Any]:
    """Take samples out of every part of a dataset, keep them out, and name the checkpoints that saw them."""
    dataset = _dataset(options.dataset)
    selectors = _selectors(options)
    check_asked(selectors, dataset)
    site = load_site(options.on)
    progress = StageProgress()
    told: list[Told] = []

    def ask_runs(removal: Removal) -> None:
        told.extend(_tell(dataset, options.run, removal))  # some streams depend on texts that will be gone

    how: dict[str, Any] = {"progress": progress, "dry_run": options.dry_run, "before": ask_runs}
    try:
        forgotten = forget_samples(dataset, selectors, site.engine, **how)
    finally:
        progress.close()
    removal = forgotten.removal
    result: dict[str, Any] = {
        "dataset": options.dataset,
        "request": None if forgotten.request is None else forgotten.request.id,
        "finished": [request.id for request in forgotten.finished],
        "samples": len(removal.keys),
        "forgotten_before": sorted(forgotten.forgotten_before),
        "parts": removal.parts,
        "shards": removal.shards,
        "runs": [_summary(item) for item in told],
    }
    sys.stderr.write("\n".join(_said_of(result, options.dry_run)) + "\n")
    return result


def _dataset(url: str) -> Store:
    dataset = Store(url)
    if not dataset.exists("dataset.json") and not dataset.exists("shards/manifest.json"):
        raise AskedWrongly(f"{url}: holds no dataset (no dataset.json). Name a dataset folder.")
    return dataset


def _selectors(options: argparse.Namespace) -> Selectors:
    listed = Selectors()
    if options.list is not None:
        try:
            listed = from_lines(Path(options.list).read_text("utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise AskedWrongly(f"--from {options.list}: cannot be read: {error}. Name a text file.") from None
    return Selectors(
        (*options.key, *listed.keys),
        (*options.url, *listed.urls),
        tuple(options.domain),
        (*options.sha256, *listed.sha256),
        options.where,
    )


def _tell(dataset: Store, named: Iterable[str], removal: Removal) -> list[Told]:
    """What each run did with the samples: those that the dataset knows of, and those named."""
    urls = dict.fromkeys([*read_consumers(dataset), *(Store(url).root if "://" not in url else url for url in named)])
    return [tell(url, dataset, removal) for url in urls]


def _of_run(told: Told, key: str) -> dict[str, Any]:
    """What one run did with one sample."""
    times = told.consumed.get(key, ())
    found: dict[str, Any] = {"run": told.run, "name": told.name, "steps": told.steps}
    found["consumed"] = [{"epoch": epoch, "step": step} for epoch, step in times]
    found["seen_by"] = [folder for folder, step, _ in told.checkpoints if times and times[0][1] < step]
    found["evaluated"] = key in told.evaluated
    found["in_tokenizer"] = key in told.learned
    return {**found, **({"unknown": told.unknown} if told.unknown else {})}


def _summary(told: Told) -> dict[str, Any]:
    """What one run did with all samples of a request."""
    steps = [step for times in told.consumed.values() for _, step in times]
    found: dict[str, Any] = {"run": told.run, "name": told.name, "samples": len(told.consumed)}
    found |= {"first_step": min(steps), "last_step": max(steps)} if steps else {}
    found["checkpoints"] = [{"folder": f, "step": step, "saw": saw} for f, step, saw in told.checkpoints]
    found |= {"evaluated": len(told.evaluated), "in_tokenizer": len(told.learned)}
    return {**found, **({"unknown": told.unknown} if told.unknown else {})}


def _said_of(result: dict[str, Any], is_dry: bool) -> list[str]:
    lines = [f"finished request {number}, which had been stopped" for number in result["finished"]]
    if result["forgotten_before"]:
        lines.append(f"{len(result['forgotten_before']):,} of the keys were forgotten before")
    if not result["samples"]:
        return lines or [f"{result['dataset']}: nothing matches, so nothing was changed"]
    shards, parts = result["shards"], result["parts"]
    does = "would forget" if is_dry else "forgot"
    lines.append(f"{does} {result['samples']:,} samples, of {len(shards):,} shards and {len(parts):,} raw parts")
    if is_dry:
        lines += [f"  shards/{shard}" for shard in shards[:_NAMED]]
        lines += [f"  and {len(shards) - _NAMED:,} more shards"] if len(shards) > _NAMED else []
    for run in result["runs"]:
        lines.append(f"run {run['run']}: consumed {run['samples']:,} of them" + _why(run))
        lines += [f"  {item['folder']} saw {item['saw']:,}" for item in run["checkpoints"]]
        if run["evaluated"]:
            lines.append(f"  it was evaluated on {run['evaluated']:,}")
        if run["in_tokenizer"]:
            lines.append(f"  its tokenizer learned from the texts of {run['in_tokenizer']:,}")
    if not result["runs"]:
        lines.append("no run is known to have read this dataset; name one by --run")
    return lines


def _why(run: dict[str, Any]) -> str:
    return f"; not all is known: {run['unknown']}" if "unknown" in run else ""
