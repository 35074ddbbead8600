"""WARC archives record by record, each with the place where it lies: plain, or gzip'd member by member.

Takes a byte stream of any length and holds one record at a time. Gives `Block` values: header and body of a record as
bytes, cut at a limit, or what is wrong at a place. A record's place is the byte offset that Common Crawl's indexes
name: where its gzip member begins, and after a `+` the bytes into the member where several records share one.
Damage costs the records it lies in: reading goes on at the next gzip member, or the next line that opens a record.
Sources: ISO 28500:2017 (WARC 1.1), its annex D (one gzip member per record); RFC 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

MAX_HEADER_BYTES = 65_536
"""A longer record header is damage."""

_CHUNK_BYTES = 65_536
_MAGIC = b"\x1f\x8b\x08"


@dataclass(frozen=True, slots=True)
class Block:
    """One record at `place`: its header with the empty line, and its body as far as wanted; or a fault.

    `cut` says that the body is longer than what is here.
    """

    place: str
    header: bytes = b""
    body: bytes = b""
    cut: bool = False
    fault: str | None = None


class DamageError(Exception):
    """The bytes at this place are no record; what is wrong, in words."""


def blocks(raw: IO[bytes], max_body_bytes: int) -> Iterator[Block]:
    """The records of an archive in order. Raises what `raw` raises, and nothing else."""
    start = raw.read(len(_MAGIC))
    pieces = _Gzip(raw, start) if start == _MAGIC else _Plain(raw, start)
    in_damage = False  # one fault for each stretch of damage, however many things look wrong in it
    while pieces.begin():
        try:
            while True:
                inner = pieces.position
                place = pieces.place(inner)
                try:
                    found = _record(pieces, place, max_body_bytes)
                except DamageError as damage:
                    if not in_damage:
                        yield Block(place, fault=f"archive: byte {place}: {damage}")
                    in_damage = True
                    if not pieces.to_next_record():
                        break
                    continue
                if found is None:
                    break
                in_damage = False
                yield found
        except zlib.error as error:
            if not in_damage:
                yield Block(place, fault=f"archive: byte {place}: damaged gzip data: {error}")
            in_damage = True
            pieces.skip_damage()


def _record(pieces: _Pieces, place: str, max_body_bytes: int) -> Block | None:
    """The record that begins here; None where the piece ends."""
    line = pieces.readline(MAX_HEADER_BYTES)
    while line in (b"\r\n", b"\n"):
        line = pieces.readline(MAX_HEADER_BYTES)
    if not line:
        pieces.check_end()
        return None
    if not line.startswith(b"WARC/"):
        raise DamageError("no WARC record begins here")
    header = line
    length = None
    while line not in (b"\r\n", b"\n"):
        line = pieces.readline(MAX_HEADER_BYTES)
        header += line
        if not line.endswith(b"\n") or len(header) > MAX_HEADER_BYTES:
            pieces.check_end()
            wrong = "the file ends in a record's header" if not line else "a record's header has no end"
            raise DamageError(wrong)
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = value.strip()
    if length is None or not length.isdigit() or len(length) > 18:
        raise DamageError("a record without a Content-Length")
    wanted = int(length)
    body = pieces.read(min(wanted, max_body_bytes))
    num_skipped = pieces.skip(wanted - len(body)) if len(body) == max_body_bytes else 0
    if len(body) + num_skipped < wanted:
        pieces.check_end()
        raise DamageError(f"the file ends in the record: {len(body) + num_skipped} of {wanted} bytes are there")
    return Block(place, header, body, cut=num_skipped > 0)


class _Pieces:
    """A stream in pieces, each read as bytes and lines; `position` counts the bytes read of the present piece."""

    def __init__(self, raw: IO[bytes], start: bytes) -> None:
        self._raw = raw
        self._input = start
        self._num_raw = len(start)
        self._buffer = b""
        self.position = 0

    def begin(self) -> bool:
        """Go to the next piece; False at the end of the stream."""
        raise NotImplementedError

    def place(self, position: int) -> str:
        """How a record that begins there is named."""
        raise NotImplementedError

    def check_end(self) -> None:
        """Raise `DamageError` where the piece ended before its time."""

    def skip_damage(self) -> None:
        """Go on after data that cannot be unpacked."""

    def fill(self) -> bytes:
        """Some more bytes of this piece, empty at its end."""
        raise NotImplementedError

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer at the end of the piece."""
        got: list[bytes] = []
        missing = size
        while missing > 0:
            if not self._buffer:
                self._buffer = self.fill()
                if not self._buffer:
                    break
            part, self._buffer = self._buffer[:missing], self._buffer[missing:]
            got.append(part)
            missing -= len(part)
        self.position += size - missing
        return b"".join(got)

    def skip(self, size: int) -> int:
        """Read past `size` bytes; the number that were there."""
        missing = size
        while missing > 0:
            num_bytes = len(self.read(min(missing, _CHUNK_BYTES)))
            if not num_bytes:
                break
            missing -= num_bytes
        return size - missing

    def readline(self, limit: int) -> bytes:
        """A line with its end; without one where it is longer than `limit`, or the last of the piece."""
        while (end := self._buffer.find(b"\n", 0, limit)) < 0 and len(self._buffer) < limit:
            more = self.fill()
            if not more:
                break
            self._buffer += more
        size = limit if end < 0 else end + 1
        line, self._buffer = self._buffer[:size], self._buffer[size:]
        self.position += len(line)
        return line

    def to_next_record(self) -> bool:
        """Read past lines up to one that opens a record; False where the piece has none left."""
        while True:
            if self._buffer.startswith(b"WARC/"):
                return True
            if not self.readline(MAX_HEADER_BYTES):
                return False
            if len(self._buffer) < 5:
                self._buffer += self.fill()

    def _raw_chunk(self) -> bytes:
        if self._input:
            chunk, self._input = self._input, b""
            return chunk
        chunk = self._raw.read(_CHUNK_BYTES)
        self._num_raw += len(chunk)
        return chunk


class _Plain(_Pieces):
    """An archive as it is: one piece."""

    _begun = False

    def begin(self) -> bool:
        begun, self._begun = self._begun, True
        return not begun

    def place(self, position: int) -> str:
        return str(position)

    def fill(self) -> bytes:
        return self._raw_chunk()


class _Gzip(_Pieces):
    """A gzip'd archive: each member a piece."""

    def __init__(self, raw: IO[bytes], start: bytes) -> None:
        super().__init__(raw, start)
        self._member = 0
        self._unpack = zlib.decompressobj(31)

    def begin(self) -> bool:
        if not self._input:
            self._input = self._raw_chunk()
        self._member = self._num_raw - len(self._input)
        self._unpack = zlib.decompressobj(31)
        self._buffer = b""
        self.position = 0
        return bool(self._input)

    def place(self, position: int) -> str:
        return str(self._member) if position == 0 else f"{self._member}+{position}"

    def check_end(self) -> None:
        if not self._unpack.eof and not self._buffer:
            raise DamageError(f"the file ends in the middle of a gzip member, at byte {self._num_raw}")

    def skip_damage(self) -> None:
        """To the next bytes that look like the start of a member, after the one that is damaged."""
        self._input = self._input[1:] if self._num_raw - len(self._input) == self._member else self._input
        while (found := self._input.find(_MAGIC)) < 0:
            tail = self._input[-2:]
            chunk = self._raw.read(_CHUNK_BYTES)
            self._num_raw += len(chunk)
            if not chunk:
                self._input = b""
                return
            self._input = tail + chunk
        self._input = self._input[found:]

    def fill(self) -> bytes:
        while not self._unpack.eof:
            chunk = self._raw_chunk()
            if not chunk:
                return b""
            held = chunk  # where it does not unpack, the search for the next member begins in it
            try:
                data = self._unpack.decompress(chunk, _CHUNK_BYTES)
            except zlib.error:
                self._input = held
                raise
            self._input = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
            if data:
                return data
        return b""
