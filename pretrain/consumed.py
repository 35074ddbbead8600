"""Which samples a training run consumed, at which steps, and which of its checkpoints had seen them by then.

A run's stream is a pure function of its recipe and the sizes of its shards (`data/stream.py`), so nothing is logged
while it trains: the stream is walked again, without media. The run folder keeps the manifests of the shards that it was
trained on, and each dataset a note of where the run is. Where a stream depends on weights or on lengths of texts, those
are read from the shards, which then have to be the ones of the run.

    manifests/<fingerprint>.json    in the run folder: what each of its datasets was
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.consumers import note_consumer
from pipeline.errors import DatasetError, PairmillError, TrainingError
from pipeline.forget.history import former_places, manifest_of
from pipeline.forget.request import Removal
from pipeline.recipe import check
from pipeline.shard.manifest import Manifest, read_manifest
from pipeline.shard.permute import EpochOrder
from pipeline.shard.reader import ReaderConfig, ShardReader
from pipeline.store import Store
from pretrain import checkpoint, metrics
from pretrain.data.stream import Reader, Stream, StreamConfig
from pretrain.loader import DataConfig

READING = ReaderConfig(companions="skip")
"""How runs read shards: no objective learns from masks. The window is part of the order."""
MANIFESTS = "manifests"
RECIPE, LINEAGE = "recipe.json", "lineage.json"
_STEPS_OF_CARD = re.compile(r"^\| steps \| (\d+) of", re.MULTILINE)
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Source:
    """A split that a run reads, of the dataset whose manifest has that fingerprint."""

    url: str
    split: str
    fingerprint: str


@dataclass(frozen=True)
class ConsumingRun:
    """A run folder, and as much of its recipe as decides what it consumed."""

    run: Store
    name: str
    stream: StreamConfig
    sources: tuple[Source, ...]
    held_out: Source
    learned_words: bool
    """Whether its tokenizer was trained on the texts of its sources."""

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

    def manifest(self, source: Source, dataset: Store | None = None) -> Manifest | None:
        """The manifest of a source as the run kept it, or as `dataset` has it; None where it is gone."""
        name = f"{MANIFESTS}/{source.fingerprint}.json"
        if self.run.exists(name):
            return Manifest.from_json(self.run.read_bytes(name), f"{self.run.url}/{name}")
        return None if dataset is None else manifest_of(dataset, source.fingerprint)

    def consumption(self, places: Sequence[Mapping[str, int]]) -> dict[str, tuple[tuple[int, int], ...]]:
        """Key -> (epoch, step) of each time that it was in a batch; steps count from 0.

        Args:
            places: of each source the positions of the samples that are asked for.
        Raises: DatasetError: the shards that decide the stream are not those of the run any more.
        """
        keys, at = zip(*(_sorted(of_source) for of_source in places), strict=True)
        stream = Stream([self._reader(source) for source in self.sources], self.stream)
        times: dict[str, list[tuple[int, int]]] = {}
        left, batch = self.steps * self.stream.batch_size, self.stream.batch_size
        while left:
            start = stream.position
            picks = stream.take(min(left, _AT_ONCE))
            left -= len(picks)
            for number, positions in enumerate(at):
                rows = np.flatnonzero((picks.dataset == number) & np.isin(picks.position, positions))
                found = np.searchsorted(positions, picks.position[rows]).tolist()
                for row, sample in zip(rows.tolist(), found, strict=True):
                    time = (int(picks.epoch[row]), (start + row) // batch)
                    times.setdefault(keys[number][sample], []).append(time)
        return {key: tuple(sorted(of_key, key=lambda time: time[1])) for key, of_key in times.items()}

    def _reader(self, source: Source) -> Reader:
        """What a stream needs of a source: of the manifest alone, or of its indexes where the stream reads them."""
        if self.stream.weights == "ignore" and self.stream.bucket_batches is None:
            manifest = self.manifest(source, Store(source.url))
            if manifest is None:
                raise DatasetError(f"{source.url}: the manifest {source.fingerprint[:12]} is gone.")
            return _Sizes(source.fingerprint, [entry.samples for entry in manifest.splits[source.split].shards])
        reader = ShardReader(source.url, source.split, READING)
        if reader.fingerprint != source.fingerprint:
            raise DatasetError(
                f"{source.url}: the stream depends on weights or texts of the shards with manifest "
                f"{source.fingerprint[:12]}; here are {reader.fingerprint[:12]}."
            )
        return reader


@dataclass(frozen=True)
class _Sizes:
    """A split of which only the samples of each shard are known."""

    fingerprint: str
    sizes: Sequence[int]

    @property
    def num_samples(self) -> int:
        return sum(self.sizes)

    def windows(self, *, seed: int, epoch: int) -> EpochOrder:
        return EpochOrder(self.sizes, READING.window, seed=seed, epoch=epoch)

    def weights(self, positions: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def text_bytes(self, positions: np.ndarray, draws: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def _sorted(places: Mapping[str, int]) -> tuple[list[str], np.ndarray]:
    """Keys and positions, by position."""
    keys = sorted(places, key=places.__getitem__)
    return keys, np.array([places[key] for key in keys], np.int64)


def open_run(url: str) -> ConsumingRun:
    """A run folder. Raises: TrainingError: it is none. RecipeError: its data are described by another release."""
    run = Store(url)
    if not run.exists(RECIPE) or not run.exists(LINEAGE):
        raise TrainingError(f"{url}: holds no {RECIPE} with its {LINEAGE}, so it is no run. Name one of `pretrain`.")
    recipe, lineage = (json.loads(run.read_bytes(name)) for name in (RECIPE, LINEAGE))
    data = check(DataConfig, recipe["data"], where=f"{url}/{RECIPE}")
    told: list[Mapping[str, Any]] = lineage.get("sources") or [{**lineage, "url": data.url, "split": data.split}]
    return ConsumingRun(
        run=run,
        name=recipe["name"],
        stream=data.stream(recipe["seed"], recipe["batch_size"]),
        sources=tuple(Source(item["url"], item["split"], item["manifest_sha256"]) for item in told),
        held_out=Source(data.url, data.eval_split, lineage["manifest_sha256"]),
        learned_words=recipe["tokenizer"].get("folder") is None,
    )


@dataclass(frozen=True)
class Told:
    """What a run did with some samples: when each was in a batch, which were only evaluated on, who had seen any."""

    run: str
    name: str = ""
    steps: int = 0
    consumed: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Key -> (epoch, step) of each time that it was in a batch."""
    evaluated: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    """Samples whose texts its tokenizer was trained on."""
    checkpoints: tuple[tuple[str, int, int], ...] = ()
    """(folder, steps before it, samples that it had seen) of those that had seen any."""
    unknown: str | None = None
    """Why it is not known of every sample, where it is not."""


def tell(url: str, dataset: Store, removal: Removal) -> Told:
    """What the run at `url` did with samples of `dataset`, wherever they lay when it was made."""
    try:
        return _tell(open_run(url), dataset, removal)
    except (PairmillError, ValueError, KeyError) as error:
        return Told(url, unknown=f"cannot be told: {error}")


def _tell(run: ConsumingRun, dataset: Store, removal: Removal) -> Told:
    lost: list[str] = []

    def places(source: Source) -> Mapping[str, int]:
        manifest = run.manifest(source, dataset) if _is_of(source, dataset) else None
        if manifest is None:
            return {}
        found = former_places(dataset, manifest, source.split, removal)
        lost.extend(found.unknown)
        return found.places

    trained = [places(source) for source in run.sources]
    consumed = run.consumption(trained) if any(trained) else {}
    first = np.array([times[0][1] for times in consumed.values()], np.int64)
    saw = [(folder, step, int((first < step).sum())) for folder, step in run.checkpoints]
    return Told(
        run=run.run.root if run.run.is_local else run.run.url,
        name=run.name,
        steps=run.steps,
        consumed=consumed,
        evaluated=tuple(places(run.held_out)),
        learned=tuple(key for of_source in trained for key in of_source) if run.learned_words else (),
        checkpoints=tuple(item for item in saw if item[2]),
        unknown=f"{len(lost)} of its shards, {lost[0]} among them, were cut anew since" if lost else None,
    )


def _is_of(source: Source, dataset: Store) -> bool:
    """Whether a source is this dataset, where it lies or by its manifest, if it was moved."""
    return Store(source.url).root == dataset.root or manifest_of(dataset, source.fingerprint) is not None


def keep_account(run: Store, urls: Sequence[str]) -> None:
    """Write down, as a run begins or goes on, what is needed to tell later what it consumed. For rank 0."""
    for url in dict.fromkeys(urls):
        dataset = Store(url)
        manifest = read_manifest(dataset)
        name = f"{MANIFESTS}/{manifest.fingerprint()}.json"
        if not run.exists(name):
            run.put_bytes(name, manifest.to_json())
        note_consumer(dataset, run.root if run.is_local else run.url)
