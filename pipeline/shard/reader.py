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
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.errors import DatasetError, StoreError
from pipeline.recipe import RecipeTable
from pipeline.shard.manifest import ShardEntry, read_manifest
from pipeline.shard.permute import epoch_order, share_of
from pipeline.shard.ranges import RangeOptions, RangeReader, Span, SpanMissing
from pipeline.store import Store

_COLUMNS = ["key", "mime", "width", "height", "weight", "sha256", "media_offset", "media_size"]
_COMPANIONS = [f"companions.list.element.{name}" for name in ("role", "offset", "size")]
"""Only the indexes of shards that hold companions have these."""
_TEXT = "texts.list.element.text"
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


@dataclass(frozen=True, slots=True)
class _Index:
    """What is needed of a shard's parquet index, by row."""

    keys: pa.Array
    mimes: pa.Array
    texts: pa.Array
    width: np.ndarray
    height: np.ndarray
    weight: np.ndarray
    content_id: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    companions: pa.Array | None

    def companions_of(self, row: int) -> list[dict[str, Any]]:
        """Role, offset and size of each."""
        return [] if self.companions is None else self.companions[row].as_py() or []


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
        self._shards = manifest.split(split, self.url).shards
        self._sizes = [entry.samples for entry in self._shards]
        self._starts = np.concatenate(([0], np.cumsum(self._sizes, dtype=np.int64)))
        self.num_samples = int(self._starts[-1])
        window = self.config.window
        largest = sum(sorted((entry.bytes for entry in self._shards), reverse=True)[:window])
        whole = window if largest <= self.config.cache_bytes else 0
        self._ranges = RangeReader(
            self._store, RangeOptions(whole_files=whole, connections=self.config.connections, max_open=2 * window + 16)
        )
        self._indexes: OrderedDict[int, _Index] = OrderedDict()
        self._pid, self._lock = os.getpid(), threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.url, self.split, self.config, self.fingerprint)

    def __len__(self) -> int:
        return self.num_samples

    def order(self, *, seed: int, epoch: int) -> np.ndarray:
        """int64 permutation of range(num_samples), the same for every world size and worker count."""
        return epoch_order(self._sizes, self.config.window, seed=seed, epoch=epoch)

    def read(self, positions: Sequence[int] | np.ndarray) -> list[Example]:
        """The samples at `positions`, in that order.

        Raises: IndexError: a position outside [0, num_samples). DatasetError: a shard is missing, truncated, or
            contradicts its index.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        outside = wanted[(wanted < 0) | (wanted >= self.num_samples)]
        if len(outside):
            raise IndexError(f"{self.url} {self.split}: position {outside[0]}; it holds {self.num_samples} samples")
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        indexes = self._indexes_of(np.unique(shards).tolist())
        rows = wanted - self._starts[shards]
        places = list(zip(shards.tolist(), rows.tolist(), strict=True))
        spans, roles = [], []
        for shard, row in places:
            index, tar = indexes[shard], self._shards[shard].tar
            beside = index.companions_of(row)
            spans.append(Span(tar, int(index.offset[row]), int(index.size[row])))
            spans += [Span(tar, item["offset"], item["size"]) for item in beside]
            roles.append([item["role"] for item in beside])
        bodies = iter(self._read_spans(spans))
        return [
            _example(indexes[shard], row, next(bodies), tuple((role, next(bodies)) for role in of_row))
            for (shard, row), of_row in zip(places, roles, strict=True)
        ]

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
            for texts in _texts_of(self._table(entry, [_TEXT])).to_pylist():
                yield tuple(texts)

    def _indexes_of(self, shards: Sequence[int]) -> dict[int, _Index]:
        if self._store.is_local or len(shards) < 2:
            return {shard: self._index(shard) for shard in shards}
        with ThreadPoolExecutor(min(self.config.connections, len(shards))) as pool:
            return dict(zip(shards, pool.map(self._index, shards), strict=True))

    def _index(self, shard: int) -> _Index:
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()  # another thread may have held it at the fork
        with self._lock:
            found = self._indexes.get(shard)
            if found is not None:
                self._indexes.move_to_end(shard)
                return found
        companions = _COMPANIONS if self.config.companions == "read" else []
        loaded = _load(self._table(self._shards[shard], [*_COLUMNS, *companions, _TEXT]))
        with self._lock:
            self._indexes[shard] = loaded
            while len(self._indexes) > max(self.config.cached_indexes, 2 * self.config.window):
                self._indexes.popitem(last=False)
        return loaded

    def _table(self, entry: ShardEntry, columns: list[str]) -> pa.Table:
        try:
            with self._store.open(entry.index) as stream:
                table = pq.ParquetFile(stream).read(columns=columns, use_threads=False)
        except (StoreError, pa.ArrowException, OSError) as error:
            raise DatasetError(f"{self.url}/{entry.index}: cannot read: {error} {_remedy(entry)}") from error
        if table.num_rows != entry.samples:
            raise DatasetError(
                f"{self.url}/{entry.index}: holds {table.num_rows} samples, the manifest says {entry.samples}. "
                f"{_remedy(entry)}"
            )
        return table

    def _read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        try:
            return self._ranges.read(spans)
        except SpanMissing as error:
            entry = next(entry for entry in self._shards if entry.tar == error.span.name)
            raise DatasetError(f"{error} {_remedy(entry)}") from None


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


def _load(table: pa.Table) -> _Index:
    def numbers(name: str, dtype: type) -> np.ndarray:
        return np.nan_to_num(table.column(name).to_numpy()).astype(dtype)

    content = [
        content_id(digest, key)
        for digest, key in zip(table.column("sha256").to_pylist(), table.column("key").to_pylist(), strict=True)
    ]
    return _Index(
        keys=table.column("key").combine_chunks(),
        mimes=table.column("mime").combine_chunks().dictionary_encode(),
        texts=_texts_of(table),
        width=numbers("width", np.int32),
        height=numbers("height", np.int32),
        weight=numbers("weight", np.float32),
        content_id=np.array(content, np.int64),
        offset=numbers("media_offset", np.int64),
        size=numbers("media_size", np.int64),
        companions=table.column("companions").combine_chunks() if "companions" in table.column_names else None,
    )


def content_id(sha256: str | None, key: str) -> int:
    """The first 63 bits of a hex sha256; of the key's where the body's is unknown, so that nothing equals it."""
    digest = sha256 or hashlib.sha256(key.encode()).hexdigest()
    return int(digest[:16], 16) >> 1


def _texts_of(table: pa.Table) -> pa.Array:
    """list<string> per row, without the nulls; a sample without texts has an empty list."""
    rows = [
        [item["text"] for item in row or () if item["text"] is not None] for row in table.column("texts").to_pylist()
    ]
    return pa.array(rows, pa.list_(pa.string()))


def _example(index: _Index, row: int, media: bytes, companions: tuple[tuple[str, bytes], ...]) -> Example:
    return Example(
        key=index.keys[row].as_py(),
        media=media,
        mime=index.mimes[row].as_py() or "application/octet-stream",
        width=int(index.width[row]),
        height=int(index.height[row]),
        texts=tuple(index.texts[row].as_py()),
        weight=float(index.weight[row]),
        content_id=int(index.content_id[row]),
        companions=companions,
    )
