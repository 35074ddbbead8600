"""Probes on stored embeddings: aesthetic, NSFW, watermark or any other, by weights that the user supplies.

    [score.probe.aesthetic]
    weights = "sa_0_4_vit_l_14_linear.safetensors"
    embeddings = "clip_l14"          # a model of [score.models], or clip

Writes one column per table: `probe.aesthetic`. Costs no decoding: it reads what the model has embedded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.errors import RecipeError
from pipeline.filter.embeddings import as_matrix
from pipeline.filter.models.checkpoint import Checkpoint, encoder_of
from pipeline.filter.models.probe import Activation, Output, Probe, ProbeFile
from pipeline.filter.ranges import ranged
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources

BATCH_ROWS = 4096


class ProbeScoreConfig(RecipeTable):
    """A table under `[score.probe]`; its name is the name of the column."""

    weights: str
    """A safetensors file of linear layers, such as `pairmill probe fit` writes; a path or a store URL."""
    embeddings: str = "clip"
    """The scorer whose embeddings it takes: `clip`, or a name under `[score.models]`."""
    of: Literal["image", "text"] = "image"
    """Which side's embedding."""
    activation: Activation | None = None
    """Between layers; none given takes what the file says, else no activation, as LAION's aesthetic heads have it."""
    output: Output | None = None
    """After the last layer; none given takes what the file says, else the number as it is."""


class ProbeScore:
    """One column per probe; null where nothing was embedded."""

    version = 1
    name = "probe"
    resources = Resources(cpus=1)

    def __init__(self, config: Mapping[str, ProbeScoreConfig], encoders: Mapping[str, Checkpoint]) -> None:
        """`encoders` are the checkpoints of the recipe's models, by the name of their scorer."""
        self.config: Any = dict(config)
        self.encoders = dict(encoders)
        self.files = {name: _file(name, table) for name, table in config.items()}
        reads = dict.fromkeys(f"{table.embeddings}.{table.of}" for table in config.values())
        self.reads: tuple[str, ...] = tuple(reads)

    @property
    def writes(self) -> pa.Schema:
        """A sigmoid has the range 0 to 1; what is linear has none."""
        fields = []
        for name in self.config:
            bounds = (0, 1) if self._how(name)[1] == "sigmoid" else (None, None)
            fields.append(ranged(name, pa.float32(), *bounds))
        return pa.schema(fields)

    def settings(self) -> Any:
        """The bytes of the weights and not their place."""
        return {
            name: [self.files[name].sha256, table.embeddings, table.of, *self._how(name)]
            for name, table in self.config.items()
        }

    def check(self) -> None:
        """Refuse a probe that is none, or that does not fit its embeddings. Raises: RecipeError."""
        for name, table in self.config.items():
            where, file = f"score.probe.{name}", self.files[name]
            encoder = encoder_of(self.encoders, table.embeddings, f"{where}.embeddings")
            if file.width != encoder.width:
                raise RecipeError(
                    f"{where}.weights is {file.url!r}: takes embeddings of width {file.width}, and {table.embeddings} "
                    f"({encoder.url}) gives {encoder.width}. Name the model that the probe was trained on."
                )
            trained_on = file.facts.get("checkpoint")
            if trained_on is not None and trained_on != encoder.stamp:
                raise RecipeError(
                    f"{where}.weights is {file.url!r}: was fitted on the embeddings of another checkpoint "
                    f"({trained_on[:12]}) than that of {table.embeddings} ({encoder.stamp[:12]}, {encoder.url}). "
                    "Fit it again: pairmill probe fit."
                )

    def setup(self) -> None:
        """Read the weights."""
        self._probes: dict[str, Probe] = {name: self.files[name].load(*self._how(name)) for name in self.config}

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rows in batches, so that the layers' outputs stay small."""
        columns = {}
        for name, settings in self.config.items():
            rows = as_matrix(table.column(f"{settings.embeddings}.{settings.of}"))
            batches = (rows[at : at + BATCH_ROWS] for at in range(0, len(rows), BATCH_ROWS))
            values = np.concatenate([np.empty(0, np.float32), *map(self._probes[name], batches)])
            columns[name] = pa.array(values, pa.float32(), mask=~np.isfinite(values))
        return pa.table(columns, schema=self.writes)

    def _how(self, name: str) -> tuple[Activation, Output]:
        table, facts = self.config[name], self.files[name].facts
        return table.activation or facts.get("activation", "none"), table.output or facts.get("output", "linear")


def _file(name: str, table: ProbeScoreConfig) -> ProbeFile:
    url = table.weights if "://" in table.weights else os.path.abspath(table.weights)
    return ProbeFile(url, f"score.probe.{name}.weights")
