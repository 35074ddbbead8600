"""A small web on this machine, for the quickstart and for trials: pages that answer, and pages with the faults of real
hosts. It listens on the loopback interface alone, in a thread of its own, with real sockets.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from aiohttp import web

from pipeline.errors import AskedWrongly

Fault = Literal[
    "none", "missing", "gone", "server_error", "hang", "html", "truncated", "opted_out", "endless", "redirect_loop"
]
_HTML = b"<!doctype html><html><head><title>Not here</title></head><body>This picture has moved.</body></html>"
_HANG_S = 120.0


@dataclass(frozen=True, slots=True)
class Page:
    """What the web answers on one path: a body from memory or from a file, and how the host misbehaves."""

    body: bytes | Path = b""
    fault: Fault = "none"
    mime: str = "image/jpeg"


class LocalWeb:
    """Serves `pages` (path without leading slash -> Page) on 127.0.0.1 inside a `with` block.

    `port` 0 takes a free one. `url` is the base, such as http://127.0.0.1:40123.
    """

    def __init__(self, pages: Mapping[str, Page], port: int = 0) -> None:
        self._pages = pages
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local-web", daemon=True)
        self.url = ""
        self.requests = 0

    @classmethod
    @contextmanager
    def on_kept_port(cls, pages: Mapping[str, Page], file: Path) -> Iterator[LocalWeb]:
        """Serve on the port that `file` keeps from an earlier run, so that URLs stay; else keep a free one there.

        Raises: AskedWrongly: another program has taken it.
        """
        with cls(pages, _kept_port(file)) as web:
            file.write_text(web.url.rsplit(":", 1)[1])
            yield web

    def __enter__(self) -> LocalWeb:
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _stop(self) -> None:
        await self._runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        page = self._pages.get(request.match_info["path"])
        if page is None or page.fault == "missing":
            return web.Response(status=404, body=_HTML, content_type="text/html")
        if page.fault == "none":
            return web.Response(body=_bytes(page), content_type=page.mime)
        return await self._misbehave(request, page)

    async def _misbehave(self, request: web.Request, page: Page) -> web.StreamResponse:
        match page.fault:
            case "gone":
                return web.Response(status=410)
            case "server_error":
                return web.Response(status=500)
            case "html":
                return web.Response(body=_HTML, content_type=page.mime)
            case "truncated":
                body = _bytes(page)
                return web.Response(body=body[: len(body) // 2], content_type=page.mime)
            case "opted_out":
                return web.Response(body=_bytes(page), content_type=page.mime, headers={"X-Robots-Tag": "noai"})
            case "redirect_loop":
                raise web.HTTPFound(str(request.rel_url))
            case "hang":
                await asyncio.sleep(_HANG_S)
                return web.Response()
            case _:
                return await self._endless(request, page)

    async def _endless(self, request: web.Request, page: Page) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = page.mime
        await response.prepare(request)
        body = _bytes(page)
        while True:
            await response.write(body)
            await asyncio.sleep(0)


def _kept_port(file: Path) -> int:
    """The port that `file` keeps from an earlier run, so that URLs stay as they were; 0 where there is none.

    Raises: AskedWrongly: another program has taken it.
    """
    if not file.exists():
        return 0
    port = int(file.read_text())
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise AskedWrongly(
                f"{file}: port {port} of the earlier run is in use by another program, and the list's links name it. "
                "Free the port, or choose another folder with --out."
            ) from None
    return port


def _bytes(page: Page) -> bytes:
    return page.body if isinstance(page.body, bytes) else page.body.read_bytes()
