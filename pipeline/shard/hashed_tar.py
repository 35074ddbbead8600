"""A tar that knows its own sha256 and those of its members when it is closed, without reading anything twice.

Hashing costs more than all else that is done to a sample. It is left to two threads, one for the whole and one for the
members, while the caller prepares the next chunk; hashlib keeps the interpreter free meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from pipeline.tar import TarWriter


class HashedTar(TarWriter):
    """Writes like `TarWriter`; `sha256` and `digests` are complete once it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.digests: list[str] = []
        """sha256 of each member that was wanted, in their order."""
        self._whole = hashlib.sha256()
        self._unhashed: list[bytes] = []
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="sha256")
        self._running: tuple[Future[None], Future[list[str]]] | None = None

    @property
    def sha256(self) -> str:
        """sha256 of the whole file."""
        return self._whole.hexdigest()

    def add_hashed(self, stem: str, files: Sequence[tuple[str, bytes]], num_hashed: int) -> list[int]:
        """As `add_sample`; the digests of the first `num_hashed` files are wanted."""
        self._unhashed += [data for _, data in files[:num_hashed]]
        return self.add_sample(stem, files)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write the next bytes of the tar while they are hashed."""
        self._wait()
        members, self._unhashed = self._unhashed, []
        self._running = self._threads.submit(self._update, pieces), self._threads.submit(_digests, members)
        super().write(pieces)

    def close(self) -> None:
        """Write the end of the archive, and wait for the digests."""
        try:
            super().close()
            self._wait()
        finally:
            self._threads.shutdown()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._threads.shutdown()

    def _wait(self) -> None:
        """Until what is being hashed is done: one chunk at a time keeps the order, and memory low."""
        if self._running is not None:
            whole, members = self._running
            whole.result()
            self.digests += members.result()
            self._running = None

    def _update(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._whole.update(piece)


def _digests(members: Sequence[bytes]) -> list[str]:
    return [hashlib.sha256(data).hexdigest() for data in members]
