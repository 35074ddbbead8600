"""Reading a body under a cap: counted as received, and again as decoded where a server encodes it unasked."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import aiohttp

from pipeline.record import Status

_ZLIB_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}


READ_AHEAD = 1 << 20
"""Bytes of a body that a connection may hold before they are read."""


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a body, or the status that stands in their place."""

    data: bytes = b""
    status: Status = Status.SUCCESS
    detail: str = ""


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> Body:
    """The body of `response`, at most `max_bytes` of it; a longer one is dropped unread, never cut."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "") and encoding not in _ZLIB_WINDOWS:
        return Body(status=Status.WRONG_TYPE, detail=f"content-encoding {encoding[:20]}, wanted identity")
    if response.content_length is not None and response.content_length > max_bytes:
        return Body(status=Status.TOO_LARGE, detail=f"{response.content_length} bytes announced")
    chunks: list[bytes] = []
    received = 0
    length, content = response.content_length, response.content
    fits = length is not None and length <= READ_AHEAD and "Transfer-Encoding" not in response.headers
    if fits and content.exception() is None:
        await content.wait_eof()  # the connection holds it all: woken once, not for every piece
    async for chunk in content.iter_any():
        received += len(chunk)
        if received > max_bytes:
            return Body(status=Status.TOO_LARGE, detail=f"over {max_bytes} bytes")
        chunks.append(chunk)
    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if encoding in _ZLIB_WINDOWS:
        return _decoded(data, _ZLIB_WINDOWS[encoding], max_bytes)
    if not data:
        return Body(status=Status.EMPTY_BODY, detail="0 bytes")
    return Body(data)


def _decoded(data: bytes, window: int, max_bytes: int) -> Body:
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
