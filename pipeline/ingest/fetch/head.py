"""The head of an answer: its status, its headers, and how its body is framed. Parsed by llhttp (httptools), capped.

Lenient where the web is and nothing is at stake: lines may end in LF alone, and be folded (RFC 9112, 5.2). Never where
two readers could see different bodies: a second Content-Length, or one that is no number, is an error.
"""

from __future__ import annotations

import re

import httptools

_MAX_BYTES = 1 << 16
_MAX_LINES = 256
_END = re.compile(rb"\n\r?\n")
_BODYLESS = frozenset({204, 304})


class NotHttp(Exception):
    """What came is not an HTTP answer, or one with more headers than anyone needs."""


class Head:
    """What stands before a body. Names of headers are in lower case, each with its values in order."""

    __slots__ = ("headers", "keep", "status")

    def __init__(self, status: int, headers: dict[bytes, list[bytes]], keep: bool) -> None:
        self.status, self.headers = status, headers
        self.keep = keep
        """Whether the server keeps the connection; never with two framings, of which one is a lie."""
        if b"content-length" in headers and b"transfer-encoding" in headers:
            self.keep = False

    def get(self, name: bytes) -> str | None:
        """The first value of a header; None where there is none."""
        values = self.headers.get(name)
        return None if values is None else values[0].decode("utf-8", "surrogateescape")

    def get_all(self, name: bytes) -> list[str]:
        """All values of a header."""
        return [value.decode("utf-8", "surrogateescape") for value in self.headers.get(name, ())]

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks. Raises: NotHttp: it comes in a way that nobody asked for."""
        codings = self.headers.get(b"transfer-encoding")
        if codings is None or self.status in _BODYLESS:
            return False
        coding = b",".join(codings).strip(b" \t").lower()  # of nothing else: llhttp would see another coding
        if coding not in (b"chunked", b"identity", b""):
            raise NotHttp("transfer-encoding")
        return coding == b"chunked"

    @property
    def length(self) -> int | None:
        """Bytes of the body as announced; None where chunks or the end of the connection tell."""
        if self.status in _BODYLESS:
            return 0
        values = self.headers.get(b"content-length")
        return None if values is None or self.is_chunked else int(values[0])


class HeadParser:
    """Takes the bytes of an answer up to the end of its head; `head` is there once all of it has come.

    A chunked body goes on through the same parser: `body` collects what its chunks hold, `is_whole` says that it ended.
    """

    __slots__ = ("_headers", "_num_bytes", "_num_lines", "_parser", "body", "has_more", "head", "is_whole")

    def __init__(self) -> None:
        self._num_bytes = self._num_lines = 0
        self._begin()

    def feed_head(self, data: memoryview, start: int, stop: int) -> None:
        """Parse a piece that ends where the head does, or earlier. Raises: NotHttp: it is none, or a flood."""
        self._num_bytes += stop - start
        self._num_lines += data.obj.count(b"\n", start, stop)
        if self._num_bytes > _MAX_BYTES or self._num_lines > _MAX_LINES:
            raise NotHttp("too many headers")
        if data.obj.find(0, start, stop) >= 0:
            raise NotHttp("NUL in a header")
        self.feed(data[start:stop])
        if self.body:
            raise NotHttp("a head that ends twice")
        if self.head is not None and self.head.status < 200 and self.head.status != 101:
            self._begin()  # an interim answer; the caps hold for all heads together

    def feed(self, piece: memoryview) -> None:
        """Parse `piece`. Raises: NotHttp."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # to what nobody asked for; the status, 101, says so
        except httptools.HttpParserError as error:
            if not self.is_whole:  # what follows a whole answer is not looked at
                raise NotHttp(str(error)) from None

    def release(self) -> None:
        """Let go of the parser, which refers back here, so that no cycle is left to the collector."""
        self._parser = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp, also for the trailers of a chunked body, which say nothing that we need."""
        if self.head is None:
            self._headers.setdefault(name.lower(), []).append(value)

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        if self.head is None:
            self.head = Head(self._parser.get_status_code(), self._headers, self._parser.should_keep_alive())

    def on_body(self, data: bytes) -> None:
        """Called by llhttp."""
        if not self.is_whole:
            self.body.append(data)

    def on_message_begin(self) -> None:
        """Called by llhttp, also where something follows a whole answer."""
        self.has_more = self.is_whole

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        self.is_whole = True

    def _begin(self) -> None:
        self.head: Head | None = None
        self.body: list[bytes] = []
        self.is_whole = self.has_more = False
        self._headers: dict[bytes, list[bytes]] = {}
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_chunked_length=True,
            lenient_spaces_after_chunk_size=True, lenient_data_after_close=True,
        )  # fmt: skip


def end_of_head(data: bytearray, start: int, stop: int) -> int:
    """Where the blank line ends that ends a head; -1 where it has not come yet."""
    found = _END.search(data, start, stop)
    return -1 if found is None else found.end()
