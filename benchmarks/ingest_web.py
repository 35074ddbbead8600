"""The web that benchmarks/ingest.py downloads from: every answer is made before it is asked for.

    python benchmarks/ingest_web.py FOLDER HOSTS

Serves FOLDER/500/7.jpg as /500/7, whatever the query, on HOSTS addresses from 127.0.0.1 upwards, all on one port, which
it prints. Ends when its standard input does. A process of its own, whose CPU is no part of any figure.
"""

import asyncio
import os
import sys
from ipaddress import IPv4Address
from pathlib import Path


def addresses(hosts):
    """As many loopback addresses; all of 127.0.0.0/8 leads to this machine."""
    return [str(IPv4Address("127.0.0.1") + k) for k in range(hosts)]


NOT_HERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
"""For robots.txt and tdmrep.json, which pairmill asks for: no rules."""


class Answers(asyncio.Protocol):
    """One connection, kept for as many requests as the client wants."""

    def __init__(self, pages):
        self.pages, self.unread = pages, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.unread += data
        while (end := self.unread.find(b"\r\n\r\n")) >= 0:
            request, self.unread = self.unread[:end], self.unread[end + 4 :]
            path = request.split(b" ", 2)[1].partition(b"?")[0]
            self.transport.write(self.pages.get(path, NOT_HERE))
            if b"onnection: close" in request:
                self.transport.close()


def load_pages(folder):
    pages = {}
    for file in folder.glob("*/*.jpg"):
        body = file.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        pages[f"/{file.parent.name}/{file.stem}".encode()] = head.encode() + body
    return pages


async def serve(folder, hosts):
    loop = asyncio.get_running_loop()
    pages = load_pages(folder)
    first, *others = addresses(hosts)
    server = await loop.create_server(lambda: Answers(pages), first, 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    if others:
        await loop.create_server(lambda: Answers(pages), others, port, backlog=64)
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # connections that clients keep need no farewell


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
