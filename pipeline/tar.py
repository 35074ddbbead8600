"""Tar files whose bytes depend on their members alone: fixed order, mtime, owner and mode, headers by hand.

A hand-packed ustar header costs a microsecond, against about 100 for `tarfile`. Members larger than the
8 GiB of an octal size field, or with names over 100 bytes, do not occur here and are refused. `TarWriter` takes
(name, bytes) and gives where they lie; `read_members` walks the headers back and refuses any other tar.

Source: the ustar interchange format of POSIX.1-1988, as `tarfile.USTAR_FORMAT` writes it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

BLOCK = 512
_RECORD = 20 * BLOCK
_MTIME = b"00000000000\0"
_MODE_AND_OWNER = b"0000444\0" + b"0000000\0" + b"0000000\0"
_AFTER_CHECKSUM = b"0" + b"\0" * 100 + b"ustar\x0000" + b"\0" * (32 + 32 + 8 + 8 + 155 + 12)
_FIXED_SUM = sum(_MODE_AND_OWNER) + sum(_MTIME) + sum(b" " * 8) + sum(_AFTER_CHECKSUM)
_AFTER_NAME = [b"\0" * (100 - length) + _MODE_AND_OWNER for length in range(101)]
_PADDING = [b"\0" * (-size % BLOCK) for size in range(BLOCK)]
_MAX_SIZE = 8**11
_NAME = re.compile(r"[\x21-\x7e][\x20-\x7e]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
"""Names that need no second look: every member of a shard has one."""
_STEM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENDING = re.compile(r"[a-z0-9_.]{1,35}")
_CHUNK = 1 << 20
"""Bytes that are written at once: few enough to stay in a processor's cache from one use to the next."""
_SMALL = 4 << 10
"""Bytes of a member below which it is copied into one piece with its neighbours; larger ones are never copied."""
_MOST_PIECES = 1024
"""As many as POSIX systems take in one call."""

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a tar: `data_offset`, `data_size` are its bytes; `offset` is where its header begins."""

    name: str
    offset: int
    data_offset: int
    data_size: int

    @property
    def end(self) -> int:
        """Where the next header begins: behind the bytes and their padding."""
        return self.data_offset + self.data_size + (-self.data_size % BLOCK)


def header(name: str, size: int) -> bytes:
    """The 512-byte ustar header of a read-only regular file, mtime 0, owner 0.

    Raises: ValueError: the name is not a relative path of at most 100 printable ASCII characters, or the size
        is 8 GiB or more.
    """
    if _PLAIN_NAME.fullmatch(name) is None:
        _check_name(name)
    if size >= _MAX_SIZE:
        raise ValueError(f"tar member {name!r}: {size} bytes; a member holds less than 8 GiB")
    encoded = name.encode("ascii")
    octal = b"%011o" % size
    checksum = _FIXED_SUM + sum(encoded) + sum(octal)
    after_name = _AFTER_NAME[len(encoded)]
    return b"%b%b%b\0%b%06o\0 %b" % (encoded, after_name, octal, _MTIME, checksum, _AFTER_CHECKSUM)


def _check_name(name: str) -> None:
    parts = name.split("/")
    if len(name) > 100 or _NAME.fullmatch(name) is None or "" in parts or ".." in parts:
        raise ValueError(f"tar member {name!r}: wanted a relative path of at most 100 ASCII characters without '..'")


@functools.cache
def _ending(ending: str) -> tuple[bytes, int]:
    """The dot and the ending as they stand in a header, and the sum of their bytes."""
    if _ENDING.fullmatch(ending) is None:
        raise ValueError(f"ending {ending!r}: wanted at most 35 small letters, digits, '_' and '.'")
    dotted = b"." + ending.encode("ascii")
    return dotted, sum(dotted)


def padding(size: int) -> bytes:
    """The zero bytes after a member of `size` bytes, up to the next block."""
    return _PADDING[size % BLOCK]


def member_bytes(size: int) -> int:
    """Bytes that a member of `size` bytes takes in a tar: its header, its data, its padding."""
    return BLOCK + size + (-size % BLOCK)


def most_members_bytes(tar_bytes: int) -> int:
    """Bytes that all members together may take in a tar of at most `tar_bytes`, its end included."""
    return max(tar_bytes - tar_bytes % _RECORD - 2 * BLOCK, 0)


def read_members(stream: IO[bytes]) -> Iterator[Member]:
    """Walk the headers of a tar that `TarWriter` wrote, from the start of `stream`, without reading the data.

    Raises: ValueError: a header that this module does not write (damaged or foreign), or no end of the archive.
    """

    def block_at(offset: int) -> bytes:
        stream.seek(offset)
        return stream.read(BLOCK)

    return walk_headers(block_at, stream.seek(0, 2))


def walk_headers(block_at: Callable[[int], bytes], size: int) -> Iterator[Member]:
    """The members of a tar of `size` bytes, by what `block_at` gives of it: 512 bytes from there, fewer at its end.

    Offsets ascend. Raises: ValueError: as `read_members`.
    """
    offset = 0
    while True:
        block = block_at(offset)
        if len(block) < BLOCK:
            raise ValueError(f"truncated: the end of the archive is missing at byte {offset} of {size}")
        if block == b"\0" * BLOCK:
            break
        member = parse_header(block, offset)
        if member.end > size:
            raise ValueError(f"truncated: member {member.name} ends at byte {member.end}, the file at {size}")
        yield member
        offset = member.end
    wanted = closed_size(offset)
    if size != wanted:
        raise ValueError(f"the archive ends at byte {offset}, so {wanted} bytes were wanted, not {size}")


def closed_size(position: int) -> int:
    """Bytes of the file whose last member ends at `position`: two zero blocks, and zeros up to a whole record."""
    end = position + 2 * BLOCK
    return end + (-end % _RECORD)


def parse_header(block: bytes, offset: int) -> Member:
    """The member whose header is `block`, at byte `offset`. Raises: ValueError: not one that this module writes."""
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        size = int(block[124:135], 8)
        if header(name, size) == block:
            return Member(name, offset, offset + BLOCK, size)
    except ValueError:
        pass
    raise ValueError(f"no header at byte {offset}: damaged, or not a tar of pairmill")


class TarWriter:
    """Writes members in the order they are given, and closes with the two zero blocks and record padding."""

    def __init__(self, path: Path) -> None:
        self._stream: IO[bytes] = path.open("wb", buffering=0)
        self._pieces: list[bytes] = []
        self._small: list[bytes] = []
        self._held = 0
        self.position = 0

    def add(self, name: str, data: Bytes) -> Member:
        """Append one file; returns where its bytes lie."""
        start, size = self.position, len(data)
        head, body = header(name, size), data if type(data) is bytes else bytes(data)  # a view may change meanwhile
        if size < _SMALL:
            self._small += (head, body, _PADDING[size % BLOCK])
        else:
            self._small.append(head)
            self._pieces += (b"".join(self._small), body)
            self._small = [_PADDING[size % BLOCK]]
        taken = member_bytes(size)
        self.position = start + taken
        self._held += taken
        if self._held >= _CHUNK:
            self.flush()
        return Member(name, start, start + BLOCK, size)

    def add_sample(self, stem: str, files: Sequence[tuple[str, bytes]]) -> list[int]:
        """Append `stem.ending` for each (ending, bytes); returns where the bytes of each begin.

        As `add` for each of them, in half the time: what headers of one stem share is computed once.
        """
        if _STEM.fullmatch(stem) is None:
            raise ValueError(f"sample {stem!r}: wanted at most 64 letters, digits, '-' and '_'")
        encoded, begins = stem.encode("ascii"), []
        shared = _FIXED_SUM + sum(encoded)
        small, position = self._small, self.position
        for ending, data in files:
            size = len(data)
            if size >= _MAX_SIZE:
                raise ValueError(f"tar member {stem}.{ending}: {size} bytes; a member holds less than 8 GiB")
            dotted, of_ending = _ending(ending)
            octal = b"%011o" % size
            name, checksum = encoded + dotted, shared + of_ending + sum(octal)
            small.append(
                b"%b%b%b\0%b%06o\0 %b" % (name, _AFTER_NAME[len(name)], octal, _MTIME, checksum, _AFTER_CHECKSUM)
            )
            if size < _SMALL:
                small += (data, _PADDING[size % BLOCK])
            else:
                self._pieces += (b"".join(small), data)
                self._small = small = [_PADDING[size % BLOCK]]
            begins.append(position + BLOCK)
            position += member_bytes(size)
        self._held += position - self.position
        self.position = position
        if self._held >= _CHUNK:
            self.flush()
        return begins

    def add_all(self, members: Iterable[tuple[str, Bytes]]) -> list[Member]:
        """Append files in order."""
        return [self.add(name, data) for name, data in members]

    def copy(self, stream: IO[bytes], start: int, stop: int) -> None:
        """Append the bytes `start` to `stop` of another tar of this module: whole members."""
        self.flush()
        stream.seek(start)
        while start < stop:
            piece = stream.read(min(_CHUNK, stop - start))
            if not piece:
                raise ValueError(f"truncated: the tar ends at byte {start}, {stop} were wanted")
            self.write([piece])
            start += len(piece)
            self.position += len(piece)

    def flush(self) -> None:
        """Hand what was added to the system."""
        pieces = [*self._pieces, b"".join(self._small)]
        self._pieces, self._small, self._held = [], [], 0
        self.write(pieces)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write the next bytes of the tar."""
        for start in range(0, len(pieces), _MOST_PIECES):
            some = pieces[start : start + _MOST_PIECES]
            wanted = sum(map(len, some))
            written = os.writev(self._stream.fileno(), some)
            if written < wanted:  # a call takes at most 2 GiB, and a full disk what there is room for
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[self._stream.write(rest) :]

    def close(self) -> None:
        """Write the end of the archive."""
        if self._stream.closed:
            return
        try:
            self._small.append(b"\0" * (closed_size(self.position) - self.position))
            self.flush()
        finally:
            self._stream.close()

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stream.close()
