"""Reads finished shards: random access by position, and an epoch split over ranks and workers without overlap.

    reader = ShardReader("s3://bucket/dataset", split="train")
    order = reader.order(seed=0, epoch=3)            # the same on every rank
    examples = reader.read(order[:256])              # undecoded bytes, in that order

Only the manifest is read at the start; the index of a shard when the first of its samples is. Local media are read
with `pread`, remote ones by byte range, or by whole shard where the shards of a window fit into the cache.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.errors import DatasetError, StoreError
from pipeline.recipe import RecipeTable
from pipeline.shard.manifest import MANIFEST, ShardEntry, Split, read_manifest
from pipeline.shard.permute import EpochOrder, epoch_order, share_of
from pipeline.shard.ranges import RangeOptions, RangeReader, Span, SpanMissing
from pipeline.shard.rows import TEXT, Index, Texts, chosen, load_index
from pipeline.store import Store
from pipeline.tar import BLOCK

_READ_AHEAD = 256


@dataclass(frozen=True, slots=True)
class Example:
    """One sample, undecoded.

    `content_id` is the first 63 bits of the sha256 of the body as fetched: equal where the same file came twice.
    """

    key: str
    media: bytes
    mime: str
    width: int
    height: int
    texts: tuple[str, ...]
    weight: float
    content_id: int
    companions: tuple[tuple[str, bytes], ...] = ()
    """Role and bytes of each, as they were received."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a sample cannot be had: the shard it is of, and the whole sentence, with what to do."""

    shard: str
    reason: str


class ReaderConfig(RecipeTable):
    """How shards are read."""

    window: int = Field(default=8, ge=1)
    """Shards whose samples are mixed within an epoch. Part of the order: another window is another order."""
    cache_bytes: int = Field(default=256 << 20, ge=0)
    """Memory of one process for whole remote shards; used where a window fits, else exact ranges are read."""
    cached_indexes: int = Field(default=32, ge=1)
    """Shard indexes kept in memory, about 200 bytes a sample; at least two windows are always kept."""
    connections: int = Field(default=16, ge=1)
    """Remote requests at once."""
    companions: Literal["read", "skip"] = "read"
    """Whether examples come with their companions; who needs no masks saves their bytes."""
    check: Literal["shards", "media"] = "shards"
    """What is checked while reading. `shards`: each index by its sha256, each tar by its size and first header.
    `media`: each medium by its sha256 as well, which costs about 1 ms of CPU per MB."""


@dataclass(frozen=True, slots=True)
class _Open:
    """The index of a shard, and why its media cannot be had, if so."""

    index: Index
    fault: Fault | None


class ShardReader:
    """The samples of one split of a dataset folder, by position in [0, num_samples). `read` is thread-safe."""

    def __init__(self, url: str, split: str = "train", config: ReaderConfig | None = None) -> None:
        """Open `split` of the dataset folder at `url`, local or remote.

        Raises: DatasetError: no finished dataset there, or no such split.
        """
        self.url, self.split, self.config = url, split, config or ReaderConfig()
        self._store = Store(url.rstrip("/") or url)
        manifest = read_manifest(self._store)
        self.fingerprint = manifest.fingerprint()
        """sha256 of the manifest: another one is another dataset."""
        self._shards = _checked(manifest.split(split, self.url), f"{self.url}/{MANIFEST}")
        self._sizes = [entry.samples for entry in self._shards]
        self._starts = np.concatenate(([0], np.cumsum(self._sizes, dtype=np.int64)))
        self.num_samples = int(self._starts[-1])
        window = self.config.window
        largest = sum(sorted((entry.bytes for entry in self._shards), reverse=True)[:window])
        whole = window if largest <= self.config.cache_bytes else 0
        self._ranges = RangeReader(
            self._store, RangeOptions(whole_files=whole, connections=self.config.connections, max_open=2 * window + 16)
        )
        self._shards_open: OrderedDict[int, _Open] = OrderedDict()
        self._broken: dict[int, Fault] = {}
        self._pid, self._lock = os.getpid(), threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.url, self.split, self.config, self.fingerprint)

    def __len__(self) -> int:
        return self.num_samples

    def order(self, *, seed: int, epoch: int) -> np.ndarray:
        """int64 permutation of range(num_samples), the same for every world size and worker count."""
        return epoch_order(self._sizes, self.config.window, seed=seed, epoch=epoch)

    def windows(self, *, seed: int, epoch: int) -> EpochOrder:
        """The same order, a window of shards at a time."""
        return EpochOrder(self._sizes, self.config.window, seed=seed, epoch=epoch)

    def read(self, positions: Sequence[int] | np.ndarray) -> list[Example]:
        """The samples at `positions`, in that order.

        Raises: IndexError: a position outside [0, num_samples). DatasetError: a shard is missing, truncated, or
            contradicts its index or the manifest.
        """
        found = self.attempt(positions)
        fault = next((item for item in found if isinstance(item, Fault)), None)
        if fault is not None:
            raise DatasetError(fault.reason)
        return found  # type: ignore[return-value]

    def attempt(self, positions: Sequence[int] | np.ndarray) -> list[Example | Fault]:
        """As `read`, with a fault in the place of each sample that cannot be had."""
        places = self._places(positions)
        shards = sorted({shard for shard, _ in places})
        found = dict(zip(shards, self._open_all(shards), strict=True))
        indexes = {shard: item.index for shard, item in found.items() if isinstance(item, _Open) and item.fault is None}
        whole = [place for place in places if place[0] in indexes]
        try:
            examples = self._examples(whole, indexes)
        except (DatasetError, StoreError):
            examples = {place: self._alone(place, indexes) for place in whole}  # to learn whose fault it is
        return [examples[place] if place in examples else _fault_of(found[place[0]]) for place in places]

    def shards_of(self, positions: Sequence[int] | np.ndarray) -> list[str]:
        """Name of the shard of each sample."""
        return [self._shards[shard].name for shard, _ in self._places(positions)]

    def weights(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 weight of each sample, from the indexes alone. Raises: DatasetError: an index cannot be had."""
        places = self._places(positions)
        shards, rows = np.array(places, np.int64).reshape(-1, 2).T
        out = np.zeros(len(places), np.float32)
        for shard, index in self._each_index(shards):
            here = shards == shard
            out[here] = index.weight[rows[here]]
        return out

    def text_bytes(self, positions: Sequence[int] | np.ndarray, draws: np.ndarray) -> np.ndarray:
        """int64 bytes of the text of each sample that its draw in [0, 1) chooses; 0 where it has none.

        Raises: DatasetError: an index cannot be had.
        """
        places = self._places(positions)
        shards, rows = np.array(places, np.int64).reshape(-1, 2).T
        out = np.zeros(len(places), np.int64)
        for shard, index in self._each_index(shards):
            here = shards == shard
            choice = chosen(index.texts, rows[here], draws[here])
            sizes = np.append(index.texts.num_bytes(), 0)  # -1, no text, is the one at the end
            out[here] = sizes[choice]
        return out

    def share(
        self, *, seed: int, epoch: int, rank: int = 0, world_size: int = 1, worker: int = 0, num_workers: int = 1
    ) -> Iterator[Example]:
        """The samples of one worker of one rank, in the order of the epoch.

        Over all ranks and workers, every sample of the split comes exactly once.
        """
        order = self.order(seed=seed, epoch=epoch)
        mine = share_of(order, rank=rank, world_size=world_size, worker=worker, num_workers=num_workers)
        for start in range(0, len(mine), _READ_AHEAD):
            yield from self.read(mine[start : start + _READ_AHEAD])

    def texts(self) -> Iterator[tuple[str, ...]]:
        """The texts of all samples by position, from the indexes alone."""
        for entry in self._shards:
            try:
                table = pq.ParquetFile(pa.BufferReader(self._index_bytes(entry))).read(
                    columns=[TEXT], use_threads=False
                )
            except pa.ArrowException as error:
                raise DatasetError(f"{self.url}/{entry.index}: cannot read: {error} {_remedy(entry)}") from error
            texts = Texts.of(table)
            for row in range(table.num_rows):
                yield texts.of_row(row)

    def _places(self, positions: Sequence[int] | np.ndarray) -> list[tuple[int, int]]:
        """Shard and row of each position."""
        wanted = np.asarray(positions, dtype=np.int64)
        outside = wanted[(wanted < 0) | (wanted >= self.num_samples)]
        if len(outside):
            raise IndexError(f"{self.url} {self.split}: position {outside[0]}; it holds {self.num_samples} samples")
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        return list(zip(shards.tolist(), (wanted - self._starts[shards]).tolist(), strict=True))

    def _each_index(self, shards: np.ndarray) -> Iterator[tuple[int, Index]]:
        numbers = np.unique(shards).tolist()
        for shard, found in zip(numbers, self._open_all(numbers), strict=True):
            if isinstance(found, Fault):
                raise DatasetError(found.reason)
            yield shard, found.index

    def _open_all(self, shards: Sequence[int]) -> list[_Open | Fault]:
        if self._store.is_local or len(shards) < 2:
            return [self._open(shard) for shard in shards]
        with ThreadPoolExecutor(min(self.config.connections, len(shards))) as pool:
            return list(pool.map(self._open, shards))

    def _open(self, shard: int) -> _Open | Fault:
        """A shard's index, and what is wrong with its tar. A fault of an index is found once, and remembered."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()  # another thread may have held it at the fork
        with self._lock:
            if shard in self._broken:
                return self._broken[shard]
            found = self._shards_open.get(shard)
            if found is not None:
                self._shards_open.move_to_end(shard)
                return found
        entry = self._shards[shard]
        try:
            index = self._load(entry)
        except DatasetError as error:
            return self._broken.setdefault(shard, Fault(entry.name, str(error)))
        except StoreError as error:  # of the network, perhaps: the next one who asks tries again
            return Fault(entry.name, f"{error} {_remedy(entry)}")
        opened = _Open(index, self._tar_fault(entry, index))
        with self._lock:
            self._shards_open[shard] = opened
            while len(self._shards_open) > max(self.config.cached_indexes, 2 * self.config.window):
                self._shards_open.popitem(last=False)
        return opened

    def _load(self, entry: ShardEntry) -> Index:
        """Raises: DatasetError: the index is not what the manifest says, or a key stands in it twice."""
        where = f"{self.url}/{entry.index}"
        try:
            index = load_index(self._index_bytes(entry), self.config.companions == "read")
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DatasetError(f"{where}: cannot read: {error} {_remedy(entry)}") from error
        if len(index.keys) != entry.samples:
            wanted = f"holds {len(index.keys)} samples, the manifest says {entry.samples}"
            raise DatasetError(f"{where}: {wanted}. {_remedy(entry)}")
        twice = index.key_twice()
        if twice is not None:
            raise DatasetError(f"{where}: key {twice} stands in two rows; a key names one sample. {_remedy(entry)}")
        return index

    def _index_bytes(self, entry: ShardEntry) -> bytes:
        where = f"{self.url}/{entry.index}"
        try:
            body = self._store.read_bytes(entry.index)
        except StoreError as error:
            if self._store.exists(entry.index):
                raise
            raise DatasetError(f"{where}: missing. {_remedy(entry)}") from error
        digest = hashlib.sha256(body).hexdigest()
        if digest != entry.index_sha256:
            found = f"altered, or of another dataset: sha256 {digest[:12]}, the manifest says {entry.index_sha256[:12]}"
            raise DatasetError(f"{where}: cannot read: {found}. {_remedy(entry)}")
        return body

    def _tar_fault(self, entry: ShardEntry, index: Index) -> Fault | None:
        try:
            self._check_tar(entry, index)
        except (DatasetError, StoreError) as error:
            return Fault(entry.name, str(error))
        return None

    def _check_tar(self, entry: ShardEntry, index: Index) -> None:
        """Its size, which also tells a tar cut between two members, and the name in its first header."""
        where = f"{self.url}/{entry.tar}"
        try:
            size = self._store.size(entry.tar)
        except StoreError as error:
            if self._store.exists(entry.tar):
                raise
            raise DatasetError(f"{where}: there is no such file. {_remedy(entry)}") from error
        if size != entry.bytes:
            state = "truncated" if size < entry.bytes else "too long"
            raise DatasetError(f"{where}: {size} bytes ({state}), the manifest says {entry.bytes}. {_remedy(entry)}")
        if index.members and index.members[0]:
            start = int(index.start[0])
            name = self._read_spans([Span(entry.tar, start, BLOCK)])[0][:100].rstrip(b"\0").decode("ascii", "replace")
            if name != index.members[0]:
                found = f"byte {start} begins member {name!r}, the index says {index.members[0]!r}"
                raise DatasetError(f"{where}: {found}: of another dataset, or altered. {_remedy(entry)}")

    def _alone(self, place: tuple[int, int], indexes: dict[int, Index]) -> Example | Fault:
        try:
            return self._examples([place], indexes)[place]
        except (DatasetError, StoreError) as error:
            return Fault(self._shards[place[0]].name, str(error))

    def _examples(self, places: Sequence[tuple[int, int]], indexes: dict[int, Index]) -> dict[tuple[int, int], Example]:
        spans, roles = [], []
        for shard, row in places:
            index, tar = indexes[shard], self._shards[shard].tar
            beside = index.companions_of(row)
            spans.append(Span(tar, int(index.offset[row]), int(index.size[row])))
            spans += [Span(tar, item["offset"], item["size"]) for item in beside]
            roles.append([item["role"] for item in beside])
        bodies = iter(self._read_spans(spans))
        made = {}
        for (shard, row), of_row in zip(places, roles, strict=True):
            media, companions = next(bodies), tuple((role, next(bodies)) for role in of_row)
            if self.config.check == "media":
                self._check_media(self._shards[shard], indexes[shard], row, media)
            made[shard, row] = _example(indexes[shard], row, media, companions)
        return made

    def _check_media(self, entry: ShardEntry, index: Index, row: int, media: bytes) -> None:
        wanted, found = index.media_sha256[row], hashlib.sha256(media).hexdigest()
        if wanted is not None and wanted != found:
            member = f"{self.url}/{entry.tar}: sample {index.keys[row]}"
            raise DatasetError(f"{member}: altered: sha256 {found[:12]}, wanted {wanted[:12]}. {_remedy(entry)}")

    def _read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        try:
            return self._ranges.read(spans)
        except SpanMissing as error:
            entry = next(entry for entry in self._shards if entry.tar == error.span.name)
            raise DatasetError(f"{error} {_remedy(entry)}") from None


def _checked(split: Split, where: str) -> tuple[ShardEntry, ...]:
    """The shards of a split that does not contradict itself."""
    samples = sum(entry.samples for entry in split.shards)
    names = {entry.name for entry in split.shards}
    if samples != split.samples or len(names) != len(split.shards):
        raise DatasetError(
            f"{where}: its split holds {split.samples} samples, its {len(names)} shards {samples}, in "
            f"{len(split.shards)} entries: damaged. Delete it, and run `pairmill shard` again."
        )
    return split.shards


def _fault_of(found: _Open | Fault) -> Fault:
    fault = found.fault if isinstance(found, _Open) else found
    assert fault is not None, "a shard without fault gives its samples, or each its own fault"
    return fault


def _reopen(url: str, split: str, config: ReaderConfig, fingerprint: str) -> ShardReader:
    reader = ShardReader(url, split, config)
    if reader.fingerprint != fingerprint:
        raise DatasetError(
            f"{url}: the manifest changed while it was being read (was {fingerprint[:12]}, is "
            f"{reader.fingerprint[:12]}). Start the run again on the new shards, or give it a copy of the old."
        )
    return reader


def _remedy(entry: ShardEntry) -> str:
    part = entry.name.removesuffix(".tar").replace("/", "-")
    return (
        f"If the dataset is a copy, copy shards/{entry.name} and its parquet again; else delete "
        f"commits/cut/{part}.json and run `pairmill shard`."
    )


def _example(index: Index, row: int, media: bytes, companions: tuple[tuple[str, bytes], ...]) -> Example:
    return Example(
        key=index.keys[row],
        media=media,
        mime=index.mimes[row] or "application/octet-stream",
        width=int(index.width[row]),
        height=int(index.height[row]),
        texts=index.texts.of_row(row),
        weight=float(index.weight[row]),
        content_id=int(index.content_id[row]),
        companions=companions,
    )
