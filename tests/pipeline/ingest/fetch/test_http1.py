"""Our HTTP/1.1: every framing read, every flood cut, and no kept connection trusted."""

import gzip
import time

import pytest

from pipeline.ingest.fetch.body import Pieces
from pipeline.ingest.fetch.http1 import SHARED_BYTES
from pipeline.ingest.fetch.trouble import Unanswered
from pipeline.record import Status

OK = b"HTTP/1.1 200 OK\r\n"
LOOPS = ("uvloop", "asyncio")


def length(body, *lines):
    return OK + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*parts, end=b"0\r\n\r\n"):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + end


BODY = bytes(range(256)) * 8
GOOD = {
    "length": length(BODY),
    "until the end": OK + b"\r\n" + BODY,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "chunks": chunked(BODY[:7], BODY[7:]),
    "chunks with extensions": chunked(BODY).replace(b"800\r\n", b"800;a=b\r\n"),
    "chunks with trailers": chunked(BODY, end=b"0\r\nX: y\r\nContent-Length: 7\r\n\r\n"),
    "both framings": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + BODY + b"\r\n0\r\n\r\n",
    "identity": length(BODY, b"Transfer-Encoding: identity"),
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + length(BODY),
    "lines that end in LF": length(BODY).replace(b"\r\n", b"\n", 2),
    "a folded header": length(BODY, b"X: a", b" b"),
    "no reason": length(BODY).replace(b"200 OK", b"200"),
    "empty lines before": b"\r\n" + length(BODY),
    "bytes that are no ASCII": length(BODY, "X: \u00e9".encode("latin-1")),
    "more than announced": length(BODY) + b"surplus",
    "an offer to upgrade": length(BODY, b"Connection: Upgrade", b"Upgrade: h2c"),
    "gzip unasked": length(gzip.compress(BODY), b"Content-Encoding: GZIP"),
}
BAD = {
    "nothing": (b"", "protocol_error", "the server hung up"),
    "garbage": (b"\0\1\2\r\n\r\n", "protocol_error", "not a valid HTTP answer"),
    "half a head": (OK + b"Content-Len", "protocol_error", "the server hung up"),
    "another protocol": (b"SSH-2.0-OpenSSH\r\n", "protocol_error", "not a valid HTTP answer"),
    "half a body": (length(BODY)[:-1], "protocol_error", "the body ends early"),
    "half a large body": (length(bytes(99_000))[:-1], "protocol_error", "the body ends early"),
    "half a chunk": (chunked(BODY)[:-9], "protocol_error", "the body ends early"),
    "no last chunk": (chunked(BODY, end=b""), "protocol_error", "the body ends early"),
    "a chunk of no size": (chunked(end=b"zz\r\n\r\n"), "protocol_error", "not a valid HTTP answer"),
    "two lengths": (length(BODY, b"Content-Length: 1"), "protocol_error", "not a valid HTTP answer"),
    "a length below zero": (OK + b"Content-Length: -1\r\n\r\n", "protocol_error", "not a valid HTTP answer"),
    "a length with a sign": (OK + b"Content-Length: +1\r\n\r\nx", "protocol_error", "not a valid HTTP answer"),
    "a length beyond numbers": (OK + b"Content-Length: 99999999999999999999\r\n\r\n", "protocol_error", "not a valid"),
    "a list of lengths": (OK + b"Content-Length: 1, 1\r\n\r\nx", "protocol_error", "not a valid HTTP answer"),
    "NUL in a header": (length(BODY, b"X: a\0b"), "protocol_error", "not a valid HTTP answer"),
    "a space before the colon": (length(BODY, b"X : a"), "protocol_error", "not a valid HTTP answer"),
    "an unknown coding": (chunked(BODY).replace(b": chunked", b": gzip, chunked"), "protocol_error", "not a valid"),
    "a disguised coding": (chunked(BODY).replace(b": chunked", b": \x0bchunked"), "protocol_error", "not a valid"),
    "too many headers": (length(BODY, *[b"X: y"] * 300), "protocol_error", "not a valid HTTP answer"),
    "too long a header": (length(BODY, b"X: " + b"y" * (1 << 16)), "protocol_error", "not a valid HTTP answer"),
    "endless interim answers": (b"HTTP/1.1 100 Go on\r\n\r\n" * 5000, "protocol_error", "not a valid HTTP answer"),
    "chunks that never hold a byte": (
        chunked(b"x", end=b"1;" + b"y" * 500_000), "protocol_error", "not a valid HTTP answer",
    ),
    "trailers without end": (chunked(b"x", end=b"0\r\n" + b"X: y\r\n" * 100_000), "protocol_error", "not a valid"),
    "one trailer without end": (chunked(b"x", end=b"0\r\nX: " + b"y" * 500_000), "protocol_error", "not a valid"),
    "an upgrade": (b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nz", "http_other", "HTTP 101"),
    "no content, yet some": (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", "http_other", "HTTP 204"),
    "an empty body": (length(b""), "empty_body", "0 bytes"),
    "empty chunks": (chunked(), "empty_body", "0 bytes"),
    "empty until the end": (OK + b"\r\n", "empty_body", "0 bytes"),
    "more than the cap, announced": (length(b"x" * 100_001), "too_large", "100001 bytes announced"),
    "more than the cap, in chunks": (chunked(*[b"x" * 50_000] * 3), "too_large", "over 100000 bytes"),
    "more than the cap until the end": (OK + b"\r\n" + b"x" * 300_000, "too_large", "over 100000 bytes"),
    "more than the cap, decoded": (
        length(gzip.compress(bytes(1 << 20)), b"Content-Encoding: gzip"), "too_large", "over 100000 bytes once decoded",
    ),
    "a coding of brotli": (length(BODY, b"Content-Encoding: br"), "wrong_type", "content-encoding br"),
    "a redirect to nowhere": (b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n", "http_other", "HTTP 302"),
}  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", GOOD)
def test_every_framing(lab, kind, loop):
    (answer,), server = lab.ask(lab.says(GOOD[kind]), loop=loop)
    assert (answer.status, answer.detail) == (Status.SUCCESS, None)
    assert answer.body == BODY
    assert type(answer.body) is bytes
    assert server.connections == 1


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", BAD)
def test_every_fault(lab, kind, loop):
    raw, status, detail = BAD[kind]
    (answer,), server = lab.ask(lab.says(raw), loop=loop, max_bytes=100_000)
    assert (answer.status, answer.body) == (status, b"")
    assert answer.detail.startswith(detail)
    assert server.connections == 1


@pytest.mark.parametrize("size", [1, SHARED_BYTES - 100, SHARED_BYTES, SHARED_BYTES + 1, 3_000_000])
@pytest.mark.parametrize("loop", LOOPS)
def test_bodies_of_all_sizes(lab, size, loop):
    body = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    for raw in (length(body), chunked(body[: size // 3], body[size // 3 :] or b"x") if size > 3 else length(body),
                OK + b"\r\n" + body):  # fmt: skip
        (answer,), _ = lab.ask(lab.says(raw), loop=loop)
        assert answer.body == body


def test_what_is_announced_too_large_is_not_waited_for(lab):
    began = time.monotonic()
    for code in (b"200 OK", b"404 No"):
        raw = b"HTTP/1.1 " + code + b"\r\nContent-Length: 1000000000000\r\n\r\n"
        (answer,), _ = lab.ask(lab.says(raw, hold=True), timeout_s=60)
        assert answer.status == ("too_large" if code == b"200 OK" else "http_404")
    assert time.monotonic() - began < 30


def test_a_lie_about_the_length_costs_no_memory():
    pieces = Pieces(memoryview(b"x" * 10), 20 << 20)
    assert len(pieces.room) <= 1 << 18
    for _ in range(100):
        pieces.advance(min(1000, len(pieces.room)))
    assert len(pieces.room) <= 1 << 18
    assert pieces.size == 100_010
    while pieces.room:
        assert len(pieces.room) <= max(1 << 18, pieces.size)
        pieces.advance(len(pieces.room))
    assert pieces.size == 20 << 20 == len(pieces.joined())


def test_an_endless_body_is_cut_at_the_cap(lab):
    sent = 0

    async def endless(server, reader, writer):
        nonlocal sent
        await server.request(reader)
        writer.write(OK + b"\r\n")
        while not writer.transport.is_closing():
            writer.write(bytes(1 << 16))
            sent += 1 << 16
            await writer.drain()

    (answer,), _ = lab.ask(endless, max_bytes=1 << 20)
    assert answer.status == Status.TOO_LARGE
    assert sent < 20 << 20


@pytest.mark.parametrize("kind", [*GOOD, *BAD])
def test_an_answer_is_the_same_byte_by_byte(lab, kind):
    raw = GOOD[kind] if kind in GOOD else BAD[kind][0]
    if len(raw) > 10_000:
        raw = raw[:10_000]
    whole, torn = lab.feed([raw]), lab.feed([raw[i : i + 1] for i in range(len(raw))])
    assert type(whole) is type(torn)
    if isinstance(whole, Unanswered):
        assert (whole.status, whole.detail) == (torn.status, torn.detail)
    else:
        assert (whole.data, whole.head.headers) == (torn.data, torn.head.headers)
