"""A web of faults on loopback: a raw socket server whose every path misbehaves in its own way, or does not."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.commit import Commit
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.peer import PeerFetch
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.media.image import ImageConfig
from pipeline.record import CANDIDATE, sample_key
from pipeline.stage import Part, run_part
from pipeline.store import Store

Handler = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    count: int
    """How often this path was asked for before."""


def photo(seed: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
    """A smooth picture that JPEG hardly changes, with four corners that tell which way is up."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 200 / width, y * 200 / height, np.full_like(x, (seed * 37) % 200, dtype=float)], axis=2)
    pixels[: height // 4, : width // 4] = (250, 20, 20)
    pixels[: height // 4, -width // 4 :] = (20, 250, 20)
    pixels[-height // 4 :, : width // 4] = (20, 20, 250)
    return pixels.astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def head(status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: image/jpeg", "Connection: close"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass
class FaultWeb:
    """Serves `pages`: path -> handler, or bytes to be served as an image."""

    pages: dict[str, Handler | bytes] = field(default_factory=dict)
    port: int = 0
    seen: list[Request] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        return sum(request.path == path for request in self.seen)

    def page(self, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.pages[path] = handler
            return handler

        return register

    def raw(self, path: str, answer: bytes) -> None:
        """Send exactly these bytes, then close."""

        async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        self.pages[path] = handler

    def redirect(self, path: str, to: str, status: str = "302 Found") -> None:
        self.raw(path, head(status, 0, Location=to))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = raw[0].split(" ")[1]
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in raw[1:] if line)}
            request = Request(path, headers, self.asked(path))
            self.seen.append(request)
            page = self.pages.get(path.split("?")[0])
            if page is None:
                writer.write(head("404 Not Found", 0))
            elif isinstance(page, bytes):
                writer.write(head(length=len(page)) + page)
            else:
                await page(request, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self.busy -= 1
            writer.close()


@dataclass
class Served:
    """Runs a FaultWeb on a thread with its own loop."""

    web: FaultWeb
    host: str = "127.0.0.1"
    tls: object = None

    def __enter__(self) -> FaultWeb:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def serve() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self.web.answer, self.host, 0, ssl=self.tls)
            self.web.port = server.sockets[0].getsockname()[1]
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
        return self.web

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def web() -> Iterator[FaultWeb]:
    """An empty web; add pages to it."""
    with Served(FaultWeb()) as served:
        yield served


@pytest.fixture
def faults(web: FaultWeb) -> FaultWeb:
    """A web with one page per fault; tests name the path and the status it must end in."""
    good = encoded(photo(1), quality=90)
    web.pages["/good.jpg"] = good
    for code, words in [(403, "Forbidden"), (404, "Not Found"), (410, "Gone"), (401, "Unauthorized"), (418, "Teapot"),
                        (500, "Oops"), (503, "Busy"), (204, "No Content"), (304, "Not Modified"), (206, "Partial")]:
        web.raw(f"/status/{code}", head(f"{code} {words}", 0))
    web.raw("/empty", head(length=0))
    web.raw("/html.jpg", head(length=40) + b"<html><body>not an image</body></html>\n\n")
    web.raw("/svg.jpg", b"".join((head(), b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')))
    web.raw("/truncated.jpg", head(length=len(good) // 2) + good[: len(good) // 2])
    web.raw("/lying-long", head(length=len(good) + 1000) + good)
    web.raw("/lying-short", head(length=len(good) // 2) + good)
    web.raw("/garbage", b"\x00\x01\x02 this is not HTTP\r\n\r\n")
    web.raw("/hang-up", b"")
    web.raw("/announced-large", head(length=10**12))
    web.raw("/header-flood", b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(5000)) + b"\r\n")
    web.raw("/long-header", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n")
    web.raw("/gzip-bomb", head(Content_Encoding="gzip") + gzip.compress(bytes(60 << 20)))
    web.raw("/gzip-good", head(Content_Encoding="gzip") + gzip.compress(good))
    web.raw("/gzip-cut", head(Content_Encoding="gzip") + gzip.compress(good)[:-20])
    web.raw("/gzip-lie", head(Content_Encoding="gzip") + good)
    web.raw("/brotli", head(Content_Encoding="br") + good)
    web.redirect("/loop", "/loop")
    web.redirect("/redirect-good", "/good.jpg")
    web.redirect("/redirect-inward", f"http://127.0.0.2:{web.port}/good.jpg")
    web.redirect("/redirect-metadata", "http://169.254.169.254/latest/meta-data/")
    web.redirect("/redirect-port", "http://127.0.0.1:22/")
    web.redirect("/redirect-file", "file:///etc/passwd")
    web.redirect("/redirect-userinfo", f"http://user:secret@127.0.0.1:{web.port}/good.jpg")
    web.redirect("/redirect-nonsense", "http://[")

    @web.page("/hang")
    async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    @web.page("/drip")
    async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(length=len(good)))
        for byte in good:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)

    @web.page("/drip-header")
    async def drip_header(request: Request, writer: asyncio.StreamWriter) -> None:
        for byte in head(length=len(good)) * 100:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)

    @web.page("/endless")
    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head())
        while True:
            writer.write(b"\xff\xd8\xff" + os.urandom(1 << 16))
            await writer.drain()

    @web.page("/reset")
    async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(length=len(good)) + good[:100])
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: RST
        writer.transport.abort()

    @web.page("/flaky")
    async def flaky(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head("503 Busy", 0) if request.count < 2 else head(length=len(good)) + good)

    @web.page("/slow-down")
    async def slow_down(request: Request, writer: asyncio.StreamWriter) -> None:
        answer = head("429 Too Many Requests", 0, Retry_After="0")
        writer.write(answer if request.count < 1 else head(length=len(good)) + good)

    web.raw("/slow-down-long", head("429 Too Many Requests", 0, Retry_After="3600"))
    return web


@pytest.fixture(scope="session")
def draw() -> SimpleNamespace:
    """Pictures and answers: photo, encoded, head."""
    return SimpleNamespace(photo=photo, encoded=encoded, head=head)


@pytest.fixture
def serve() -> Callable[..., Served]:
    """Further webs: `with serve(host=..., tls=...) as web`."""
    return lambda **options: Served(FaultWeb(), **options)


@dataclass
class Fetched:
    """A raw part, opened: its FETCHED rows, its tar members in order, its stats and its commit."""

    rows: list[dict[str, Any]]
    members: list[tuple[str, bytes]]
    stats: dict[str, Any]
    commit: Commit
    dataset: Store

    @property
    def statuses(self) -> list[str]:
        return [row["outcome"] for row in self.rows]


def candidates(urls: Sequence[str], **columns: Sequence[Any]) -> pa.Table:
    """A candidate part of these URLs; further columns as given."""
    names = [f"list#{i}" for i in range(len(urls))]
    rows = {
        "key": [sample_key("test", name) for name in names],
        "source": ["test"] * len(urls),
        "source_id": names,
        "medium": ["image"] * len(urls),
        "url": list(urls),
        "texts": [[{"text": f"caption {i}", "kind": "alt", "lang": None}] for i in range(len(urls))],
        **columns,
    }
    arrays = [pa.array(rows.get(item.name, [None] * len(urls)), item.type) for item in CANDIDATE]
    return pa.Table.from_arrays(arrays, schema=CANDIDATE)


def open_raw(dataset: Store, commit: Commit) -> Fetched:
    """Read a raw part back by other means than those that wrote it, and check that it adds up."""
    rows = pq.read_table(io.BytesIO(dataset.read_bytes(commit.file(".parquet")))).to_pylist()
    data = dataset.read_bytes(commit.file(".tar"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(item.name, archive.extractfile(item).read()) for item in archive]
    stats = json.loads(dataset.read_bytes(commit.file("_stats.json")))
    assert sum(commit.counts.values()) == commit.rows_in == len(rows) == stats["count"]
    assert stats["successes"] + stats["failed_to_download"] + stats["failed_to_resize"] == stats["count"]
    assert stats["status_dict"] == commit.counts == dict(Counter(row["outcome"] for row in rows))
    for row in rows:
        if row["outcome"] == "success":
            stored = data[row["tar_offset"] : row["tar_offset"] + row["tar_bytes"]]
            assert dict(members)[row["member"]] == stored
        else:
            assert row["member"] is None
            assert row["sha256"] is None
    assert len({name for name, _ in members}) == len(members)
    return Fetched(rows, members, stats, commit, dataset)


@pytest.fixture(scope="session")
def candidates_of() -> Callable[..., pa.Table]:
    """A candidate part of some URLs: `candidates_of(urls)`."""
    return candidates


@pytest.fixture(scope="session")
def open_part() -> Callable[[Store, Commit], Fetched]:
    """Read a raw part back, checked: `open_part(dataset, commit)`."""
    return open_raw


@pytest.fixture
def fetch(tmp_path: Path, web: FaultWeb) -> Callable[..., Fetched]:
    """Run the whole fetch stage over URLs; `config` and `image` are settings, other names candidate columns."""

    def run(
        urls: Sequence[str], *, config: dict[str, Any] | None = None, image: dict[str, Any] | None = None,
        folder: str = "dataset", **columns: Sequence[Any],
    ) -> Fetched:
        dataset = Store(str(tmp_path / folder))
        local = tmp_path / "part.parquet"
        pq.write_table(candidates(urls, **columns), local)
        dataset.put_file(local, "candidates/part-00000-00000.parquet")
        open_web = {"robots": "ignore", "tdmrep": "ignore", "ports": (web.port,), "allow_private": ("127.0.0.1/32",)}
        settings = {"timeout_s": 30.0, "retries": 0, **open_web, **(config or {})}
        fetch_config = FetchConfig(**settings)
        engine = {"pairmill": Fetch, "img2dataset": PeerFetch}[fetch_config.engine]
        stage = engine(fetch_config, ImageConfig(**(image or {})))
        stage.setup()
        part = Part("00007", facts={"candidates": "candidates/part-00000-00000.parquet"})
        return open_raw(dataset, run_part(stage, part, "test", dataset))

    return run


@pytest.fixture
def img2dataset(tmp_path: Path) -> Callable[..., Path]:
    """Run the real img2dataset on a list: `img2dataset({"url": [...], "caption": [...]}, image_size=64)` -> folder."""

    def run(columns: dict[str, Sequence[Any]], **options: Any) -> Path:
        urls, out = tmp_path / "list.parquet", tmp_path / "img2dataset"
        pq.write_table(pa.table(columns), urls)
        given = {
            "url_list": str(urls), "input_format": "parquet", "url_col": "url", "caption_col": "caption",
            "output_format": "webdataset", "output_folder": str(out), "processes_count": 1, "thread_count": 8,
            **options,
        }  # fmt: skip
        script = "import sys, json, img2dataset; img2dataset.download(**json.loads(sys.argv[1]))"
        quiet = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "no_proxy": "127.0.0.1"}
        command = [sys.executable, "-c", script, json.dumps(given)]
        done = subprocess.run(command, timeout=200, capture_output=True, env=quiet)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        return out

    return run
