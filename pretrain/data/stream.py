"""The stream of samples that a run trains on: every dataset epoch after epoch, mixed, and bucketed by text where asked.

Every rank walks the same stream and takes its part of each batch, so ranks need not talk, and a batch does not depend
on how many they are. Within an epoch each sample of a dataset comes exactly once, or, with `weights = "repeat"`, as
often as its weight says:

    copies(e) = floor((e + 1) w + f) - floor(e w + f),    f in [0, 1) a hash of seed, dataset and position

so floor(w) or floor(w) + 1 times in each epoch, and E w times, give or take one, in any E epochs.

`state()` is some hundred bytes of JSON, and enough to go on from at another world size or batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np

from pipeline.errors import DatasetError, TrainingError
from pipeline.shard.permute import EpochOrder, hashed
from pretrain.data.mixture import Interleave
from pretrain.data.picks import Draws, Picks, joined

LAW = 1
"""Changes when the order of a seed does: a state of another law cannot be gone on from."""
TEXT_DRAW = 0
"""Number of the draw that chooses a sample's text."""

Weights = Literal["ignore", "repeat"]


class Reader(Protocol):
    """What a stream needs of a `pipeline.shard.reader.ShardReader`."""

    num_samples: int
    fingerprint: str

    def windows(self, *, seed: int, epoch: int) -> EpochOrder:
        """The order of one epoch."""

    def weights(self, positions: np.ndarray) -> np.ndarray:
        """Weight of each sample."""

    def text_bytes(self, positions: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Bytes of the text of each sample that its draw chooses."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the epochs of one dataset: `offset` samples into a window of shards."""

    epoch: int = 0
    window: int = 0
    offset: int = 0


class DatasetStream:
    """The samples of one dataset, epoch after epoch; `place` is where it stands."""

    def __init__(self, reader: Reader, number: int, seed: int, weights: Weights) -> None:
        """`number`: of the dataset in its mixture."""
        self.reader, self.number, self.seed, self.weights = reader, number, seed, weights
        self.place = Place()
        self._order: tuple[int, EpochOrder] | None = None
        self._window: tuple[tuple[int, int], Picks] | None = None

    def take(self, count: int) -> Picks:
        """The next `count` samples."""
        parts, missing, barren = [Picks.empty(0)], count, 0
        while missing:
            window = self._picks(self.place.epoch, self.place.window)
            part = window[self.place.offset : self.place.offset + missing]
            parts.append(part)
            missing -= len(part)
            self.place = Place(self.place.epoch, self.place.window, self.place.offset + len(part))
            barren = 0 if len(window) else barren + 1
            if missing:
                self._next_window(barren)
        return joined(parts)

    def seek(self, taken: int) -> None:
        """Go to where `taken` samples were taken since the start; by arithmetic, but for weights, which are read."""
        if self.weights == "repeat":
            self.place, barren = Place(), 0
            while taken >= (size := len(self._picks(self.place.epoch, self.place.window))):
                taken -= size
                barren = 0 if size else barren + 1
                self._next_window(barren)
            self.place = Place(self.place.epoch, self.place.window, taken)
            return
        epoch, rest = divmod(taken, self.reader.num_samples)
        starts = self._order_of(epoch).starts
        window = int(np.searchsorted(starts, rest, side="right")) - 1
        self.place = Place(epoch, window, rest - int(starts[window]))

    def _next_window(self, barren: int) -> None:
        """Go on; `barren` windows in a row gave nothing."""
        order = self._order_of(self.place.epoch)
        whole_epoch = self.weights == "repeat" and barren and barren % order.num_windows == 0
        if whole_epoch and not self._has_weight(order):
            raise DatasetError(
                f"dataset {self.number} of the mixture: no sample has a weight above 0, so none is left to train on. "
                'Judge it with other weights, or set data.weights = "ignore".'
            )
        last = self.place.window + 1 == order.num_windows
        self.place = Place(self.place.epoch + 1) if last else Place(self.place.epoch, self.place.window + 1)

    def _has_weight(self, order: EpochOrder) -> bool:
        """Whether any sample ever comes: one of small weight may stay away for many epochs."""
        return any((self.reader.weights(order.window(number)) > 0).any() for number in range(order.num_windows))

    def _order_of(self, epoch: int) -> EpochOrder:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self.reader.windows(seed=self.seed, epoch=epoch))
        return self._order[1]

    def _picks(self, epoch: int, number: int) -> Picks:
        if self._window is None or self._window[0] != (epoch, number):
            positions = self._order_of(epoch).window(number)
            copies = np.zeros(len(positions), np.int64)
            if self.weights == "repeat":
                positions, copies = self._repeated(positions, epoch)
            same = np.ones(len(positions), np.int64)
            self._window = ((epoch, number), Picks(same * self.number, same * epoch, positions, copies))
        return self._window[1]

    def _repeated(self, positions: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a window as often as their weights say, shuffled anew, and the number of each copy."""
        weights = np.maximum(self.reader.weights(positions).astype(np.float64), 0)
        phases = (hashed(self.seed, 3, self.number, positions) >> np.uint64(11)) * 2.0**-53
        times = (np.floor((epoch + 1) * weights + phases) - np.floor(epoch * weights + phases)).astype(np.int64)
        repeated = np.repeat(positions, times)
        firsts = np.repeat(np.cumsum(times) - times, times)
        copies = np.arange(len(repeated)) - firsts
        order = np.argsort(hashed(self.seed, epoch, 4, repeated, copies), kind="stable")
        return repeated[order], copies[order]


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What decides a stream beside its datasets.

    `parts`: of each dataset in the mixture. `bucket_batches`: batches whose samples are sorted by the length of their
    texts and dealt out anew, or None; `batch_size` is of all ranks together.
    """

    seed: int
    batch_size: int
    parts: tuple[int, ...] = (1,)
    weights: Weights = "ignore"
    bucket_batches: int | None = None


class Stream:
    """The samples of a run, from the first on or from a state; not thread-safe."""

    def __init__(self, readers: Sequence[Reader], config: StreamConfig) -> None:
        """Raises: DatasetError: a dataset holds no sample."""
        for reader in readers:
            if not reader.num_samples:
                raise DatasetError(f"{getattr(reader, 'url', 'a dataset')}: its split holds no sample to train on.")
        self.readers, self.config = list(readers), config
        self.position = 0
        self._mixture = Interleave(config.parts)
        self._datasets = [DatasetStream(reader, k, config.seed, config.weights) for k, reader in enumerate(readers)]
        self._run = config.batch_size
        self._bucket: Picks | None = None
        self._before: dict[str, Any] = self._places()

    def take(self, count: int) -> Picks:
        """The next `count` samples."""
        if self.config.bucket_batches is None:
            found = self._mixed(self.position, count)
            self.position += count
            return found
        parts, missing = [Picks.empty(0)], count
        while missing:
            skip = self.position % self._bucket_size
            if self._bucket is None or not skip:
                self._bucket = self._next_bucket()
            part = self._bucket[skip : skip + missing]
            parts.append(part)
            missing -= len(part)
            self.position += len(part)
        return joined(parts)

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `go_on` continues."""
        inside = self.config.bucket_batches is not None and self.position % self._bucket_size
        places = self._before if inside else self._places()
        return {"law": LAW, "position": self.position, "run": self._run, **places}

    def go_on(self, state: dict[str, Any] | int) -> None:
        """Continue from a state, or from a number of samples, at any world size and batch size.

        Raises: TrainingError: a state of other datasets, or of another law.
        """
        if isinstance(state, int):
            self.position, self._bucket = state, None
            start = state if self.config.bucket_batches is None else state - state % self._bucket_size
            for dataset, taken in zip(self._datasets, self._mixture.counts(start), strict=True):
                dataset.seek(taken)
        else:
            self._check(state)
            self.position, self._run, self._bucket = state["position"], state["run"], None
            for dataset, place in zip(self._datasets, state["datasets"], strict=True):
                dataset.place = Place(place["epoch"], place["window"], place["offset"])
        if self.config.bucket_batches is not None and self.position % self._bucket_size:
            self._bucket = self._next_bucket()

    @property
    def _bucket_size(self) -> int:
        return self._run * (self.config.bucket_batches or 1)

    def _places(self) -> dict[str, Any]:
        return {
            "datasets": [
                {"manifest": dataset.reader.fingerprint, **asdict(dataset.place)} for dataset in self._datasets
            ]
        }

    def _check(self, state: dict[str, Any]) -> None:
        law, places = state.get("law"), state.get("datasets", [])
        if law != LAW:
            raise TrainingError(
                f"the loader's state is of law {law}, wanted {LAW}. Go on with the release that wrote it."
            )
        found = [place["manifest"][:12] for place in places]
        wanted = [reader.fingerprint[:12] for reader in self.readers]
        if found != wanted:
            raise TrainingError(
                f"the loader's state is of datasets with manifests {', '.join(found)}; here are {', '.join(wanted)}. "
                "Bring back the old shards, or begin a new run."
            )

    def _mixed(self, start: int, count: int) -> Picks:
        if len(self._datasets) == 1:
            return self._datasets[0].take(count)
        picked, out = self._mixture.pick(start, count), Picks.empty(count)
        for number, dataset in enumerate(self._datasets):
            rows = np.flatnonzero(picked == number)
            out.put(rows, dataset.take(len(rows)))
        return out

    def _next_bucket(self) -> Picks:
        """The bucket that `position` is in: its samples by length of text, cut into batches, those shuffled."""
        self._before = self._places()
        number = self.position // self._bucket_size
        picks = self._mixed(number * self._bucket_size, self._bucket_size)
        draws, lengths = Draws(self.config.seed, picks).uniform(TEXT_DRAW), np.zeros(len(picks), np.int64)
        for dataset, reader in enumerate(self.readers):
            rows = np.flatnonzero(picks.dataset == dataset)
            lengths[rows] = reader.text_bytes(picks.position[rows], draws[rows])
        batches = np.argsort(lengths, kind="stable").reshape(-1, self._run)
        deal = np.argsort(hashed(self.config.seed, 5, number, np.arange(len(batches))), kind="stable")
        return picks[batches[deal].reshape(-1)]
