"""Servers that say what they are told to, over real sockets, and connections fed by hand."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
import uvloop

from pipeline.ingest.fetch.client import Client
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.http1 import SHARED_BYTES, Ask, Connection
from pipeline.ingest.fetch.trouble import Unanswered

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


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
        serving = Server(handle or repeats(HELLO))
        async with serving as server, server.client(Phonebook(found), **settings) as client:
            return await client.try_once(server.url(host=host)), server

    return run(work())


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


@pytest.fixture(scope="session")
def lab():
    """Servers and clients: Server, Phonebook, says, repeats, run, ask, named; feed and FakeTransport need no socket."""
    return SimpleNamespace(
        Server=Server, Phonebook=Phonebook, says=says, repeats=repeats, run=run, ask=ask, named=named, feed=feed,
        FakeTransport=FakeTransport, hello=HELLO,
    )  # fmt: skip
