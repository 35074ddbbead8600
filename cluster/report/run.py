"""Sections about a training run: its curves and its evaluations, from metrics.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.report.section import Section, curve, table
from pipeline.errors import AskedWrongly


def run_sections(folder: Path) -> list[Section]:
    """Curves and evaluations of one run. Raises: AskedWrongly: the folder holds no metrics."""
    records = read_metrics(folder)
    steps = [record for record in records if "loss" in record]
    evals = [record for record in records if "eval" in record]
    sections = [Section("Training loss", f"Run {folder.name}; nats, by step.", _curve(steps, "loss"))]
    for name, lead in (
        ("lr", "Learning rate by step."),
        ("logit_scale", "Factor of the cosines in the logits, by step."),
        ("samples_per_s", "Samples per second over all workers, by step."),
    ):
        if any(name in record for record in steps):
            sections.append(Section(name, lead, _curve(steps, name)))
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


def _curve(records: list[dict[str, Any]], name: str) -> str:
    return curve([(r["step"], r[name]) for r in records if name in r], x_name="step", y_name=name)


def _evals(records: list[dict[str, Any]]) -> str:
    last = records[-1]
    names = sorted(name for name, value in last["eval"].items() if isinstance(value, (int, float)))
    rows = [(record["step"], *(record["eval"].get(name, float("nan")) for name in names)) for record in records]
    return table(("step", *names), rows)
