"""Opening a connection: the name resolved, each address judged where its socket is made, TLS on top.

Addresses are tried in the resolver's order; where one has not answered after a quarter of a second the next is tried
beside it (after RFC 8305, without its sorting). What is connected to is the very address that was judged.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, Sequence

from pipeline.errors import StageError
from pipeline.ingest.fetch.guard import Guard, RefusedAddress, literal
from pipeline.ingest.fetch.http1 import Connection
from pipeline.ingest.fetch.names import Names
from pipeline.ingest.fetch.target import Origin
from pipeline.ingest.fetch.trouble import Unanswered, cause, explain, is_ours
from pipeline.record import Status

_STAGGER_S = 0.25


@functools.cache
def tls_context(tls: str, ca_file: str | None) -> ssl.SSLContext:
    """The TLS settings of a process: made once, since loading the authorities takes 20 ms and more."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    if tls == "accept_any":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Connector:
    """Opens connections to origins. `timeout_s` is for one connection, TLS included, names not."""

    def __init__(self, guard: Guard, names: Names, tls: ssl.SSLContext, timeout_s: float) -> None:
        self._guard, self._names, self._tls, self._timeout_s = guard, names, tls, timeout_s

    async def open(self, origin: Origin, make: Callable[[], Connection]) -> Connection:
        """A fresh connection to `origin`.

        Raises: Unanswered: there is none; StageError: this machine is in trouble.
        """
        addresses = await self._resolve(origin.host)
        try:
            async with asyncio.timeout(self._timeout_s):
                stream = await self._race(addresses, origin.port)
                return await self._start(stream, origin, make)
        except TimeoutError:
            raise Unanswered(Status.TIMEOUT, f"no connection in {self._timeout_s:g} s") from None

    async def _resolve(self, host: str) -> Sequence[str]:
        if literal(host) is not None:
            return (host,)
        try:
            return await self._names.resolve(host)
        except OSError:
            raise Unanswered(Status.DNS_ERROR, "the name does not resolve") from None

    async def _race(self, addresses: Sequence[str], port: int) -> socket.socket:
        """A socket connected to the first of the addresses that answers. Raises: Unanswered, StageError."""
        if len(addresses) == 1:
            try:
                return await self._connect(addresses[0], port)
            except OSError as error:
                raise self._failure([error]) from error
        waiting, running, errors = list(addresses), set(), []
        try:
            while waiting or running:
                if waiting:
                    running.add(asyncio.create_task(self._connect(waiting.pop(0), port)))
                patience_s = _STAGGER_S if waiting else None
                done, running = await asyncio.wait(running, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                connected = [task.result() for task in done if task.exception() is None]
                for surplus in connected[1:]:
                    surplus.close()
                if connected:
                    return connected[0]
                errors += [task.exception() for task in done]
            raise self._failure(errors)
        finally:
            for task in running:
                task.add_done_callback(_close_late)
                task.cancel()

    async def _connect(self, address: str, port: int) -> socket.socket:
        """A socket connected to `address`. Raises: OSError; RefusedAddress is one."""
        if ":" in address:
            family, where = socket.AF_INET6, (address, port, 0, 0)
        else:
            family, where = socket.AF_INET, (address, port)
        stream = self._guard.make_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where))
        try:
            stream.setblocking(False)
            await asyncio.get_running_loop().sock_connect(stream, where)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _start(self, stream: socket.socket, origin: Origin, make: Callable[[], Connection]) -> Connection:
        """Give a connected socket to a connection, through TLS where the origin wants it."""
        options = {"ssl": self._tls, "server_hostname": origin.host.rstrip(".")} if origin.is_tls else {}
        try:
            _, connection = await asyncio.get_running_loop().create_connection(make, sock=stream, **options)
        except ssl.SSLError as error:
            stream.close()
            raise Unanswered(*explain(error)) from error
        except OSError as error:
            stream.close()
            raise self._failure([error]) from error
        except BaseException:
            stream.close()
            raise
        return connection

    @staticmethod
    def _failure(errors: Sequence[BaseException]) -> Exception:
        """What to raise where no address led anywhere; a refusal says more than an address that is dead."""
        for error in errors:
            if is_ours(error):
                words = f"fetch: cannot open a socket: {cause(error)}. Raise `ulimit -n`, or lower fetch.concurrency."
                return StageError(words)
            if not isinstance(error, OSError):
                return error
        for error in errors:
            if isinstance(error, RefusedAddress):
                return Unanswered(Status.REFUSED_ADDRESS, f"resolves to {error.address}")
        return Unanswered(Status.CONNECT_ERROR, cause(errors[-1]) if errors else "the name has no address")


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """Close what connected although another was faster."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
