"""Our HTTP/1.1: every framing read as the standard library reads it, every flood cut, no kept connection trusted."""

import asyncio
import contextlib
import gzip
import http.client
import io
import socket
import ssl
import struct
import subprocess
import time

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.ingest.fetch import pool as pool_module
from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.body import Pieces
from pipeline.ingest.fetch.client import Client
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.http1 import SHARED_BYTES, Ask, Connection
from pipeline.ingest.fetch.trouble import Stale, Unanswered
from pipeline.record import Status

OK = b"HTTP/1.1 200 OK\r\n"
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class Server:
    """A server on loopback whose `handle(reader, writer)` has each connection to itself."""

    def __init__(self, handle, host="127.0.0.1", tls=None):
        self.handle, self.host, self.tls = handle, host, tls
        self.connections, self.requests, self.open = 0, [], 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._one, self.host, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _one(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            await self.handle(self, reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            with contextlib.suppress(RuntimeError):  # the loop may have ended before
                writer.close()

    async def request(self, reader):
        raw = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(raw)
        return raw

    def url(self, path="/", host=None):
        return f"http://{host or self.host}:{self.port}{path}"

    def client(self, resolver=None, **settings):
        allowed = ("127.0.0.0/8", "::1/128")
        config = {"ports": (self.port,), "allow_private": allowed, "timeout_s": 5.0, **settings}
        return Client(FetchConfig(**config), resolver)


def says(*pieces, hold=False):
    """A server that reads one request and says these pieces; then it hangs up, or holds the line."""

    async def handle(server, reader, writer):
        await server.request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.005)
        if hold:
            await reader.read()

    return handle


def repeats(answer):
    """A server that gives the same answer to every request of a connection."""

    async def handle(server, reader, writer):
        while True:
            await server.request(reader)
            writer.write(answer)
            await writer.drain()

    return handle


def run(work, loop="uvloop"):
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(work)


def ask(handle, times=1, loop="uvloop", keep_alive=True, **settings):
    """The answers to so many requests, one after the other, and the server that gave them."""

    async def work():
        async with Server(handle) as server, server.client(**settings) as client:
            answers = [await client.try_once(server.url(f"/{i}"), keep_alive) for i in range(times)]
            return answers, server

    return run(work(), loop)


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
def test_every_framing(kind, loop):
    (answer,), server = ask(says(GOOD[kind]), loop=loop)
    assert (answer.status, answer.detail) == (Status.SUCCESS, None)
    assert answer.body == BODY
    assert type(answer.body) is bytes
    assert server.connections == 1


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", BAD)
def test_every_fault(kind, loop):
    raw, status, detail = BAD[kind]
    (answer,), server = ask(says(raw), loop=loop, max_bytes=100_000)
    assert (answer.status, answer.body) == (status, b"")
    assert answer.detail.startswith(detail)
    assert server.connections == 1


@pytest.mark.parametrize("size", [1, SHARED_BYTES - 100, SHARED_BYTES, SHARED_BYTES + 1, 3_000_000])
@pytest.mark.parametrize("loop", LOOPS)
def test_bodies_of_all_sizes(size, loop):
    body = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    for raw in (length(body), chunked(body[: size // 3], body[size // 3 :] or b"x") if size > 3 else length(body),
                OK + b"\r\n" + body):  # fmt: skip
        (answer,), _ = ask(says(raw), loop=loop)
        assert answer.body == body


def test_what_is_announced_too_large_is_not_waited_for():
    began = time.monotonic()
    for code in (b"200 OK", b"404 No"):
        raw = b"HTTP/1.1 " + code + b"\r\nContent-Length: 1000000000000\r\n\r\n"
        (answer,), _ = ask(says(raw, hold=True), timeout_s=60)
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


def test_an_endless_body_is_cut_at_the_cap():
    sent = 0

    async def endless(server, reader, writer):
        nonlocal sent
        await server.request(reader)
        writer.write(OK + b"\r\n")
        while not writer.transport.is_closing():
            writer.write(bytes(1 << 16))
            sent += 1 << 16
            await writer.drain()

    (answer,), _ = ask(endless, max_bytes=1 << 20)
    assert answer.status == Status.TOO_LARGE
    assert sent < 20 << 20


# -- kept connections


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "raw", [length(BODY), chunked(BODY), length(bytes(400_000)), length(BODY).replace(b"200 OK", b"404 No")]
)
def test_a_connection_is_kept_for_the_next_request(raw, loop):
    answers, server = ask(repeats(raw), times=5, loop=loop)
    assert len({(answer.status, answer.body) for answer in answers}) == 1
    assert (server.connections, len(server.requests)) == (1, 5)


@pytest.mark.parametrize(
    "raw",
    [length(BODY, b"Connection: close"), length(BODY).replace(b"1.1", b"1.0"), GOOD["both framings"],
     length(BODY) + b"surplus", chunked(BODY) + b"surplus", chunked(BODY) + length(b"planted")],
)  # fmt: skip
def test_a_connection_is_not_kept_where_its_next_answer_could_be_another(raw):
    answers, server = ask(repeats(raw), times=3)
    assert [answer.body for answer in answers] == [BODY] * 3
    assert server.connections == 3


def test_a_connection_is_closed_where_nobody_wants_it_again():
    answers, server = ask(repeats(length(BODY)), times=2, keep_alive=False)
    assert [answer.body for answer in answers] == [BODY] * 2
    assert server.connections == 2
    assert all(b"\r\nConnection: close\r\n" in raw for raw in server.requests)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["end", "reset", "while asked"])
def test_a_kept_connection_that_died_is_replaced_without_a_word(how, loop):
    async def handle(server, reader, writer):
        await server.request(reader)
        writer.write(length(BODY))
        await writer.drain()
        if how == "while asked":
            await server.request(reader)
        if how == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    answers, server = ask(handle, times=4, loop=loop)
    assert [answer.body for answer in answers] == [BODY] * 4
    assert server.connections == 4


def test_a_fresh_connection_that_hangs_up_is_not_asked_again():
    answers, server = ask(says(), times=2)
    assert [(answer.status, answer.detail) for answer in answers] == [("protocol_error", "the server hung up")] * 2
    assert server.connections == 2


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("banner", [b"", b"220 ftp.test\r\n"])
def test_a_server_that_does_not_wait_for_a_request(banner, loop):
    async def handle(server, reader, writer):
        writer.write(banner)

    answers, _ = ask(handle, times=20, loop=loop)
    assert {answer.status for answer in answers} == {"protocol_error"}


def test_a_connection_that_ends_before_it_is_asked_says_so():
    async def work():
        for was_used, error in ((False, Unanswered), (True, Stale)):
            connection = Connection("key", memoryview(bytearray(SHARED_BYTES)), lambda _: None)
            connection.connection_made(FakeTransport())
            connection.was_used = was_used
            connection.connection_lost(None)
            with pytest.raises(error):
                connection.ask(Ask(b"", lambda head: None, 1, asyncio.get_running_loop().time() + 60, 60))

    asyncio.run(work())


def test_a_kept_connection_that_breaks_within_its_answer_is_not_asked_again():
    async def handle(server, reader, writer):
        await server.request(reader)
        writer.write(length(BODY))
        await server.request(reader)
        writer.write(OK[:9])

    answers, server = ask(handle, times=2)
    assert [answer.status for answer in answers] == ["success", "protocol_error"]
    assert (server.connections, len(server.requests)) == (1, 2)


def test_what_comes_unasked_is_no_answer_to_the_next_request():
    async def handle(server, reader, writer):
        await server.request(reader)
        writer.write(length(b"first"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(length(b"planted"))
        await writer.drain()
        await reader.read()

    async def work():
        async with Server(handle) as server, server.client() as client:
            first = await client.try_once(server.url("/1"))
            await asyncio.sleep(0.2)
            return first, await client.try_once(server.url("/2")), server.connections

    first, second, connections = run(work())
    assert (first.body, second.body, connections) == (b"first", b"first", 2)


def test_what_nobody_wants_to_read_costs_at_most_a_moment():
    """The body of a 404 is taken where it is small, so that the connection serves on; a slow one is left."""

    async def slow(server, reader, writer):
        await server.request(reader)
        writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 1000\r\n\r\nx")
        await reader.read()

    async def brief(server, reader, writer):
        for _ in range(2):
            await server.request(reader)
            writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 1000\r\n\r\nx")
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(b"y" * 999)
        await reader.read()

    began = time.monotonic()
    answers, server = ask(slow, times=2, timeout_s=60)
    assert time.monotonic() - began < 30
    assert ([answer.status for answer in answers], server.connections) == (["http_404"] * 2, 2)
    answers, server = ask(brief, times=2)
    assert ([answer.status for answer in answers], server.connections) == (["http_404"] * 2, 1)
    endless = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + bytes(4096) + b"\r\n"
    answers, server = ask(says(endless, *[b"1000\r\n" + bytes(4096) + b"\r\n"] * 20, hold=True), timeout_s=60)
    assert answers == [Answer(Status.HTTP_404, "HTTP 404")]


def test_idle_connections_are_closed_in_time_and_number(monkeypatch):
    monkeypatch.setattr(pool_module, "_KEPT_S", 0.3)
    monkeypatch.setattr(pool_module, "_MOST_IDLE", 2)

    async def work():
        async with Server(repeats(length(BODY))) as server, server.client() as client:
            for i in range(1, 5):
                await client.try_once(server.url("/", f"127.0.0.{i}" if i == 1 else "127.0.0.1"))
            await asyncio.gather(*(client.try_once(server.url(f"/{i}")) for i in range(4)))
            await asyncio.sleep(0.05)
            few = server.open
            await asyncio.sleep(0.8)
            return few, server.open, client._pool

    few, none, pool = run(work())
    assert (few, none) == (2, 0)
    assert (pool._all, pool._by_key, pool._idle, pool._sweep) == (set(), {}, {}, None)


def test_a_client_leaves_nothing_open():
    async def work():
        async with Server(repeats(length(BODY))) as server:
            async with server.client() as client:
                await asyncio.gather(*(client.try_once(server.url(f"/{i}")) for i in range(8)))
                assert server.open == 8
            await asyncio.sleep(0.1)
            return server.open, len(asyncio.all_tasks())

    assert run(work()) == (0, 1)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_is_cancelled_leaves_no_connection(loop):
    async def work():
        async with Server(says(OK, hold=True)) as server, server.client() as client:
            asking = asyncio.create_task(client.try_once(server.url()))
            while not server.requests:
                await asyncio.sleep(0.01)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            await asyncio.sleep(0.1)
            return server.open, len(client._pool._all)

    assert run(work(), loop) == (0, 0)


# -- deadlines


@pytest.mark.parametrize("pieces", [(), (OK,), (OK + b"Content-Length: 9\r\n\r\nx",), (chunked(b"x", end=b""),)])
def test_the_deadline_holds_at_every_stage(pieces):
    (answer,), _ = ask(says(*pieces, hold=True), timeout_s=0.3)
    assert (answer.status, answer.detail) == (Status.TIMEOUT, "no whole answer in 0.3 s")


def test_the_deadline_is_for_all_redirects_and_for_who_is_asked_about_them():
    async def work():
        moved = b"HTTP/1.1 302 F\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"
        async with Server(repeats(moved)) as server, server.client(timeout_s=0.3) as client:

            async def permit(url):
                await asyncio.sleep(30)

            client.permit = permit
            return await client.try_once(server.url())

    assert run(work()) == Answer(Status.TIMEOUT, "no whole answer in 0.3 s")


class Phonebook:
    """A resolver of what it is told; a number is how long it takes to find nothing."""

    def __init__(self, found):
        self.found = found

    async def resolve(self, host):
        if isinstance(self.found, float):
            await asyncio.sleep(self.found)
            return []
        return self.found


def named(found, handle=None, host="a.test", **settings):
    """The answer of a server at 127.0.0.1 that has a name."""

    async def work():
        serving = Server(handle or repeats(length(BODY)))
        async with serving as server, server.client(Phonebook(found), **settings) as client:
            return await client.try_once(server.url(host=host)), server

    return run(work())


def test_slow_names_are_within_the_deadline():
    assert named(30.0, timeout_s=0.2)[0] == Answer(Status.TIMEOUT, "no whole answer in 0.2 s")
    assert named(0.0)[0].status == Status.CONNECT_ERROR


# -- addresses


def test_the_next_address_is_tried_where_one_is_dead():
    answer, server = named(["127.0.0.9", "127.0.0.8", "127.0.0.1"])
    assert (answer.status, server.connections) == (Status.SUCCESS, 1)
    answer, server = named(["127.0.0.9", "127.0.0.8"])
    assert (answer.status, answer.detail) == (Status.CONNECT_ERROR, "Connection refused")


def test_the_next_address_is_tried_beside_one_that_is_silent():
    async def silent(self, address, port, real):
        if address == "127.0.0.9":
            await asyncio.sleep(30)
        return await real(self, address, port)

    from pipeline.ingest.fetch.connect import Connector

    real = Connector._connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connector, "_connect", lambda *arguments: silent(*arguments, real))
        assert named(["127.0.0.9", "127.0.0.1"])[0].status == Status.SUCCESS
        answer, _ = named(["127.0.0.9"], connect_timeout_s=0.2)
    assert answer == Answer(Status.TIMEOUT, "no connection in 0.2 s")


def test_no_address_that_leads_inward_is_tried_beside_others():
    answer, server = named(["10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"])
    assert (answer.status, answer.detail) == (Status.REFUSED_ADDRESS, "resolves to 10.0.0.1")
    assert server.connections == 0
    answer, _ = named(["not an address", "127.0.0.1"])
    assert answer.status == Status.SUCCESS


# -- what is sent


@pytest.mark.parametrize(
    ("path", "target"),
    [("/a?b=c%20d", b"/a?b=c%20d"), ("/a b", b"/a%20b"), ("/x\r\nX-Evil: 1", b"/xX-Evil:%201"), ("?q", b"/?q"),
     ("/\u00fc", b"/%C3%BC"), ("/#part", b"/"), ("/x\0y", b"/x%00y"), ("/x\u2028y", b"/x%E2%80%A8y")],
)  # fmt: skip
def test_no_url_holds_more_than_a_request_line(path, target):
    async def work():
        async with Server(repeats(length(BODY))) as server, server.client() as client:
            return await client.try_once(server.url(path)), server

    answer, server = run(work())
    assert answer.status == Status.SUCCESS
    (raw,) = server.requests
    assert raw.split(b"\r\n") == [
        b"GET " + target + b" HTTP/1.1", b"Host: 127.0.0.1:%d" % server.port, b"User-Agent: pairmill/0.1 (+contact)",
        b"Accept: image/*,*/*;q=0.5", b"Accept-Encoding: identity", b"", b"",
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), st.sampled_from(["/", "?", "/a/", ":", "@", "."]))
def test_no_text_of_a_list_breaks_a_request(text, before):
    async def work():
        async with Server(repeats(length(BODY))) as server, server.client(Phonebook(["127.0.0.1"])) as client:
            for url in (f"http://a.test{before}{text}", f"http://127.0.0.1:{server.port}{before}{text}"):
                await client.try_once(url, keep_alive=False)
            return server.requests

    for raw in run(work()):
        assert raw.count(b"\n") == raw.count(b"\r\n") == 7
        assert raw.split(b"\r\n")[0].count(b" ") == 2


def test_a_redirect_holds_no_more_than_a_request_line():
    async def work():
        moved = b"HTTP/1.1 302 F\r\nLocation: /x%0d%0aX-Evil:1 y\xfc\r\nContent-Length: 0\r\n\r\n"
        async with Server(repeats(moved)) as server, server.client(max_redirects=1) as client:
            return await client.try_once(server.url()), server

    _, server = run(work())
    assert server.requests[1].startswith(b"GET /x%0D%0AX-Evil:1%20y")
    assert server.requests[1].count(b"\r\n") == 7


def test_hosts_are_named_as_the_web_names_them():
    _, server = named(["127.0.0.1"], host="b\u00fccher.test")
    assert b"\r\nHost: xn--bcher-kva.test:%d\r\n" % server.port in server.requests[0]
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):

        async def work():
            async with Server(repeats(length(BODY)), "::1") as server, server.client() as client:
                return await client.try_once(server.url(host="[::1]")), server

        answer, server = run(work())
        assert answer.status == Status.SUCCESS
        assert b"\r\nHost: [::1]:%d\r\n" % server.port in server.requests[0]


def test_a_user_agent_of_two_lines_is_refused():
    with pytest.raises(RecipeError, match=r"fetch\.user_agent"):
        Client(FetchConfig(user_agent="me\r\nX-Evil: 1"))


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for a.test that nobody signed."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "30", "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_must_be_the_one_it_is_called(certificate, loop):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    body = bytes(range(256)) * 4000

    async def work():
        trusted = {"ca_file": str(certificate / "cert.pem")}
        async with Server(repeats(length(body)), tls=context) as server:
            async with server.client(Phonebook(["127.0.0.1"]), **trusted) as client:
                hosts = ("a.test", "a.test", "a.test.", "b.test")
                found = [await client.try_once(server.url(host=host).replace("http", "https")) for host in hosts]
            async with server.client(Phonebook(["127.0.0.1"])) as client:
                found.append(await client.try_once(server.url(host="a.test").replace("http", "https")))
                found.append(await client.try_once(server.url(host="a.test")))
            return found, server.connections

    found, connections = run(work(), loop)
    assert [answer.body for answer in found[:3]] == [body] * 3
    assert [answer.status for answer in found[3:]] == ["tls_error", "tls_error", "protocol_error"]
    assert "b.test" in found[3].detail
    assert found[4].detail == "self-signed certificate"
    assert connections <= 6


def test_a_server_without_tls(certificate):
    async def work():
        async with Server(says(b"HTTP/1.1 400 Bad\r\n\r\n")) as server, server.client() as client:
            server.request = lambda reader: reader.read(100)
            return await client.try_once(server.url().replace("http", "https"))

    assert run(work()).status == Status.TLS_ERROR


# -- the standard library as a second reader

names = st.text("abcXYZ-09", min_size=1, max_size=12).map(lambda text: f"X-{text}")
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
bodies = st.one_of(st.binary(max_size=600), st.integers(0, 5000).map(lambda size: bytes(range(256)) * (size // 16)))
REASONS = ("200 OK", "203 Other", "404 Not Found", "500", "302 Found", "206 Partial")


@st.composite
def answers(draw):
    """A valid answer as raw bytes; and whether the end of the connection is that of the body."""
    body, framing = draw(bodies), draw(st.sampled_from(["length", "chunks", "end"]))
    lines = [f"HTTP/1.{draw(st.sampled_from('01' if framing != 'chunks' else '1'))} {draw(st.sampled_from(REASONS))}"]
    lines += [f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{value}" for name, value in draw(
        st.lists(st.tuples(names, values), max_size=8))]  # fmt: skip
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
        tail = body
    elif framing == "chunks":
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
        extension, trailer = draw(st.sampled_from([b"", b";a=b"])), draw(st.sampled_from([b"", b"X-Trailer: z\r\n"]))
        chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
        lines.append("Transfer-Encoding: chunked")
        tail = chunks + b"0\r\n" + trailer + b"\r\n"
    else:
        tail = body
    interim = "HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    return (interim + "\r\n".join(lines) + "\r\n\r\n").encode() + tail


class FakeTransport:
    """Stands for a socket, so that pieces can be cut where we like."""

    closing = False

    def write(self, data):
        pass

    def abort(self):
        self.closing = True

    def is_closing(self):
        return self.closing


def feed(pieces):
    """What a connection makes of these pieces and the end after them: a reply, or what it raises."""

    async def work():
        connection = Connection("key", memoryview(bytearray(SHARED_BYTES)), lambda _: None)
        transport = FakeTransport()
        connection.connection_made(transport)
        deadline = asyncio.get_running_loop().time() + 60
        reply = connection.ask(Ask(b"", lambda head: None, 1 << 20, deadline, 60))
        for piece in pieces:
            while piece and not transport.closing:
                room = connection.get_buffer(-1)
                num = min(len(room), len(piece))
                room[:num] = piece[:num]
                connection.buffer_updated(num)
                piece = piece[num:]
        connection.connection_lost(None)
        try:
            return await asyncio.wait_for(reply, 1)
        except Unanswered as error:
            return error

    return asyncio.run(work())


class FakeSocket:
    """Stands for a socket to http.client."""

    def __init__(self, raw):
        self.raw = raw

    def makefile(self, mode):
        return io.BytesIO(self.raw)


def by_the_book(raw):
    """Status, headers and body as http.client reads them."""
    response = http.client.HTTPResponse(FakeSocket(raw))
    response.begin()
    headers = sorted((name.lower().encode(), value.strip().encode()) for name, value in response.getheaders())
    return response.status, headers, response.read()


@settings(max_examples=200, deadline=None)
@given(answers(), st.lists(st.integers(0, 1 << 16), max_size=12))
def test_an_answer_is_the_same_however_it_is_torn(raw, cuts):
    cuts = sorted(cut % (len(raw) + 1) for cut in cuts)
    reply = feed([raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
    headers = sorted((name, value.strip()) for name, values in reply.head.headers.items() for value in values)
    assert (reply.head.status, headers, reply.data) == by_the_book(raw)


@pytest.mark.parametrize("kind", [*GOOD, *BAD])
def test_an_answer_is_the_same_byte_by_byte(kind):
    raw = GOOD[kind] if kind in GOOD else BAD[kind][0]
    if len(raw) > 10_000:
        raw = raw[:10_000]
    whole, torn = feed([raw]), feed([raw[i : i + 1] for i in range(len(raw))])
    assert type(whole) is type(torn)
    if isinstance(whole, Unanswered):
        assert (whole.status, whole.detail) == (torn.status, torn.detail)
    else:
        assert (whole.data, whole.head.headers) == (torn.data, torn.head.headers)


INSERTS = [
    b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b"\r\n\r\n", b"ffffffffffffffffff", b"-1",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: \x0bchunked\r\n",
    b"Connection: close\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
]  # fmt: skip


@st.composite
def mutants(draw):
    """Answers that were once valid."""
    raw = bytearray(draw(answers()))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip" and at < len(raw):
            raw[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del raw[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            raw[at:at] = draw(st.sampled_from(INSERTS))
        else:
            raw[at:at] = raw[at : at + draw(st.integers(1, 50))]
    return bytes(raw)


@settings(max_examples=300, deadline=None)
@given(mutants(), st.lists(st.integers(0, 1 << 16), max_size=6))
def test_no_answer_is_too_strange(raw, cuts):
    cuts = sorted(cut % (len(raw) + 1) for cut in cuts)
    torn = feed([raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
    whole = feed([raw])
    assert type(torn) is type(whole)
    if isinstance(torn, Unanswered):
        assert torn.status in (Status.PROTOCOL_ERROR, Status.TOO_LARGE)
    else:
        assert torn.data == whole.data


@settings(max_examples=50, deadline=None)
@given(st.lists(mutants(), min_size=1, max_size=4))
def test_no_answer_over_a_socket_is_too_strange(raws):
    async def handle(server, reader, writer):
        for raw in raws:
            await server.request(reader)
            writer.write(raw)
            await writer.drain()

    found, _ = ask(handle, times=len(raws), timeout_s=0.2, max_redirects=1)
    assert all(isinstance(answer, Answer) for answer in found)
    assert all(answer.body if answer.status == Status.SUCCESS else not answer.body for answer in found)
