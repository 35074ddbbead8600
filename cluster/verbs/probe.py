"""probe fit: labelled rows and stored embeddings in, a safetensors file for `[score.probe.NAME]` out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import AskedWrongly
from pipeline.store import Store


def probe(options: argparse.Namespace) -> dict[str, Any]:
    """Fit, write, and say how well it does on rows that it never saw."""
    from pipeline.filter.models import probe_fit

    dataset, labels, out = Store(options.dataset), Path(options.labels), Path(options.out)
    if not dataset.exists("dataset.json"):
        raise AskedWrongly(f"{options.dataset}: holds no dataset (no dataset.json). Name a dataset folder.")
    if options.penalty is not None and options.penalty <= 0:
        raise AskedWrongly(f"--penalty is {options.penalty:g}; wanted a number above 0, such as 0.01.")
    found = probe_fit.read_labelled(dataset, labels, options.embeddings, options.of)
    fitted = probe_fit.fit(found, options.kind, options.penalty)
    facts = {
        "checkpoint": found.checkpoint,
        "embeddings": options.embeddings,
        "of": options.of,
        "labels_sha256": probe_fit.labels_sha256(labels),
    }
    probe_fit.write_probe(out, fitted, facts)
    words = sys.stderr
    words.write(f"{found.num_labels:,} labels, {len(found.keys):,} of them with an embedding\n")
    if not options.json:
        rows = {"penalty": fitted.penalty, **fitted.figures}
        sys.stdout.write("".join(f"{name:<22} {value:.6g}\n" for name, value in rows.items()))
    words.write(f"wrote {out.resolve()}\n")
    words.write(f'next: [score.probe.NAME] weights = "{out}", embeddings = "{options.embeddings}"\n')
    return {"probe": str(out.resolve()), "penalty": fitted.penalty, **fitted.figures}
