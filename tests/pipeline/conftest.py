"""An S3 server that fails on purpose, and a stop at any write."""

import asyncio
import os
import struct
import threading
from collections import Counter

import boto3
import pytest
import s3fs

from pipeline.store import Store


class FaultyS3:
    """A proxy on real sockets before an S3 server. `fault(method, path, count)` names what goes wrong, if anything.

    One request per connection. `count` is how often this method and path were asked for before.
    """

    def __init__(self, server_port):
        self.server_port = server_port
        self.fault = lambda method, path, count: None
        self.asked = Counter()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def serve():
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._stop.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(serve()))
        self._thread.start()
        ready.wait(10)

    def close(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _answer(self, reader, writer):
        try:
            await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[:2]
        asked = method.decode(), path.decode().partition("?")[0]
        fault = self.fault(*asked, self.asked[asked])
        self.asked[asked] += 1
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if fault == "hang":
            await asyncio.sleep(60)
        if headers.get(b"expect") == b"100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault == "reset":
            await reader.read(1 << 16)
            writer.get_extra_info("socket").setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: RST
            writer.transport.abort()
            return
        body = await reader.readexactly(int(headers.get(b"content-length", 0)))
        if fault in ("500 InternalError", "503 SlowDown"):
            status, _, code = fault.partition(" ")
            text = f"<Error><Code>{code}</Code><Message>Please reduce your request rate.</Message></Error>".encode()
            writer.write(b"HTTP/1.1 %s No\r\nConnection: close\r\nContent-Type: application/xml\r\n"
                         b"Content-Length: %d\r\n\r\n" % (status.encode(), len(text)) + text)  # fmt: skip
            await writer.drain()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"expect:"))]
        up_writer.write(b"\r\n".join([kept[0], b"Connection: close", *kept[1:]]) + body)
        answer = await up_reader.read()
        up_writer.close()
        writer.write(answer[: len(answer) // 2] if fault == "cut" else answer)
        await writer.drain()


class Stop(BaseException):
    """What takes the place of a kill."""


@pytest.fixture
def stopped_at(monkeypatch):
    """stopped_at(call, number, act, *given): act with so many of the store's calls let through; was it stopped?"""

    def act_until(call, number, act, *given):
        real, left = getattr(Store, call), [number]

        def stopping(self, *arguments):
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            return real(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Store, call, stopping)
            try:
                act(*given)
            except Stop:
                return True
        return False

    return act_until


@pytest.fixture
def faulty(s3_bucket, monkeypatch):
    """(proxy, store behind it, what the server itself holds)."""
    real = os.environ["AWS_ENDPOINT_URL"]
    proxy = FaultyS3(int(real.rsplit(":", 1)[1]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 1.0)
    monkeypatch.setattr("pipeline.store._STALLED_S", 2.0)
    monkeypatch.setattr("pipeline.store._SLOWEST_BYTES_PER_S", 1e9)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3", endpoint_url=real)
    bucket = s3_bucket.removeprefix("s3://")

    def held():
        listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {item["Key"]: client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read() for item in listed}

    yield proxy, Store(f"{s3_bucket}/folder"), held
    s3fs.S3FileSystem.clear_instance_cache()
    proxy.close()


@pytest.fixture
def impatient(monkeypatch):
    """Fewer tries than by default, so that the end of all tries comes soon."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)
    monkeypatch.setattr("pipeline.store._UPLOADS", 2)
    s3fs.S3FileSystem.clear_instance_cache()
