"""Reading with an end to patience: a shard that gives nothing for too long counts as broken until it does.

A read of a file system or a store that hangs cannot be called off, so it is left to itself in its thread; its shard is
not asked again until that read is over. Without a limit this is the reader itself.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from pipeline.shard.reader import Example, Fault, ShardReader


class PatientReader:
    """`attempt` of a reader, within `limit_s` a shard; thread-safe."""

    def __init__(self, reader: ShardReader, limit_s: float | None) -> None:
        self.reader, self.limit_s = reader, limit_s
        self._slow: dict[str, Future[Any]] = {}

    def attempt(self, positions: np.ndarray) -> list[Example | Fault]:
        """As `ShardReader.attempt`."""
        if self.limit_s is None:
            return self.reader.attempt(positions)
        shards = self.reader.shards_of(positions)
        rows_of = {shard: [row for row, of in enumerate(shards) if of == shard] for shard in dict.fromkeys(shards)}
        reads = {shard: self._begin(shard, positions[rows]) for shard, rows in rows_of.items()}
        out: list[Any] = [None] * len(positions)
        for shard, rows in rows_of.items():
            for row, item in zip(rows, self._end(shard, reads[shard], len(rows)), strict=True):
                out[row] = item
        return out

    def _begin(self, shard: str, positions: np.ndarray) -> Future[Any] | None:
        """A read in a thread of its own; None while an earlier one of the shard hangs."""
        slow = self._slow.get(shard)
        if slow is not None and not slow.done():
            return None
        self._slow.pop(shard, None)
        read: Future[Any] = Future()
        threading.Thread(target=self._run, args=(read, positions), name=f"loader-read {shard}", daemon=True).start()
        return read

    def _run(self, read: Future[Any], positions: np.ndarray) -> None:
        try:
            read.set_result(self.reader.attempt(positions))
        except BaseException as error:
            read.set_exception(error)

    def _end(self, shard: str, read: Future[Any] | None, count: int) -> Sequence[Example | Fault]:
        if read is not None:
            try:
                return read.result(self.limit_s)
            except TimeoutError:
                if read.done():
                    raise
                self._slow[shard] = read
        found = f"{self.reader.url}/shards/{shard}: gave nothing for {self.limit_s:g} s (data.slow_s)"
        return [Fault(shard, f"{found}. Look at the store that it is on.")] * count
