"""Names to addresses: looked up ahead of their turn, in threads, and kept.

A list names most hosts once, so nearly every row waits for a lookup; looked up ahead, it holds no place among the
requests in flight while it waits. What a name resolves to is judged where the socket is made, not here (guard.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol

from yarl import URL

from pipeline.ingest.fetch.blocklist import BlockList
from pipeline.ingest.fetch.guard import literal

_MOST_KEPT = 100_000
_AT_ONCE = 64
"""Lookups ahead at once, of the 256 threads that the stage gives to lookups."""


class Resolver(Protocol):
    """What knows the addresses of names."""

    async def resolve(self, host: str) -> list[str]:
        """The addresses of `host`, the best first. Raises: OSError: it has none."""
        ...


class Names:
    """Resolves by `source`, the system's resolver where there is none, and keeps answers for `kept_s`."""

    def __init__(self, kept_s: float, source: Resolver | None = None) -> None:
        self._kept_s = kept_s
        self._source: Resolver = SystemResolver() if source is None else source
        self._kept: dict[str, tuple[float, list[str]]] = {}
        self._asked: dict[str, asyncio.Task[list[str]]] = {}

    async def resolve(self, host: str) -> list[str]:
        """The addresses of `host`, each time beginning with another. Raises: OSError: it has none."""
        if self._kept_s <= 0:
            return await self._source.resolve(host)
        expires, found = self._kept.get(host, (0.0, []))
        if time.monotonic() >= expires:
            found = await self._lookup(host)
        elif len(found) > 1:
            found.append(found.pop(0))
        return list(found)

    async def look_ahead(self, hosts: Iterable[str]) -> None:
        """Look up `hosts` in order. What fails is told to the first who asks for it, and looked up again after that."""
        if self._kept_s <= 0:
            return
        waiting = iter(hosts)

        async def work() -> None:
            for host in waiting:
                if host not in self._kept and host not in self._asked:
                    await asyncio.wait([self._task(host)])

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

    async def close(self) -> None:
        """Give up what is still being looked up."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _lookup(self, host: str) -> list[str]:
        task = self._asked.get(host) or self._task(host)
        try:
            return await asyncio.shield(task)  # a row that is out of time does not take the answer from the others
        finally:
            if task.done():
                self._asked.pop(host, None)

    def _task(self, host: str) -> asyncio.Task[list[str]]:
        task = self._asked[host] = asyncio.create_task(self._keep(host))
        return task

    async def _keep(self, host: str) -> list[str]:
        found = list(await self._source.resolve(host))
        if len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[host] = (time.monotonic() + self._kept_s, found)
        self._asked.pop(host, None)
        return found


@contextlib.asynccontextmanager
async def looked_up_ahead(names: Names, urls: Iterable[str], block: BlockList) -> AsyncIterator[None]:
    """Inside the block, the hosts of `urls` are looked up in the order in which they come; blocked ones are not."""
    ahead = asyncio.create_task(names.look_ahead(_hosts(urls, block)))
    try:
        yield
    finally:
        ahead.cancel()
        await asyncio.wait([ahead])


def _hosts(urls: Iterable[str], block: BlockList) -> Iterator[str]:
    seen: set[str] = set()
    origins: set[str] = set()
    for text in urls:
        origin = text.split("/", 3)[2:3]
        if not origin or origin[0] in origins:
            continue
        origins.update(origin)
        try:
            url = URL(text)
            host = url.raw_host
        except (ValueError, TypeError):  # the row's own try says what is wrong with it
            continue
        if host and host not in seen and url.scheme in ("http", "https") and literal(host) is None:
            seen.add(host)
            if block.of_url(url) is None:
                yield host


class SystemResolver:
    """Asks the system, in the threads of the loop's executor: the lookups of uvloop itself would share four."""

    async def resolve(self, host: str) -> list[str]:
        """The addresses of `host` in the system's order. Raises: OSError: it has none."""
        found = await asyncio.get_running_loop().run_in_executor(None, _addresses, host)
        return list(dict.fromkeys(found))


def _addresses(host: str) -> list[str]:
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(where[0]) for family, _, _, _, where in answers if family in (socket.AF_INET, socket.AF_INET6)]
