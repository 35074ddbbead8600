"""Connections kept for the next request: only where its answer cannot be another's, and not for ever."""

import asyncio
import contextlib
import socket
import struct
import time

import pytest

from pipeline.ingest.fetch import pool as pool_module
from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.http1 import SHARED_BYTES, Ask, Connection
from pipeline.ingest.fetch.trouble import Stale, Unanswered
from pipeline.record import Status

OK = b"HTTP/1.1 200 OK\r\n"
LOOPS = ("uvloop", "asyncio")
BODY = bytes(range(256)) * 8


def length(body, *lines):
    return OK + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*parts, end=b"0\r\n\r\n"):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + end


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "raw", [length(BODY), chunked(BODY), length(bytes(400_000)), length(BODY).replace(b"200 OK", b"404 No")]
)
def test_a_connection_is_kept_for_the_next_request(lab, raw, loop):
    answers, server = lab.ask(lab.repeats(raw), times=5, loop=loop)
    assert len({(answer.status, answer.body) for answer in answers}) == 1
    assert (server.connections, len(server.requests)) == (1, 5)


BOTH_FRAMINGS = OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + BODY + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [length(BODY, b"Connection: close"), length(BODY).replace(b"1.1", b"1.0"), BOTH_FRAMINGS,
     length(BODY) + b"surplus", chunked(BODY) + b"surplus", chunked(BODY) + length(b"planted")],
)  # fmt: skip
def test_a_connection_is_not_kept_where_its_next_answer_could_be_another(lab, raw):
    answers, server = lab.ask(lab.repeats(raw), times=3)
    assert [answer.body for answer in answers] == [BODY] * 3
    assert server.connections == 3


def test_a_connection_is_closed_where_nobody_wants_it_again(lab):
    answers, server = lab.ask(lab.repeats(length(BODY)), times=2, keep_alive=False)
    assert [answer.body for answer in answers] == [BODY] * 2
    assert server.connections == 2
    assert all(b"\r\nConnection: close\r\n" in raw for raw in server.requests)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["end", "reset", "while asked"])
def test_a_kept_connection_that_died_is_replaced_without_a_word(lab, how, loop):
    async def handle(server, reader, writer):
        await server.request(reader)
        writer.write(length(BODY))
        await writer.drain()
        if how == "while asked":
            await server.request(reader)
        if how == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    answers, server = lab.ask(handle, times=4, loop=loop)
    assert [answer.body for answer in answers] == [BODY] * 4
    assert server.connections == 4


def test_a_fresh_connection_that_hangs_up_is_not_asked_again(lab):
    answers, server = lab.ask(lab.says(), times=2)
    assert [(answer.status, answer.detail) for answer in answers] == [("protocol_error", "the server hung up")] * 2
    assert server.connections == 2


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("banner", [b"", b"220 ftp.test\r\n"])
def test_a_server_that_does_not_wait_for_a_request(lab, banner, loop):
    async def handle(server, reader, writer):
        writer.write(banner)

    answers, _ = lab.ask(handle, times=20, loop=loop)
    assert {answer.status for answer in answers} == {"protocol_error"}


def test_a_connection_that_ends_before_it_is_asked_says_so(lab):
    async def work():
        for was_used, error in ((False, Unanswered), (True, Stale)):
            connection = Connection("key", memoryview(bytearray(SHARED_BYTES)), lambda _: None)
            connection.connection_made(lab.FakeTransport())
            connection.was_used = was_used
            connection.connection_lost(None)
            with pytest.raises(error):
                connection.ask(Ask(b"", lambda head: None, 1, asyncio.get_running_loop().time() + 60, 60))

    asyncio.run(work())


def test_a_kept_connection_that_breaks_within_its_answer_is_not_asked_again(lab):
    async def handle(server, reader, writer):
        await server.request(reader)
        writer.write(length(BODY))
        await server.request(reader)
        writer.write(OK[:9])

    answers, server = lab.ask(handle, times=2)
    assert [answer.status for answer in answers] == ["success", "protocol_error"]
    assert (server.connections, len(server.requests)) == (1, 2)


def test_what_comes_unasked_is_no_answer_to_the_next_request(lab):
    async def handle(server, reader, writer):
        await server.request(reader)
        writer.write(length(b"first"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(length(b"planted"))
        await writer.drain()
        await reader.read()

    async def work():
        async with lab.Server(handle) as server, server.client() as client:
            first = await client.try_once(server.url("/1"))
            await asyncio.sleep(0.2)
            return first, await client.try_once(server.url("/2")), server.connections

    first, second, connections = lab.run(work())
    assert (first.body, second.body, connections) == (b"first", b"first", 2)


def test_what_nobody_wants_to_read_costs_at_most_a_moment(lab):
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
    answers, server = lab.ask(slow, times=2, timeout_s=60)
    assert time.monotonic() - began < 30
    assert ([answer.status for answer in answers], server.connections) == (["http_404"] * 2, 2)
    answers, server = lab.ask(brief, times=2)
    assert ([answer.status for answer in answers], server.connections) == (["http_404"] * 2, 1)
    endless = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + bytes(4096) + b"\r\n"
    answers, server = lab.ask(lab.says(endless, *[b"1000\r\n" + bytes(4096) + b"\r\n"] * 20, hold=True), timeout_s=60)
    assert answers == [Answer(Status.HTTP_404, "HTTP 404")]


def test_idle_connections_are_closed_in_time_and_number(lab, monkeypatch):
    monkeypatch.setattr(pool_module, "_KEPT_S", 0.3)
    monkeypatch.setattr(pool_module, "_MOST_IDLE", 2)

    async def work():
        async with lab.Server(lab.repeats(length(BODY))) as server, server.client() as client:
            for i in range(1, 5):
                await client.try_once(server.url("/", f"127.0.0.{i}" if i == 1 else "127.0.0.1"))
            await asyncio.gather(*(client.try_once(server.url(f"/{i}")) for i in range(4)))
            await asyncio.sleep(0.05)
            few = server.open
            await asyncio.sleep(0.8)
            return few, server.open, client._pool

    few, none, pool = lab.run(work())
    assert (few, none) == (2, 0)
    assert (pool._all, pool._by_key, pool._idle, pool._sweep) == (set(), {}, {}, None)


def test_a_client_leaves_nothing_open(lab):
    async def work():
        async with lab.Server(lab.repeats(length(BODY))) as server:
            async with server.client() as client:
                await asyncio.gather(*(client.try_once(server.url(f"/{i}")) for i in range(8)))
                assert server.open == 8
            await asyncio.sleep(0.1)
            return server.open, len(asyncio.all_tasks())

    assert lab.run(work()) == (0, 1)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_is_cancelled_leaves_no_connection(lab, loop):
    async def work():
        async with lab.Server(lab.says(OK, hold=True)) as server, server.client() as client:
            asking = asyncio.create_task(client.try_once(server.url()))
            while not server.requests:
                await asyncio.sleep(0.01)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            await asyncio.sleep(0.1)
            return server.open, len(client._pool._all)

    assert lab.run(work(), loop) == (0, 0)
