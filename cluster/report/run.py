"""Sections about a training run: its curves and its evaluations, from metrics.jsonl."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from cluster.report.chart import curve
from cluster.report.section import Section, table
from pipeline.errors import AskedWrongly
from pipeline.words import plain

_CURVES = (
    ("loss", "nats, by step"),
    ("lr", "learning rate by step"),
    ("logit_scale", "factor of the cosines in the logits, by step"),
    ("samples_per_s", "samples per second over all workers, by step"),
)


def run_sections(folder: Path) -> list[Section]:
    """Curves and evaluations of one run. Raises: AskedWrongly: the folder holds no metrics."""
    records = read_metrics(folder)
    steps = [record for record in records if "loss" in record]
    evals = [record for record in records if "eval" in record]
    charts = []
    for name, words in _CURVES:
        if name == "loss" or any(name in record for record in steps):
            points = [(record["step"], record[name]) for record in steps if name in record]
            drawn = curve(points, x_name="step", y_name=name)
            caption = f'{html.escape(name)} <span class="soft">{html.escape(words)}</span>'
            charts.append(f'<figure class="chart"><figcaption>{caption}</figcaption>{drawn}</figure>')
    body = f'<div class="charts">{"".join(charts)}</div>'
    sections = [Section("Training", f"Run {plain(folder.name, 120)}.", body)]
    if evals:
        sections.append(Section("Evaluation", "Recall on the held-out split; chance beside it.", _evals(evals)))
    return sections


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl; a torn last line of a killed run is left out."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        raise AskedWrongly(f"{folder}: holds no metrics.jsonl. Name a folder that `pairmill pretrain` wrote.")
    found = []
    for line in path.read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _evals(records: list[dict[str, Any]]) -> str:
    """One line per measure, one column per evaluation."""
    steps = [record["step"] for record in records]
    values = [record["eval"] for record in records]
    names = sorted({name for found in values for name, value in found.items() if isinstance(value, (int, float))})
    rows = [(plain(name), *(found.get(name, float("nan")) for found in values[-8:])) for name in names]
    return table(("measure", *(f"step {step:,}" for step in steps[-8:])), rows, name="evaluations")
