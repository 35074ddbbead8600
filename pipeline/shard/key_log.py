"""Which keys come twice among very many: their hashes go to disk by range, and come back range by range.

12 bytes a key: 64 bits of hash and the number of the shard. Two keys with one hash are only suspects; who asks looks at
the keys themselves.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline.shuffle import read_parquet
from pipeline.store import Store

_RANGES = 256
_ENTRY = np.dtype([("hash", np.uint64), ("shard", np.uint32)])


def hashes_of(keys: Iterable[str]) -> np.ndarray:
    """[keys] uint64 hashes."""
    return np.frombuffer(b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys), np.uint64)


def keys_of(dataset: Store, index: str) -> list[str]:
    """The keys of a shard, by its index."""
    return read_parquet(dataset, index, ["key"]).column("key").to_pylist()


class KeyLog:
    """Takes the hashes of one shard after the other; names the shards that may share a key."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pairmill-keys-")

    def add(self, shard: int, hashes: np.ndarray) -> None:
        """Take the hashes of the keys of shard number `shard`."""
        entries = np.empty(len(hashes), _ENTRY)
        entries["hash"], entries["shard"] = np.sort(hashes), shard
        ranges = (entries["hash"] >> np.uint64(56)).astype(np.int64)
        starts = np.searchsorted(ranges, np.arange(_RANGES + 1))
        for number in np.unique(ranges).tolist():
            with self._path(number).open("ab") as stream:
                stream.write(entries[starts[number] : starts[number + 1]].tobytes())

    def suspects(self) -> dict[int, set[int]]:
        """Shard -> those of its hashes that come more than once."""
        found: dict[int, set[int]] = {}
        for value, shards in self._repeated():
            for shard in shards:
                found.setdefault(shard, set()).add(value)
        return found

    def _repeated(self) -> Iterator[tuple[int, frozenset[int]]]:
        """(hash, shards) of each hash that comes more than once."""
        for number in range(_RANGES):
            if not self._path(number).exists():
                continue
            entries = np.fromfile(self._path(number), _ENTRY)
            values, counts = np.unique(entries["hash"], return_counts=True)
            for value in values[counts > 1].tolist():
                yield value, frozenset(entries["shard"][entries["hash"] == value].tolist())

    def close(self) -> None:
        """Remove what is on disk."""
        self._folder.cleanup()

    def __enter__(self) -> KeyLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number:03d}"
