"""Connections kept for the next request to the same origin: for a while, and no more than a process has sockets for."""

from __future__ import annotations

import asyncio

from pipeline.ingest.fetch.http1 import SHARED_BYTES, Connection

_KEPT_S = 15.0
_MOST_IDLE = 256
"""A list of many hosts would else hold a socket for each that it has seen in the last seconds."""


class Pool:
    """All connections of a client. To be used inside one running event loop."""

    def __init__(self) -> None:
        self._shared = memoryview(bytearray(SHARED_BYTES))
        self._all: set[Connection] = set()
        self._by_key: dict[str, list[Connection]] = {}
        self._idle: dict[Connection, None] = {}
        """In the order in which they came back."""
        self._sweep: asyncio.TimerHandle | None = None

    def make(self, key: str) -> Connection:
        """A connection not yet open."""
        connection = Connection(key, self._shared, self._forget)
        self._all.add(connection)
        return connection

    def take(self, key: str) -> Connection | None:
        """The connection to `key` that was used last, if one is idle; now the caller's."""
        while (waiting := self._by_key.get(key)) is not None:
            connection = waiting[-1]
            self._drop_idle(connection)
            if connection.is_open:
                return connection
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for others, if it is still good."""
        if not connection.is_open:
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._by_key.setdefault(connection.key, []).append(connection)
        self._idle[connection] = None
        if len(self._idle) > _MOST_IDLE:
            self._close(next(iter(self._idle)))
        if self._sweep is None:
            self._sweep = loop.call_later(_KEPT_S / 3, self._close_old)

    def close(self) -> None:
        """Close all connections, also those in use."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._all):
            connection.abort()

    def _close_old(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._idle and now - (oldest := next(iter(self._idle))).idle_since > _KEPT_S:
            self._close(oldest)
        again = bool(self._idle)
        self._sweep = asyncio.get_running_loop().call_later(_KEPT_S / 3, self._close_old) if again else None

    def _close(self, connection: Connection) -> None:
        connection.abort()
        self._drop_idle(connection)

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._drop_idle(connection)

    def _drop_idle(self, connection: Connection) -> None:
        del self._idle[connection]
        waiting = self._by_key[connection.key]
        waiting.remove(connection)  # few, since a host has few at once
        if not waiting:
            del self._by_key[connection.key]
