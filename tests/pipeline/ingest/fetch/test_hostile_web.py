"""What a hostile web does to hold up, flood or mislead a worker; over real sockets, through the whole stage."""

import asyncio
import gzip
import io
import os
import tarfile
import time
import zipfile
import zlib

import pytest

from pipeline.ingest.fetch import names


def thousand_hops(web, draw, wait_s=0.0):
    """/hop?0 leads to /hop?1 and so on; /hop?1000 is a picture."""
    body = draw.encoded(draw.photo())

    async def hop(request, writer):
        number = int(request.path.partition("?")[2])
        await asyncio.sleep(wait_s)
        to = draw.head("302 Found", 0, Location=f"/hop?{number + 1}")
        writer.write(to if number < 1000 else draw.head(length=len(body)) + body)

    web.pages["/hop"] = hop


@pytest.mark.parametrize(
    ("config", "status"),
    [({}, "too_many_redirects"), ({"max_redirects": 999}, "too_many_redirects"), ({"max_redirects": 1000}, "success")],
)
def test_a_thousand_redirects(web, fetch, draw, config, status):
    thousand_hops(web, draw)
    assert fetch([web.url("/hop?0")], config={"timeout_s": 120.0, **config}).statuses == [status]
    assert len(web.seen) == {"success": 1001}.get(status, config.get("max_redirects", 5) + 1)


def test_redirects_do_not_stretch_the_deadline(web, fetch, draw):
    thousand_hops(web, draw, wait_s=0.1)
    part = fetch([web.url("/hop?0")], config={"timeout_s": 1.0, "max_redirects": 1000})
    assert part.statuses == ["timeout"]
    assert len(web.seen) <= 11


def a_zip_bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(50 << 20))
    return out.getvalue()


def a_tar_bomb():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("../../a.jpg")
        member.size = 50 << 20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    return out.getvalue()


def test_archives_are_no_images_and_are_never_opened(web, fetch):
    web.pages |= {"/a.zip": a_zip_bomb(), "/a.tgz": a_tar_bomb(), "/a.gz": gzip.compress(bytes(50 << 20))}
    part = fetch([web.url(path) for path in ("/a.zip", "/a.tgz", "/a.gz")])
    assert part.statuses == ["wrong_type"] * 3
    assert part.members == []


def test_encodings_that_unfold_are_cut_at_the_cap(web, fetch, draw):
    zeros = bytes(60 << 20)
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        ("/gzip", "gzip"): gzip.compress(zeros), ("/deflate", "deflate"): zlib.compress(zeros),
        ("/raw", "deflate"): raw.compress(zeros) + raw.flush(), ("/twice", "gzip, gzip"): gzip.compress(
            gzip.compress(zeros)),
    }  # fmt: skip
    for (path, encoding), body in bodies.items():
        web.raw(path, draw.head(length=len(body), Content_Encoding=encoding) + body)
    found = dict(zip(bodies, fetch([web.url(path) for path, _ in bodies]).statuses, strict=True))
    assert found == {
        ("/gzip", "gzip"): "too_large",
        ("/deflate", "deflate"): "too_large",
        ("/raw", "deflate"): "protocol_error",  # not what RFC 9110 calls deflate
        ("/twice", "gzip, gzip"): "wrong_type",
    }


def test_a_body_of_100_mb_is_left_at_the_cap(web, fetch, draw):
    sent = []

    async def flood(request, writer):
        writer.write(draw.head(Transfer_Encoding="chunked"))
        for _ in range(100):
            writer.write(b"100000\r\n" + os.urandom(1 << 20) + b"\r\n")
            await writer.drain()
            sent.append(1)

    web.pages["/flood"] = flood
    assert fetch([web.url("/flood")], config={"max_bytes": 10 << 20}).statuses == ["too_large"]
    assert len(sent) < 60  # the rest lay in the buffers of the sockets, if anywhere


@pytest.mark.parametrize("sent", ["nothing", "half a head", "half a body"])
def test_a_peer_that_is_gone_without_a_word(web, fetch, draw, sent):
    """A half-open connection: nothing comes any more, and nobody says that it ended."""
    body = draw.encoded(draw.photo())
    whole = draw.head(length=len(body)) + body
    pieces = {"nothing": b"", "half a head": whole[:30], "half a body": whole[: len(whole) // 2]}

    async def vanish(request, writer):
        writer.write(pieces[sent])
        await writer.drain()
        await asyncio.sleep(60)

    web.pages["/gone"] = vanish
    web.pages["/good"] = body
    part = fetch([web.url("/gone"), web.url("/good")], config={"timeout_s": 2.0})
    assert part.statuses == ["timeout", "success"]


def test_a_slow_resolver_costs_its_own_rows_alone(web, fetch, draw, monkeypatch):
    """A stub stands for the system's resolver, which cannot be made slow here."""
    real = names._addresses

    def slow(host):
        if host.startswith("slow"):
            time.sleep(4)
        return ["127.0.0.1"] if host.endswith(".test") else real(host)

    monkeypatch.setattr(names, "_addresses", slow)
    web.pages["/good"] = draw.encoded(draw.photo())
    hosts = [*(f"slow{i}.test" for i in range(6)), *(f"quick{i}.test" for i in range(20))]
    part = fetch([web.url("/good", host) for host in hosts], config={"timeout_s": 1.5, "concurrency": 8})
    assert part.statuses == ["timeout"] * 6 + ["success"] * 20


def test_a_name_that_rebinds_between_robots_txt_and_the_picture(web, fetch, draw, monkeypatch):
    """A stub resolver: a public face at first, an inward one for the connection that matters."""
    answers = iter(["127.0.0.1", "127.0.0.2", "169.254.169.254", "10.0.0.1"])
    monkeypatch.setattr(names, "_addresses", lambda host: [next(answers)])
    web.pages["/secret"] = draw.encoded(draw.photo())
    config = {"dns_cache_s": 0, "robots": "respect", "timeout_s": 5.0}
    url = web.url("/secret", "rebind.test")
    web.raw("/robots.txt", draw.head("404 No", 0))
    part = fetch([url], config=config)
    assert part.statuses == ["refused_address"]
    assert [request.path for request in web.seen] == ["/robots.txt"]
