"""The threads that treat bodies while the event loop fetches others, and write what becomes of their rows.

Takes bodies from the loop, in any order. Gives outcomes to the writer of the part, one thread at a time. Nothing goes
back to the loop but room: a hand-over that finds too many bodies waiting is held until half of them are gone, so that
the two sides take long turns instead of waking each other for every image.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from pipeline.ingest.fetch.outcome import Outcome, Place, Promise, Treatment, treat_body
from pipeline.ingest.fetch.raw import RawWriter


class Decoders:
    """Threads around one writer. Use as `async with`; leaving the block waits for all bodies.

    `most_waiting`: bodies in memory beside those that are being treated.
    """

    def __init__(self, writer: RawWriter, treatment: Treatment, num_threads: int, most_waiting: int) -> None:
        self._writer, self._treatment = writer, treatment
        self._most, self._few = most_waiting, most_waiting // 2
        self._bodies: deque[tuple[Sequence[Place], Promise, bytes]] = deque()
        self._lock = threading.Lock()
        self._work_or_end = threading.Condition(self._lock)
        self._writing = threading.Lock()
        self._ending = False
        self._error: BaseException | None = None
        self._room, self._ended = asyncio.Event(), asyncio.Event()
        self._running = num_threads
        self._threads = [threading.Thread(target=self._run, name=f"decode-{k}") for k in range(num_threads)]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._room.set()
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ending = True
            if error is not None:
                self._bodies.clear()
            self._work_or_end.notify_all()
        await self._ended.wait()
        for thread in self._threads:
            thread.join()
        if error is None and self._error is not None:
            raise self._error

    async def treat(self, rows: Sequence[Place], promise: Promise, body: bytes) -> None:
        """Hand over a body; `promise.hashes` are those of `rows`. Raises: what a thread met."""
        await self._room.wait()
        with self._lock:
            if self._error is not None:
                raise self._error
            self._bodies.append((rows, promise, body))
            if len(self._bodies) >= self._most:
                self._room.clear()
            self._work_or_end.notify()

    def put(self, rows: Sequence[Place], outcome: Outcome) -> None:
        """Settle rows that have no body."""
        with self._writing:
            for row in rows:
                self._writer.put(row, outcome)

    def _run(self) -> None:
        try:
            while (task := self._next()) is not None:
                rows, promise, body = task
                treated = treat_body(body, promise, self._treatment)
                with self._writing:
                    for row, promised in zip(rows, promise.hashes, strict=True):
                        self._writer.put(row, treated.for_row(promised))
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
                self._bodies.clear()
                self._work_or_end.notify_all()
            self._make_room()
        with self._lock:
            self._running -= 1
            is_last = self._running == 0
        if is_last:
            self._loop.call_soon_threadsafe(self._ended.set)

    def _next(self) -> tuple[Sequence[Place], Promise, bytes] | None:
        """The next body; None where there will be none."""
        with self._lock:
            while not self._bodies:
                if self._ending or self._error is not None:
                    return None
                self._work_or_end.wait()
            task = self._bodies.popleft()
            is_few = len(self._bodies) == self._few
        if is_few:
            self._make_room()
        return task

    def _make_room(self) -> None:
        self._loop.call_soon_threadsafe(self._room.set)
