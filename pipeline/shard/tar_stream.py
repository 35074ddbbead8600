"""A tar read front to back from any store, a block ahead: its members, its size and its sha256 from one pass.

Takes a tar that `TarWriter` wrote; refuses any other with the words of `pipeline.tar`, and goes on hashing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.store import Store
from pipeline.tar import BLOCK, walk_headers

_READ_BYTES = 8 << 20
"""Bytes of one read: a remote one costs about as long as its latency."""
_PIECE = 1 << 20


@dataclass
class StreamedMember:
    """A member whose bytes have not been read yet; they are gone once the next one is asked for."""

    name: str
    data_offset: int
    data_size: int
    _stream: TarStream

    def read(self) -> bytes:
        """All its bytes."""
        return self._stream.take(self.data_size)

    def sha256(self) -> str:
        """sha256 of its bytes."""
        digest, left = hashlib.sha256(), self.data_size
        while left and (piece := self._stream.take(min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
        return digest.hexdigest()


class TarStream:
    """Iterates over the members of a tar; `finish` reads what is left, and gives size and sha256 of the whole."""

    def __init__(self, source: _Blocks, blocks: Iterator[bytes]) -> None:
        self._source, self._blocks = source, blocks
        self._size = source.size
        self._block = memoryview(b"")
        self._position = 0

    @classmethod
    @contextmanager
    def open(cls, dataset: Store, name: str) -> Iterator[TarStream]:
        """The tar called `name`. Raises: StoreError: it is not there, or cannot be read."""
        source = _Blocks(dataset, name)
        with ThreadPoolExecutor(1, thread_name_prefix="tar") as ahead:
            yield cls(source, source.read(ahead))

    def __iter__(self) -> Iterator[StreamedMember]:
        """The members in order. Raises: ValueError: a header that pairmill does not write, or no end of the archive."""
        for member in walk_headers(self._block_at, self._size):
            yield StreamedMember(member.name, member.data_offset, member.data_size, self)

    def take(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end of the file alone."""
        pieces = []
        while size and self._load():
            piece = self._block[:size]
            pieces.append(piece)
            self._advance(len(piece))
            size -= len(piece)
        return b"".join(pieces)

    def finish(self) -> tuple[int, str]:
        """Read to the end: bytes and sha256 of the file."""
        while self._load():
            self._advance(len(self._block))
        return self._position, self._source.digest.hexdigest()

    def _block_at(self, offset: int) -> bytes:
        self._skip(offset - self._position)
        return self.take(BLOCK)

    def _skip(self, size: int) -> None:
        while size and self._load():
            passed = min(size, len(self._block))
            self._advance(passed)
            size -= passed

    def _advance(self, size: int) -> None:
        self._block = self._block[size:]
        self._position += size

    def _load(self) -> bool:
        """Whether there are bytes left."""
        if not self._block:
            self._block = memoryview(next(self._blocks, b""))
        return bool(self._block)


class _Blocks:
    """The bytes of a file, block by block, each read and hashed while the one before is used."""

    def __init__(self, dataset: Store, name: str) -> None:
        self.dataset, self.name = dataset, name
        self.size = dataset.size(name)
        self.digest = hashlib.sha256()

    def read(self, ahead: ThreadPoolExecutor) -> Iterator[bytes]:
        starts = range(0, self.size, _READ_BYTES)
        coming = ahead.submit(self._one, 0) if starts else None
        for following in [*starts[1:], None]:
            if coming is None:
                return
            block = coming.result()
            coming = None if following is None else ahead.submit(self._one, following)
            yield block

    def _one(self, start: int) -> bytes:
        block = self.dataset.read_range(self.name, start, min(_READ_BYTES, self.size - start))
        self.digest.update(block)
        return block
