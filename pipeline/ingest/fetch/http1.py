"""One connection that speaks HTTP/1.1: one request at a time, one answer to each, under caps and a deadline.

Takes a request as bytes, and a judge that says of a head whether the body is wanted. Gives a `Reply`. A head and small
bodies are read into a buffer that all connections share, which is safe because a loop reads from one socket at a time
and tells at once; the rest of a body goes straight into memory of its own. Only heads and chunks pass through a parser.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.body import Pieces
from pipeline.ingest.fetch.head import Head, HeadParser, NotHttp, end_of_head
from pipeline.ingest.fetch.trouble import Stale, Unanswered, explain
from pipeline.record import Status

SHARED_BYTES = 1 << 18
_BEFORE = 2
"""Bytes kept free at the start of the shared buffer, for the end of the piece before: a blank line may be torn."""
_DRAIN_BYTES = 1 << 16
_DRAIN_S = 0.5
"""For how large a body that nobody wants, and for how long, a connection is worth waiting."""
_DRY_BYTES = 1 << 16
"""After so many bytes of extensions or trailers without a byte of body, a chunked answer is a flood."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request and what is known of its answer beforehand. `judge` gives an answer in place of a body not wanted."""

    request: bytes
    judge: Callable[[Head], Answer | None]
    max_bytes: int
    deadline: float
    """In the loop's time."""
    timeout_s: float
    """That of which the deadline came, for the words."""
    keep_alive: bool = True
    """Whether the connection will be wanted again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said: the judge's answer, or else the body."""

    head: Head
    answer: Answer | None
    data: bytes


class Connection(asyncio.BufferedProtocol):
    """One connection. `lost` is called once, when it is closed."""

    __slots__ = (
        "_answer", "_ask", "_began", "_keep", "_left", "_loop", "_lost", "_num_dry", "_parser", "_pieces", "_shared",
        "_tail", "_timer", "_transport", "_view", "_waiter", "idle_since", "key", "was_used",
    )  # fmt: skip

    def __init__(self, key: str, shared: memoryview, lost: Callable[[Connection], None]) -> None:
        self.key, self._lost = key, lost
        self.idle_since = 0.0
        self.was_used = False
        """Whether it has brought an answer before."""
        self._shared, self._view = shared, shared[_BEFORE:]
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._keep = False
        self._reset()

    def _reset(self) -> None:
        self._ask: Ask | None = None
        self._answer: Answer | None = None
        self._parser: HeadParser | None = None
        self._pieces: Pieces | None = None
        self._left: int | None = None
        self._tail = b""
        self._began = False
        self._num_dry = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent."""
        return self._keep and self._transport is not None and not self._transport.is_closing()

    def ask(self, ask: Ask) -> asyncio.Future[Reply]:
        """Send a request. The reply, or else: Stale, Unanswered, OSError. Who no longer waits has to abort."""
        assert self._waiter is None
        if not self.is_open or self._transport is None:
            raise Stale if self.was_used else Unanswered(Status.PROTOCOL_ERROR, "the server hung up")
        self._ask, self._parser = ask, HeadParser()
        self._waiter = waiter = self._loop.create_future()
        self._timer = self._loop.call_at(ask.deadline, self._be_late)
        self._transport.write(ask.request)
        return waiter

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = transport  # type: ignore[assignment]
        self._keep = True

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop, once."""
        if self._waiter is not None:
            self._take_end(error)
        self._keep = False
        self._lost(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop is to read into."""
        return self._view if self._pieces is None else self._pieces.room

    def buffer_updated(self, num: int) -> None:
        """Called by the loop when it has read."""
        if self._waiter is None:
            self.abort()  # nobody asked: what comes now would be taken for the answer to the next request
            return
        try:
            if self._pieces is not None:
                self._take_plain(self._pieces, num)
            elif self._parser.head is None:
                self._take_head(num)
            else:
                self._take_chunks(self._view[:num])
        except NotHttp:
            self._fail(Unanswered(Status.PROTOCOL_ERROR, "not a valid HTTP answer"))
        except Exception as error:  # of the judge; a protocol that raises would leave its request waiting
            self._fail(error)

    def _take_head(self, num: int) -> None:
        self._began = True
        shared, parser = self._shared, self._parser
        start = at = _BEFORE
        stop = at + num
        if self._tail:
            start -= len(self._tail)
            shared[start:at] = self._tail
        while at < stop:
            end = end_of_head(shared.obj, start, stop)
            parser.feed_head(shared, at, stop if end < 0 else end)
            if parser.head is not None:
                if end < 0:
                    raise NotHttp("a head that ends without a blank line")
                self._begin_body(shared[end:stop])
                return
            if end < 0:
                self._tail = bytes(shared[max(stop - _BEFORE, start) : stop])
                return
            start = at = end
        self._tail = b""

    def _begin_body(self, rest: memoryview) -> None:
        """Decide by the head whether and how the body is read; `rest` is what has come of it."""
        ask, head = self._ask, self._parser.head
        self._keep = self._keep and head.keep and ask.keep_alive
        self._answer = ask.judge(head)
        most = ask.max_bytes
        if self._answer is not None:
            if not self._keep or (head.length or 0) > _DRAIN_BYTES:
                self._finish(b"", keep=False)
                return
            most = _DRAIN_BYTES
        if head.is_chunked:
            self._take_chunks(rest)
            self._wait_to_drain()
            return
        length = self._left = head.length
        if length is None:
            self._pieces = Pieces(rest, max(most, len(rest)) + 1)
            self._check_size(self._pieces.size)
        elif len(rest) >= length:
            self._finish(bytes(rest[:length]), keep=len(rest) == length)
        else:
            self._pieces = Pieces(rest, length + 1)  # one to spare: the loop reads on where a read filled all there was
            self._wait_to_drain()

    def _take_plain(self, pieces: Pieces, num: int) -> None:
        pieces.advance(num)
        length = self._left
        if length is None:
            self._check_size(pieces.size)
        elif pieces.size >= length:
            self._finish(pieces.joined(length), keep=pieces.size == length)

    def _take_chunks(self, piece: memoryview) -> None:
        parser = self._parser
        before = len(parser.body)
        parser.feed(piece)
        new = sum(map(len, parser.body[before:]))
        self._left = (self._left or 0) + new  # of a chunked body, what has come
        self._num_dry = 0 if new else self._num_dry + len(piece)
        if self._num_dry > _DRY_BYTES:
            raise NotHttp("chunks without bytes")
        self._check_size(self._left)
        if self._waiter is not None and parser.is_whole:
            self._finish(b"".join(parser.body), keep=not parser.has_more)

    def _check_size(self, size: int) -> None:
        most = self._ask.max_bytes if self._answer is None else _DRAIN_BYTES
        if size > most:
            self._fail(Unanswered(Status.TOO_LARGE, f"over {most} bytes"))

    def _take_end(self, error: Exception | None) -> None:
        if self._pieces is not None and self._left is None and error is None:
            self._finish(self._pieces.joined(), keep=False)
        elif not self._began and self.was_used:
            self._fail(Stale())
        elif self._parser.head is not None and not isinstance(error, ssl.SSLError):
            self._fail(Unanswered(Status.PROTOCOL_ERROR, "the body ends early"))
        elif error is not None:
            self._fail(Unanswered(*explain(error)))
        else:
            self._fail(Unanswered(Status.PROTOCOL_ERROR, "the server hung up"))

    def _wait_to_drain(self) -> None:
        if self._answer is not None and self._waiter is not None:
            self._timer.cancel()
            self._timer = self._loop.call_at(min(self._ask.deadline, self._loop.time() + _DRAIN_S), self._be_late)

    def _be_late(self) -> None:
        self._fail(Unanswered(Status.TIMEOUT, f"no whole answer in {self._ask.timeout_s:g} s"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None:
            self._finish(b"", keep=False)  # the answer is known; only its body, which nobody wants, went wrong
            return
        waiter = self._end()
        self.abort()
        if not waiter.done():
            waiter.set_exception(error)

    def _finish(self, data: bytes, *, keep: bool) -> None:
        reply = Reply(self._parser.head, self._answer, data)
        waiter = self._end()
        self.was_used = True
        if not (keep and self._keep):
            self.abort()
        if not waiter.done():
            waiter.set_result(reply)

    def _end(self) -> asyncio.Future[Reply]:
        waiter, self._waiter = self._waiter, None
        self._timer.cancel()
        self._parser.release()
        self._reset()
        return waiter
