"""Byte ranges of many files of a store at once: open descriptors where it is local, few parallel requests elsewhere.

Takes a list of `Span`, gives their bytes in the same order. Local files are read with `pread` on descriptors that
stay open, so threads and forked processes may share a `RangeReader`. Remote ranges that lie close together are
fetched as one request; with `whole_files`, each file is fetched once and kept while it is among the latest used.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.errors import StoreError
from pipeline.store import Store


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes of the file `name` from `offset`."""

    name: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after the span."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class RangeOptions:
    """How ranges are read."""

    max_open: int = 64
    """Local files kept open."""
    gap_bytes: int = 256 << 10
    """Remote ranges closer than this become one request: about what a request's latency costs in bytes."""
    request_bytes: int = 32 << 20
    """The most bytes of one request that was put together from several ranges."""
    connections: int = 16
    """Remote requests at once."""
    whole_files: int = 0
    """How many whole remote files to keep in memory; 0 reads exact ranges."""


class SpanMissing(StoreError):
    """A file is not there, or ends before the bytes that were asked of it."""

    def __init__(self, store: Store, span: Span, size: int | None) -> None:
        found = "there is no such file" if size is None else f"the file ends at {size}: truncated"
        super().__init__(f"{store.url}/{span.name}: wanted bytes {span.offset}..{span.end}, {found}.")
        self.span = span


class RangeReader:
    """Reads spans of the files of one store; thread-safe, and safe to use after a fork."""

    def __init__(self, store: Store, options: RangeOptions | None = None) -> None:
        self.store = store
        self.options = options or RangeOptions()
        self._reset()

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span, in the order given.

        Raises: SpanMissing: a file is missing or too short. StoreError: a file cannot be read.
        """
        if self._pid != os.getpid():
            self._reset()  # a lock that another thread held at the fork would never be released here
        if self.store.is_local:
            return [self._pread(span) for span in spans]
        out = [b""] * len(spans)
        groups = self._by_file(spans) if self.options.whole_files else coalesce(spans, self.options)
        fetch = self._from_whole_file if self.options.whole_files else self._from_request
        with ThreadPoolExecutor(max(1, min(self.options.connections, len(groups)))) as pool:
            fetched = pool.map(lambda group: fetch([spans[i] for i in group]), groups)
            for group, pieces in zip(groups, fetched, strict=True):
                for index, piece in zip(group, pieces, strict=True):
                    out[index] = piece
        return out

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._handles: OrderedDict[str, _Handle] = OrderedDict()
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def _pread(self, span: Span) -> bytes:
        handle = self._handle(span)
        data = os.pread(handle.descriptor, span.size, span.offset)
        while len(data) < span.size:  # one call gives at most 2 GiB
            more = os.pread(handle.descriptor, span.size - len(data), span.offset + len(data))
            if not more:
                raise SpanMissing(self.store, span, os.fstat(handle.descriptor).st_size)
            data += more
        return data

    def _handle(self, span: Span) -> _Handle:
        with self._lock:
            handle = self._handles.get(span.name)
            if handle is None:
                try:
                    handle = self._handles[span.name] = _Handle(self.store.path(span.name))
                except FileNotFoundError:
                    raise SpanMissing(self.store, span, None) from None
                except OSError as error:
                    raise StoreError(f"{self.store.url}/{span.name}: cannot open: {error.strerror}.") from None
            self._handles.move_to_end(span.name)
            while len(self._handles) > self.options.max_open:
                self._handles.popitem(last=False)
            return handle

    def _by_file(self, spans: Sequence[Span]) -> list[list[int]]:
        groups: dict[str, list[int]] = {}
        for index, span in enumerate(spans):
            groups.setdefault(span.name, []).append(index)
        return list(groups.values())

    def _from_whole_file(self, spans: Sequence[Span]) -> list[bytes]:
        name = spans[0].name
        with self._lock:
            data = self._files.get(name)
        if data is None:
            try:
                data = self.store.read_bytes(name)
            except StoreError:
                self._explain(spans[0])
                raise
        with self._lock:
            self._files[name] = data
            self._files.move_to_end(name)
            while len(self._files) > self.options.whole_files:
                self._files.popitem(last=False)
        for span in spans:
            if span.end > len(data):
                raise SpanMissing(self.store, span, len(data))
        return [data[span.offset : span.end] for span in spans]

    def _from_request(self, spans: Sequence[Span]) -> list[bytes]:
        name, start, end = spans[0].name, spans[0].offset, max(span.end for span in spans)
        if start == end:
            return [b""] * len(spans)
        try:
            data = self.store.read_range(name, start, end - start)
        except StoreError:
            self._explain(max(spans, key=lambda span: span.end))
            raise
        return [data[span.offset - start : span.end - start] for span in spans]

    def _explain(self, span: Span) -> None:
        """Raise `SpanMissing` where a failed read of `span` is the file's fault and not the network's."""
        if not self.store.exists(span.name):
            raise SpanMissing(self.store, span, None) from None
        size = self.store.size(span.name)
        if size < span.end:
            raise SpanMissing(self.store, span, size) from None


class _Handle:
    """An open descriptor, closed when the last thread that reads from it lets go."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


def coalesce(spans: Sequence[Span], options: RangeOptions) -> list[list[int]]:
    """Indices into `spans`, grouped so that each group is worth one request; inside a group sorted by offset."""
    groups: list[list[int]] = []
    start = end = 0
    name = None
    for index in sorted(range(len(spans)), key=lambda i: (spans[i].name, spans[i].offset)):
        span = spans[index]
        near = span.name == name and span.offset - end <= options.gap_bytes
        if near and max(end, span.end) - start <= options.request_bytes:
            groups[-1].append(index)
            end = max(end, span.end)
        else:
            groups.append([index])
            name, start, end = span.name, span.offset, span.end
    return groups
