"""Which samples a training run consumed, at which steps, and which of its checkpoints had seen them by then.

A run is a pure function: sample p of it is `order(seed, epoch)[p % N]` of N, at step p // batch_size (`loader.py`). So
nothing is logged while it trains; the order of each epoch is turned around afterwards. The run folder keeps the
manifest of the shards that it was trained on, and the dataset a note of where the run is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.consumers import note_consumer
from pipeline.errors import TrainingError
from pipeline.shard.manifest import Manifest, read_manifest
from pipeline.shard.permute import epoch_order
from pipeline.shard.reader import ReaderConfig
from pipeline.store import Store
from pretrain import checkpoint, metrics

MANIFEST = "manifest.json"
RECIPE, LINEAGE = "recipe.json", "lineage.json"
_STEPS_OF_CARD = re.compile(r"^\| steps \| (\d+) of", re.MULTILINE)


@dataclass(frozen=True)
class Consumption:
    """What a run did with one sample: (epoch, step) of each time that it was in a batch; steps count from 0."""

    times: tuple[tuple[int, int], ...] = ()

    @property
    def first_step(self) -> int | None:
        """The first step that it was in; None for none."""
        return self.times[0][1] if self.times else None


@dataclass(frozen=True)
class ConsumingRun:
    """A run folder, and as much of its recipe as decides what it consumed."""

    run: Store
    name: str
    seed: int
    batch_size: int
    split: str
    eval_split: str
    learned_words: bool
    """Whether its tokenizer was trained on the texts of the split."""
    fingerprint: str
    """Of the manifest of its shards."""

    @cached_property
    def checkpoints(self) -> list[tuple[str, int]]:
        """(folder, steps before it) of every committed checkpoint, and of the exported model, by step."""
        found = [(record.folder, record.step) for record in checkpoint.committed(self.run)]
        card = "export/README.md"
        if self.run.exists(card):
            steps = _STEPS_OF_CARD.search(self.run.read_bytes(card).decode())
            found += [("export", int(steps[1]))] if steps else []
        return sorted(found, key=lambda item: (item[1], item[0]))

    @cached_property
    def steps(self) -> int:
        """Steps that it has made, as far as anything of it tells."""
        reached = [step for _, step in self.checkpoints]
        if self.run.exists(metrics.FILE):
            whole = self.run.read_bytes(metrics.FILE).rpartition(b"\n")[0]  # a kill may have torn the last line
            reached += [json.loads(line)["step"] for line in whole.splitlines()[-1:]]
        return max(reached, default=0)

    def manifest(self) -> Manifest | None:
        """The manifest of its shards, where the run kept it: those of earlier releases did not."""
        if not self.run.exists(MANIFEST):
            return None
        return Manifest.from_json(self.run.read_bytes(MANIFEST), f"{self.run.url}/{MANIFEST}")

    def consumption(self, manifest: Manifest, positions: Mapping[str, int]) -> dict[str, Consumption]:
        """Key -> when it was in a batch, of samples at these positions of the split in `manifest`."""
        sizes = [entry.samples for entry in manifest.splits[self.split].shards]
        at = np.fromiter(positions.values(), np.int64, len(positions))
        by_position = np.argsort(at, kind="stable")
        times: list[list[tuple[int, int]]] = [[] for _ in positions]
        num_samples, total = sum(sizes), self.steps * self.batch_size
        for epoch in range(math.ceil(total / num_samples) if num_samples else 0):
            order = epoch_order(sizes, ReaderConfig().window, seed=self.seed, epoch=epoch)
            order = order[: total - epoch * num_samples]
            places = np.flatnonzero(np.isin(order, at))
            found = by_position[np.searchsorted(at[by_position], order[places])]
            for sample, place in zip(found.tolist(), places.tolist(), strict=True):
                times[sample].append((epoch, (epoch * num_samples + place) // self.batch_size))
        return {key: Consumption(tuple(seen)) for key, seen in zip(positions, times, strict=True)}


def open_run(url: str) -> ConsumingRun:
    """A run folder. Raises: TrainingError: it is none."""
    run = Store(url)
    if not run.exists(RECIPE) or not run.exists(LINEAGE):
        raise TrainingError(f"{url}: holds no {RECIPE} with its {LINEAGE}, so it is no run. Name one of `pretrain`.")
    recipe, lineage = (json.loads(run.read_bytes(name)) for name in (RECIPE, LINEAGE))
    return ConsumingRun(
        run=run,
        name=recipe["name"],
        seed=recipe["seed"],
        batch_size=recipe["batch_size"],
        split=recipe["data"]["split"],
        eval_split=recipe["data"]["eval_split"],
        learned_words=recipe["tokenizer"].get("folder") is None,
        fingerprint=lineage["manifest_sha256"],
    )


def keep_account(run: Store, dataset: Store) -> None:
    """Write down, as a run begins or goes on, what is needed to tell later what it consumed. For rank 0."""
    if not run.exists(MANIFEST):
        run.put_bytes(MANIFEST, read_manifest(dataset).to_json())
    note_consumer(dataset, run.root if run.is_local else run.url)
