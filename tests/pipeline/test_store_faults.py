"""A store in trouble: S3 behind a proxy that fails on purpose, a full disk, a folder that may not be written.

What passes is tried again; what stays is one clear error; nothing half-written is ever visible as committed.
"""

import asyncio
import os
import struct
import threading
import uuid
from collections import Counter

import boto3
import pytest
import s3fs

from pipeline.commit import publish, read_commits
from pipeline.engine import Engine, EngineConfig
from pipeline.errors import PairmillError, StoreError
from pipeline.stage import Made, Part, Resources
from pipeline.store import Store

BIG = os.urandom(3 << 20)


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


def made(tmp_path, data=BIG):
    local = tmp_path / uuid.uuid4().hex
    local.write_bytes(data)
    return Made({"data/1.bin": local}, 1, 1)


@pytest.mark.parametrize("fault", ["500 InternalError", "503 SlowDown", "reset", "hang"])
def test_what_passes_is_tried_again(faulty, tmp_path, fault):
    """The first try of every write, and of every read, meets the fault."""
    proxy, store, held = faulty
    proxy.fault = lambda method, path, count: fault if count == 0 and method in ("PUT", "GET") else None
    commit = publish(store, "s", "1", "hash", made(tmp_path))
    assert held()["folder/data/1.bin"] == BIG
    assert read_commits(store, "s") == {"1": commit}
    assert store.read_bytes("data/1.bin") == BIG
    assert max(proxy.asked.values()) >= 2


def test_an_answer_that_is_cut_is_read_again(faulty, tmp_path):
    proxy, store, _ = faulty
    store.put_bytes("a.bin", BIG)
    proxy.fault = lambda method, path, count: "cut" if (method, count) == ("GET", 0) else None
    assert store.read_bytes("a.bin") == BIG
    proxy.asked.clear()
    with store.fetched("a.bin") as local:
        assert local.read_bytes() == BIG


@pytest.mark.parametrize("fault", ["503 SlowDown", "reset", "hang"])
@pytest.mark.parametrize("name", ["data/1.bin", "commits/s/1.json"])
def test_what_stays_is_one_error_and_nothing_is_committed(faulty, impatient, tmp_path, fault, name):
    proxy, store, held = faulty
    proxy.fault = lambda method, path, count: fault if method == "PUT" and path.endswith(name) else None
    with pytest.raises(StoreError, match=rf"^{store.url}/{name}: \S") as caught:
        publish(store, "s", "1", "hash", made(tmp_path))
    assert "test" not in str(caught.value).replace(store.url, "")  # the credentials of the tests
    assert set(held()) <= {"folder/data/1.bin"} - {f"folder/{name}"}
    assert read_commits(store, "s") == {}
    proxy.fault = lambda method, path, count: None
    publish(store, "s", "1", "hash", made(tmp_path))
    assert set(held()) == {"folder/data/1.bin", "folder/commits/s/1.json"}


class Writes:
    """A stage that writes one file of noise per part."""

    name, version = "writes", 1
    resources = Resources()

    def settings(self):
        return {}

    def setup(self):
        pass

    def make(self, part, work):
        local = work.scratch / "x"
        local.write_bytes(part.id.encode() * 10)
        return Made({f"data/{part.id}.bin": local}, 1, 1)


def test_a_part_that_cannot_be_stored_stops_no_other_and_is_made_by_the_next_run(faulty, impatient):
    proxy, store, held = faulty
    parts = [Part(f"{i}") for i in range(4)]
    proxy.fault = lambda method, path, count: "500 InternalError" if path.endswith("data/2.bin") else None
    engine = Engine(store, EngineConfig(place="process", workers=2))
    with pytest.raises(StoreError, match=r"data/2\.bin"):
        engine.run(Writes(), parts)
    assert set(read_commits(store, "writes")) == {"0", "1", "3"}
    proxy.fault = lambda method, path, count: None
    proxy.asked.clear()
    engine.run(Writes(), parts)
    assert [path for method, path in proxy.asked if method == "PUT" and "/data/" in path] == [
        f"/{store.root}/data/2.bin"
    ]
    assert {name for name in held() if "/data/" in name} == {f"folder/data/{i}.bin" for i in range(4)}


def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    """A real read-only mount; root may write anywhere else."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o ro tmpfs {folder} 2>/dev/null") != 0:
        pytest.skip("needs root and tmpfs to make a read-only folder")
    try:
        store = Store(str(folder))
        with pytest.raises(StoreError, match=r"a\.bin: cannot write: Read-only file system"):
            store.put_bytes("a.bin", b"x")
        with pytest.raises(PairmillError, match="Read-only file system"):
            Engine(store, EngineConfig(place="process")).run(Writes(), [Part("0")])
    finally:
        os.system(f"umount {folder}")
