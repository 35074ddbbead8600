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
_EMPTY_LINES = (b"\r\n", b"\n")
_FILE_ENDS = "the file (or the gzip member) ends"
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
        place = pieces.place(0)
        try:
            while line := pieces.readline(MAX_HEADER_BYTES):
                if line in _EMPTY_LINES:
                    continue
                place = pieces.place(pieces.position - len(line))
                try:
                    yield _record(pieces, line, place, max_body_bytes)
                    in_damage = False
                except DamageError as damage:
                    if not in_damage:
                        yield Block(place, fault=f"archive: byte {place}: {damage}")
                    in_damage = True
                    pieces.skip_to_record()
            if pieces.is_short() and not in_damage:
                yield Block(place, fault=f"archive: byte {place}: {_FILE_ENDS} in the middle of a gzip member")
                in_damage = True
        except zlib.error as error:
            if not in_damage:
                yield Block(place, fault=f"archive: byte {place}: damaged gzip data: {error}")
            in_damage = True
            pieces.skip_damage()


def _record(pieces: _Pieces, line: bytes, place: str, max_body_bytes: int) -> Block:
    """The record that begins with this line. Raises: DamageError: there is none, or it is not whole."""
    if not line.startswith(b"WARC/"):
        ends = not line.endswith(b"\n") and len(line) < MAX_HEADER_BYTES
        raise DamageError(f"{_FILE_ENDS} before a record" if ends else "no WARC record begins here")
    header = line
    length = None
    while line not in _EMPTY_LINES:
        line = pieces.readline(MAX_HEADER_BYTES)
        header += line
        if len(header) > MAX_HEADER_BYTES:
            raise DamageError("a record's header has no end")
        if not line.endswith(b"\n"):
            raise DamageError(f"{_FILE_ENDS} in a record's header")
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = value.strip()
    if length is None or not length.isdigit() or len(length) > 18:
        raise DamageError("a record without a Content-Length")
    wanted = int(length)
    body = pieces.read(min(wanted, max_body_bytes))
    num_skipped = pieces.skip(wanted - len(body)) if len(body) == max_body_bytes else 0
    if len(body) + num_skipped < wanted:
        raise DamageError(f"{_FILE_ENDS} in the record: {len(body) + num_skipped} of {wanted} bytes are there")
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

    def is_short(self) -> bool:
        """Whether the stream ended before the piece did."""
        return False

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

    def skip_to_record(self) -> None:
        """Read past lines up to one that opens a record, or to the end of the piece."""
        while not self._buffer.startswith(b"WARC/"):
            if len(self._buffer) < 5 and (more := self.fill()):
                self._buffer += more
            elif not self.readline(MAX_HEADER_BYTES):
                return

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

    def is_short(self) -> bool:
        return not self._unpack.eof

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
