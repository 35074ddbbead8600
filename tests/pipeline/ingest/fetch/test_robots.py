"""robots.txt is asked for once, obeyed, and what it wants of the pace is kept; all over real sockets."""

import asyncio
import time

import pytest
from yarl import URL

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.robots import Robots
from pipeline.record import RETRYABLE, Status

RESPECT = {"robots": "respect", "per_host": 8}


def robots(web, draw, text, path="/robots.txt"):
    body = text.encode() if isinstance(text, str) else text
    web.raw(path, draw.head(length=len(body)) + body)


@pytest.fixture
def pictures(web, draw):
    """Three pictures, two of them under /private."""
    for i, path in enumerate(("/a.jpg", "/private/b.jpg", "/private/c.jpg")):
        web.pages[path] = draw.encoded(draw.photo(i))
    return [web.url(path) for path in ("/a.jpg", "/private/b.jpg", "/private/c.jpg")]


def test_it_is_asked_for_once_and_obeyed(web, fetch, draw, pictures):
    robots(web, draw, "User-agent: *\nDisallow: /private/\n")
    part = fetch(pictures, config=RESPECT)
    assert part.statuses == ["success", "opted_out", "opted_out"]
    assert part.rows[1]["detail"] == "robots.txt"
    assert (web.asked("/robots.txt"), len(web.seen)) == (1, 2)
    assert web.seen[0].path == "/robots.txt"
    assert set(fetch(pictures, config={"robots": "ignore"}, folder="b").statuses) == {"success"}
    assert web.asked("/robots.txt") == 1


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("User-agent: *\nDisallow: /\n", False),
        ("User-agent: pairmill\nDisallow: /\n\nUser-agent: *\nAllow: /\n", False),
        ("User-agent: PairMill\nAllow: /\n\nUser-agent: *\nDisallow: /\n", True),
        ("User-agent: googlebot\nDisallow: /\n", True),
        ("User-agent: *\nDisallow: /\nAllow: /*.jpg$\n", True),
        ("User-agent: *\nDisallow: /*.jpg$\n", False),
        ("User-agent: *\nDisallow: /%61.jpg\n", False),
        ("User-agent: *\nDisallow:\n", True),
        ("\ufeffUser-agent: *\r\nDisallow: /a\r\n", False),
        ("<html>not found</html>", True),
        ("", True),
        (b"\xff\xfe\0\x01 User-agent", True),
        ("User-agent: *\nDisallow: /" + "*a" * 5000 + "$\n", True),
        ("User-agent: *\nCrawl-delay: nan\nRequest-rate: 0/0\nRequest-rate: x\nCrawl-delay: -5\n", True),
    ],
)
def test_rules(web, fetch, draw, text, allowed):
    web.pages["/a.jpg"] = draw.encoded(draw.photo())
    robots(web, draw, text)
    part = fetch([web.url("/a.jpg")], config=RESPECT)
    assert part.statuses == ["success" if allowed else "opted_out"]


@pytest.mark.parametrize(
    ("code", "status"),
    [("404 No", "success"), ("403 No", "success"), ("401 No", "success"), ("410 No", "success"),
     ("429 Slow", "http_429"), ("500 Oops", "http_5xx"), ("503 Busy", "http_5xx"), ("204 Nothing", "opted_out")],
)  # fmt: skip
def test_what_an_answer_without_a_file_means(web, fetch, draw, code, status):
    web.pages["/a.jpg"] = draw.encoded(draw.photo())
    web.raw("/robots.txt", draw.head(code, 0))
    part = fetch([web.url("/a.jpg"), web.url("/a.jpg?2")], config=RESPECT)
    assert part.statuses == [status] * 2
    assert web.asked("/robots.txt") == 1
    if status != "success":
        assert part.rows[0]["detail"] == f"robots.txt: HTTP {code[:3]}"
        assert web.asked("/a.jpg") == 0


def test_a_server_that_recovers_is_asked_again(web, fetch, draw, pictures):
    async def flaky(request, writer):
        text = b"User-agent: *\nDisallow: /private\n"
        writer.write(draw.head("503 Busy", 0) if request.count < 2 else draw.head(length=len(text)) + text)

    web.pages["/robots.txt"] = flaky
    part = fetch(pictures, config={**RESPECT, "retries": 2, "backoff_s": 0.01})
    assert part.statuses == ["success", "opted_out", "opted_out"]
    assert web.asked("/robots.txt") == 3


def test_no_answer_forbids_and_may_be_tried_another_day(web, fetch, draw, pictures):
    async def silent(request, writer):
        await asyncio.sleep(60)

    web.pages["/robots.txt"] = silent
    part = fetch(pictures, config={**RESPECT, "timeout_s": 0.5})
    assert set(part.statuses) == {"timeout"} <= RETRYABLE
    assert part.rows[0]["detail"].startswith("robots.txt: ")
    assert [request.path for request in web.seen] == ["/robots.txt"]


def test_endless_and_huge_files_forbid(web, serve, fetch, draw):
    async def endless(request, writer):
        writer.write(draw.head())
        while True:
            writer.write(b"# padding\n" * 1000)
            await writer.drain()

    web.pages |= {"/robots.txt": endless, "/a.jpg": draw.encoded(draw.photo())}
    part = fetch([web.url("/a.jpg")], config=RESPECT)
    assert part.statuses == ["opted_out"]
    assert part.rows[0]["detail"] == "robots.txt: over 512000 bytes"


def test_redirects_of_the_file_are_followed_and_loops_are_no_file(web, serve, fetch, draw):
    with serve() as other:
        other.pages["/a.jpg"] = web.pages["/a.jpg"] = draw.encoded(draw.photo())
        robots(other, draw, "User-agent: *\nDisallow: /a\n", "/rules")
        web.redirect("/robots.txt", other.url("/rules"))
        other.redirect("/robots.txt", "/robots.txt")
        config = {**RESPECT, "ports": (web.port, other.port)}
        part = fetch([web.url("/a.jpg"), other.url("/a.jpg")], config=config)
    assert part.statuses == ["opted_out", "success"]


def test_where_a_url_redirects_to_has_its_own_file(web, serve, fetch, draw):
    with serve() as other:
        robots(other, draw, "User-agent: *\nDisallow: /\n")
        other.pages["/a.jpg"] = draw.encoded(draw.photo())
        web.redirect("/go", other.url("/a.jpg"))
        part = fetch([web.url("/go")], config={**RESPECT, "ports": (web.port, other.port)})
        assert part.statuses == ["opted_out"]
        assert [request.path for request in other.seen] == ["/robots.txt"]


def test_guards_stand_before_manners(web, fetch):
    """What we refuse by ourselves keeps its own word, and is not asked for its robots.txt."""
    urls = ["http://169.254.169.254/a.jpg", web.url("/a").replace("127.0.0.1", "127.0.0.2"), "file:///etc/passwd",
            "http://127.0.0.1:22/x", "http://[", "ftp://x/y", "http://u:p@127.0.0.1/x"]  # fmt: skip
    assert fetch(urls, config=RESPECT).statuses == fetch(urls, folder="b").statuses
    assert web.seen == []


def test_a_dead_host_is_a_dead_host(fetch, web):
    part = fetch(["http://127.0.0.1:9/a.jpg"], config={**RESPECT, "ports": (9,)})
    assert part.statuses == ["connect_error"]


@pytest.mark.parametrize("rule", ["Crawl-delay: 0.3", "Request-rate: 10/3"])
def test_the_pace_a_host_wants_is_kept_and_holds_up_no_other(web, serve, fetch, draw, rule):
    began = time.monotonic()
    arrived = []
    body = draw.encoded(draw.photo())

    async def picture(request, writer):
        arrived.append(time.monotonic() - began)
        writer.write(draw.head(length=len(body)) + body)

    robots(web, draw, f"User-agent: *\n{rule}\n")
    with serve() as other:
        for i in range(4):
            web.pages[f"/{i}"], other.pages[f"/{i}"] = picture, body
        urls = [web.url(f"/{i}") for i in range(4)] + [other.url(f"/{i}") for i in range(4)]
        part = fetch(urls, config={**RESPECT, "concurrency": 2, "ports": (web.port, other.port)})
    assert set(part.statuses) == {"success"}
    interval = 3 / 10
    assert all(at >= i * interval - 0.05 for i, at in enumerate(arrived))  # turns are counted from the first


def test_our_own_rate(web, fetch, draw):
    began = time.monotonic()
    for i in range(4):
        web.pages[f"/{i}"] = draw.encoded(draw.photo(i))
    part = fetch([web.url(f"/{i}") for i in range(4)], config={"per_host_rate_hz": 5.0})
    assert set(part.statuses) == {"success"}
    assert time.monotonic() - began >= 0.6 - 0.05


def test_rows_whose_turn_is_too_far_off_are_deferred(web, fetch, draw, pictures):
    robots(web, draw, "User-agent: *\nCrawl-delay: 3600\n")
    part = fetch(pictures, config=RESPECT)
    assert part.statuses == ["success", "deferred", "deferred"]
    assert "3600 s" in part.rows[1]["detail"]
    assert Status.DEFERRED in RETRYABLE


def test_the_connection_to_robots_txt_is_kept_for_the_picture_after_it(web, fetch, pictures):
    fetch(pictures[:1], config=RESPECT)
    assert [request.headers.get("connection") for request in web.seen] == [None, "close"]


def test_many_askers_share_one_request():
    asked = []

    async def ask(url):
        asked.append(url)
        await asyncio.sleep(0.01)
        return Answer(Status.SUCCESS, body=b"User-agent: *\nDisallow: /no")

    async def run():
        found = Robots(FetchConfig(), "pairmill", ask)
        urls = [URL(f"http://host{i % 3}/{path}") for i in range(60) for path in ("no", "yes")]
        return await asyncio.gather(*(found.refusal(url) for url in urls))

    answers = asyncio.run(run())
    assert [answer is None for answer in answers] == [False, True] * 60
    assert sorted(asked) == [f"http://host{i}/robots.txt" for i in range(3)]
