"""A small file that speaks for a whole origin, such as robots.txt: asked for once per origin and part.

Takes a way to ask for a URL, and what to make of the answer. Gives that to everyone who asks about a URL of the origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from yarl import URL

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.record import RETRYABLE

MAX_BYTES = 500 * 1024
"""What RFC 9309 (2.5) wants a crawler to read of a robots.txt at least; no file of this kind is longer."""

File = TypeVar("File")
Ask = Callable[[str], Awaitable[Answer]]
"""Tries a URL once, as `Client.try_once` does."""


def settings_of_files(config: FetchConfig) -> FetchConfig:
    """The settings by which such files are asked for: they are rules, not media, so no opt-out holds for them."""
    return config.model_copy(update={"max_bytes": MAX_BYTES, "max_redirects": 5, "policy": "ignore"})


class OriginFiles(Generic[File]):
    """The files at `path` of one part's origins, each read by `read` from the last of its tries."""

    def __init__(self, path: str, config: FetchConfig, ask: Ask, read: Callable[[Answer], Awaitable[File]]) -> None:
        self._path, self._config = path, config
        self._ask, self._read = ask, read
        self._files: dict[URL, asyncio.Task[File]] = {}

    async def of(self, url: URL) -> File | None:
        """The file that speaks for `url`; None for what the guard refuses anyway."""
        if url.scheme not in ("http", "https") or not url.host or url.user is not None or url.password is not None:
            return None
        origin = url.origin()
        task = self._files.get(origin)
        if task is None:
            task = self._files[origin] = asyncio.create_task(self._fetch(origin))
        if task.done():
            return task.result()
        return await asyncio.shield(task)  # a row that is out of time does not take the file from the others

    async def _fetch(self, origin: URL) -> File:
        config = self._config
        for tries in range(config.retries + 1):
            answer = await self._ask(str(origin.with_path(self._path)))
            wait_s = max(config.backoff_s * 2**tries, answer.wait_s or 0.0)
            if answer.status not in RETRYABLE or tries == config.retries or wait_s > config.max_wait_s:
                break
            await asyncio.sleep(wait_s)
        return await self._read(answer)
