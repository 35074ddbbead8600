"""A body under a cap: counted as received, and again as decoded where a server encodes it unasked."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from pipeline.record import Status

_ZLIB_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
_PLAIN = frozenset({"", "identity"})
_FIRST_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a body, or the status that stands in their place."""

    data: bytes = b""
    status: Status = Status.SUCCESS
    detail: str = ""


class Pieces:
    """A body as it comes in. The socket writes into `room`; whoever it told so calls `advance`.

    Blocks grow with what has arrived, whatever was announced: a lie costs an attacker as many bytes as it costs us.
    """

    __slots__ = ("_block", "_done", "_most", "room", "size")

    def __init__(self, first: memoryview, most: int) -> None:
        """`first` is what has come already; `most`, the bytes after which no more fit, is larger."""
        self.size, self._most = len(first), most
        self._done: list[bytes | bytearray] = [bytes(first)]
        self._add_block()

    def advance(self, num: int) -> None:
        """So many bytes were written into `room`."""
        self.size += num
        self.room = self.room[num:]
        if not self.room and self.size < self._most:
            self._done.append(self._block)
            self._add_block()

    def joined(self, most: int | None = None) -> bytes:
        """All that has come, at most `most` bytes of it."""
        filled = len(self._block) - len(self.room)
        whole = b"".join([*self._done, memoryview(self._block)[:filled]])
        return whole if most is None or len(whole) <= most else whole[:most]

    def _add_block(self) -> None:
        self._block = bytearray(min(self._most - self.size, max(_FIRST_BLOCK, self.size)))
        self.room = memoryview(self._block)


def unwanted(encoding: str, length: int | None, max_bytes: int) -> Body | None:
    """What stands in the place of a body that is not worth reading; `length` as announced."""
    if encoding not in _PLAIN and encoding not in _ZLIB_WINDOWS:
        return Body(status=Status.WRONG_TYPE, detail=f"content-encoding {encoding[:20]}, wanted identity")
    if length is not None and length > max_bytes:
        return Body(status=Status.TOO_LARGE, detail=f"{length} bytes announced")
    return None


def decoded(data: bytes, encoding: str, max_bytes: int) -> Body:
    """The body that `data` is, its encoding undone, at most `max_bytes` of it."""
    if encoding in _ZLIB_WINDOWS:
        return _inflated(data, _ZLIB_WINDOWS[encoding], max_bytes)
    return Body(data) if data else Body(status=Status.EMPTY_BODY, detail="0 bytes")


def _inflated(data: bytes, window: int, max_bytes: int) -> Body:
    decoder = zlib.decompressobj(window)
    try:
        plain = decoder.decompress(data, max_bytes)
        if decoder.unconsumed_tail or (len(plain) >= max_bytes and not decoder.eof):
            return Body(status=Status.TOO_LARGE, detail=f"over {max_bytes} bytes once decoded")
    except zlib.error:
        return Body(status=Status.PROTOCOL_ERROR, detail="content-encoding is not what it says")
    if not decoder.eof:
        return Body(status=Status.PROTOCOL_ERROR, detail="encoded body ends early")
    if not plain:
        return Body(status=Status.EMPTY_BODY, detail="0 bytes once decoded")
    return Body(plain)
