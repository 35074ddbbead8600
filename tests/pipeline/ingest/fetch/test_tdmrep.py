"""tdmrep.json is asked for once per origin, matched as its report says, and overridden by the answer's own header."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego
from yarl import URL

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.tdmrep import Tdmrep, parse_rules
from pipeline.record import Status

FILE = "/.well-known/tdmrep.json"
RESPECT = {"tdmrep": "respect", "per_host": 8}


def rules(*pairs):
    return json.dumps([{"location": location, "tdm-reservation": said} for location, said in pairs]).encode()


def put(web, draw, body, path=FILE):
    web.raw(path, draw.head(length=len(body)) + body)


@pytest.fixture
def pictures(web, draw):
    paths = ("/a.jpg", "/private/b.jpg", "/private/c.jpg")
    for i, path in enumerate(paths):
        web.pages[path] = draw.encoded(draw.photo(i))
    return [web.url(path) for path in paths]


def test_it_is_asked_for_once_and_obeyed(web, fetch, draw, pictures):
    put(web, draw, rules(("/private/", 1)))
    part = fetch(pictures, config={**RESPECT, "robots": "respect"})
    assert part.statuses == ["success", "opted_out", "opted_out"]
    assert part.rows[1]["detail"] == "tdmrep.json"
    assert [request.path for request in web.seen][:2] == ["/robots.txt", FILE]
    assert web.asked(FILE) == 1


@pytest.mark.parametrize("config", [{"tdmrep": "ignore"}, {"policy": "ignore"}])
def test_who_does_not_respect_it_does_not_ask(web, fetch, draw, pictures, config):
    put(web, draw, rules(("/", 1)))
    assert set(fetch(pictures, config={**RESPECT, **config}).statuses) == {"success"}
    assert web.asked(FILE) == 0


@pytest.mark.parametrize(
    ("in_file", "in_header", "status", "detail"),
    [
        (1, None, "opted_out", "tdmrep.json"),
        (1, "0", "success", None),
        (1, "1", "opted_out", "TDM-Reservation: 1"),
        (1, "maybe", "opted_out", "tdmrep.json"),
        (0, "1", "opted_out", "TDM-Reservation: 1"),
        (0, "0", "success", None),
        (0, None, "success", None),
        (None, "1", "opted_out", "TDM-Reservation: 1"),
    ],
)
def test_the_header_of_the_answer_overrides_the_file(web, fetch, draw, in_file, in_header, status, detail):
    body = draw.encoded(draw.photo())
    headers = {} if in_header is None else {"TDM_Reservation": in_header}
    web.raw("/a.jpg", draw.head(length=len(body), **headers) + body)
    if in_file is not None:
        put(web, draw, rules(("/", in_file)))
    part = fetch([web.url("/a.jpg")], config=RESPECT)
    assert (part.statuses, part.rows[0]["detail"]) == ([status], detail)


def test_a_reserved_body_is_not_read(web, fetch, draw):
    """Only its head is, for the header that might override the file."""
    put(web, draw, rules(("/", 1)))
    web.raw("/a.jpg", draw.head(length=10_000_000))
    assert fetch([web.url("/a.jpg")], config=RESPECT).statuses == ["opted_out"]


NO_RESERVATION = [
    b"", b"{", b"null", b"{}", b'{"location": "/", "tdm-reservation": 1}', b"[1, null, [], {}]", b"[" * 100_000,
    b'[{"location": "/", "tdm-reservation": 2}]', b'[{"location": 7, "tdm-reservation": 1}]',
    b'[{"location": "/"}]', b'[{"tdm-reservation": 1}]', b'[{"location": "", "tdm-reservation": 1}]',
    b"<html>not found</html>", b"\xff\xfe\x00", b'[{"location": "/", "tdm-reservation": [1]}]',
    rules(("/", 1)) + b" " * 600_000,
]  # fmt: skip


@pytest.mark.parametrize("body", NO_RESERVATION, ids=range(len(NO_RESERVATION)))
def test_an_invalid_file_reserves_nothing(web, fetch, draw, pictures, body):
    put(web, draw, body)
    assert set(fetch(pictures, config=RESPECT).statuses) == {"success"}


@pytest.mark.parametrize("status", ["404 No", "403 No", "429 Slow", "500 Oops", "503 Busy", "204 Nothing"])
def test_a_file_that_is_not_to_be_had_reserves_nothing_and_is_tried_once(web, fetch, draw, pictures, status):
    web.raw(FILE, draw.head(status, 0))
    assert set(fetch(pictures, config={**RESPECT, "retries": 2}).statuses) == {"success"}
    assert web.asked(FILE) == 1


def test_a_file_that_never_comes_reserves_nothing(web, fetch, draw, pictures):
    async def silent(request, writer):
        await asyncio.sleep(60)

    web.pages[FILE] = silent
    assert set(fetch(pictures, config={**RESPECT, "timeout_s": 1.0}).statuses) == {"success"}


def test_redirects_of_the_file_are_followed_and_loops_are_no_file(web, serve, fetch, draw):
    with serve() as other:
        other.pages["/a.jpg"] = web.pages["/a.jpg"] = draw.encoded(draw.photo())
        put(other, draw, rules(("/", 1)), "/elsewhere")
        web.redirect(FILE, other.url("/elsewhere"))
        other.redirect(FILE, FILE)
        part = fetch(
            [web.url("/a.jpg"), other.url("/a.jpg")], config={**RESPECT, "ports": (web.port, other.port)}
        )
    assert part.statuses == ["opted_out", "success"]


def test_where_a_url_redirects_to_has_its_own_file(web, serve, fetch, draw):
    """The file of the origin that answers counts, not that of the one that redirects."""
    with serve() as other:
        put(web, draw, rules(("/to-other", 1)))
        put(other, draw, rules(("/reserved", 1)))
        for path in ("/reserved.jpg", "/free.jpg"):
            other.pages[path] = draw.encoded(draw.photo())
            web.redirect(f"/to-other{path}", other.url(path))
        urls = [web.url("/to-other/reserved.jpg"), web.url("/to-other/free.jpg")]
        part = fetch(urls, config={**RESPECT, "ports": (web.port, other.port)})
        assert part.statuses == ["opted_out", "success"]
        assert other.asked(FILE) == 1


def test_guards_stand_before_manners(web, fetch):
    urls = ["http://169.254.169.254/a.jpg", web.url("/a").replace("127.0.0.1", "127.0.0.2"), "file:///etc/passwd",
            "http://127.0.0.1:22/x", "http://[", "ftp://x/y", "http://u:p@127.0.0.1/x"]  # fmt: skip
    assert "success" not in fetch(urls, config=RESPECT).statuses
    assert web.seen == []


PATTERNS = [
    ("/", "/", True), ("/", "/any/thing?x=1", True), ("/a", "/abc", True), ("/a/", "/a", False),
    ("/a", "/A", False), ("/a$", "/a", True), ("/a$", "/ab", False), ("/a$", "/a?b", False),
    ("/*.jpg", "/x/y.jpg", True), ("/*.jpg", "/x/y.jpg?z", True), ("/*.jpg$", "/x/y.jpg?z", False),
    ("/*.jpg$", "/x.jpg/y.jpg", True), ("/*/then", "/this/way/then/on", True), ("/*/then", "/then", False),
    ("*", "/any", True), ("*.png", "/a.png", True), ("/**a", "/xa", True), ("/a*a$", "/a", False),
    ("/a*a$", "/aa", True), ("/a*ab*b$", "/aab", False), ("/a*ab*b$", "/aabb", True), ("/$x", "/$x", True),
    ("/a%2fb", "/a%2Fb", True), ("/a/b", "/a%2Fb", False), ("/%61", "/a", True), ("/a", "/%61", True),
    ("/foo-%24", "/foo-$", True), ("/foo-%24", "/foo-%24", True), ("/%2A.jpg", "/*.jpg", True),
    ("/%2A.jpg", "/x.jpg", False), ("/ü", "/%C3%BC", True), ("/%c3%bc", "/ü", True), ("/a b", "/a%20b", True),
    ("/*?size=", "/x?size=1", True), ("x", "/x", False), ("https://host/", "/", False),
]  # fmt: skip


def reserves(body, url):
    async def ask(_):
        return Answer(Status.SUCCESS, body=body)

    return asyncio.run(Tdmrep(FetchConfig(), ask).reserves(URL(url)))


@pytest.mark.parametrize(("pattern", "path", "matches"), PATTERNS)
def test_patterns(pattern, path, matches):
    assert reserves(rules((pattern, 1)), f"http://host{path}") is matches


def test_the_first_rule_that_matches_counts():
    body = rules(("/b/images/*.jpg", 0), ("/b/", 1), ("/", 0), ("/a", 1))
    paths = {"/b/images/x.jpg": False, "/b/images/x.png": True, "/a": False}
    assert {path: reserves(body, f"http://host{path}") for path in paths} == paths


@given(st.text("ab*$/", max_size=8), st.text("ab/", max_size=8))
def test_patterns_match_as_in_robots_txt(pattern, path):
    """Against protego, which matches the same notation for robots.txt."""
    body = f"User-agent: *\nDisallow: /{pattern}\n"
    wanted = not Protego.parse(body).can_fetch(f"http://host/{path}", "x")
    assert reserves(rules((f"/{pattern}", 1)), f"http://host/{path}") is wanted


def test_no_pattern_takes_for_ever():
    (rule,) = parse_rules(rules(("/" + "*a" * 50_000 + "b$", 1)))
    assert not rule.matches("/" + "a" * 200_000)


@given(st.binary())
def test_no_file_is_too_strange(body):
    parse_rules(body)


def test_many_askers_share_one_request():
    asked = []

    async def ask(url):
        asked.append(url)
        await asyncio.sleep(0.01)
        return Answer(Status.SUCCESS, body=rules(("/no", 1)))

    async def run():
        found = Tdmrep(FetchConfig(), ask)
        urls = [URL(f"http://host{i % 3}/{path}") for i in range(60) for path in ("no", "yes")]
        return await asyncio.gather(*(found.reserves(url) for url in urls))

    assert asyncio.run(run()) == [True, False] * 60
    assert sorted(asked) == [f"http://host{i}{FILE}" for i in range(3)]
