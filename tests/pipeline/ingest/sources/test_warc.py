"""WARC archives: records, pages and pictures, against fastwarc's iterator and Python's own HTML parser."""

import gzip
import io
import json
import zlib
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import brotli
import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.ingest.sources import open_source, source_config
from pipeline.ingest.sources.archive import blocks
from pipeline.ingest.sources.charset import charset, decode
from pipeline.ingest.sources.html import read_page
from pipeline.ingest.sources.links import srcset
from pipeline.ingest.sources.tame import MAX_DEPTH, tame

PAGE = "http://site.example/dir/page.html"


def record(body=b"", kind="response", url=PAGE, http=b"", status=b"200 OK", mime=b"text/html", number=0, block=None):
    """One record as crawlers write it."""
    if block is None:
        block = b"HTTP/1.1 " + status + b"\r\nContent-Type: " + mime + b"\r\n" + http + b"\r\n" + body
    content = {"response": "application/http; msgtype=response", "metadata": "application/json"}
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number:032x}>\r\n"
        f"WARC-Date: 2024-05-06T07:08:09Z\r\nWARC-Target-URI: {url}\r\n"
        f"Content-Type: {content.get(kind, 'application/warc-fields')}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return header.encode("utf-8", "surrogateescape") + block + b"\r\n\r\n"


INFO = record(kind="warcinfo", block=b"software: a test\r\n")


def members(*records):
    return [gzip.compress(item, mtime=0) for item in records]


@pytest.fixture
def read_html(tmp_path, read):
    """The rows of one page: `read_html(html, http=b"...", **settings)`."""

    def run(html, http=b"", url=PAGE, **settings):
        body = html if isinstance(html, bytes) else html.encode()
        (tmp_path / "a.warc.gz").write_bytes(b"".join(members(INFO, record(body, http=http, url=url))))
        return read(kind="warc", path=str(tmp_path / "a.warc.gz"), **settings)

    return run


def pairs(rows):
    return [(row["url"], [(text["text"], text["kind"]) for text in row["texts"]]) for row in rows]


def test_a_page(read_html):
    rows = read_html("""<!doctype html><html lang="de-AT"><head><base href="/media/"><base href="/other/">
        <meta property="og:title" content="A page"><meta property="og:image" content="cover.jpg">
        <meta property="og:image:alt" content="The  cover"><meta property="og:image" content="second.jpg">
        <meta name="og:description" content="What it says"></head><body>
        <img src="a.png" alt=" A
          cat "><img src="no-text.png"><img src=b.png alt="" title=Dog>
        <figure lang="fr"><div><img src="//cdn.example/c d.png" alt="Un chat"></div>
          <figcaption><p>Le <b>ch</b>at</p><p>dort</p><script>x()</script></figcaption></figure>
        <noscript><img src="n.png" alt="quiet"></noscript><template><img src=t.png alt=inert></template>
        <img src="data:image/png;base64,AAAA" alt="no link"><img src="javascript:x" alt="no link">
        <img src="a.png" alt="A cat"><img src="a.png" alt="Another cat"></body>""")
    base = "http://site.example/media/"
    assert pairs(rows) == [
        (base + "cover.jpg", [("The cover", "og"), ("A page", "og"), ("What it says", "og")]),
        (base + "second.jpg", [("A page", "og"), ("What it says", "og")]),
        (base + "a.png", [("A cat", "alt")]),
        (base + "b.png", [("Dog", "title")]),
        ("http://cdn.example/c%20d.png", [("Un chat", "alt"), ("Le chat dort", "figcaption")]),
        (base + "n.png", [("quiet", "alt")]),
        (base + "a.png", [("Another cat", "alt")]),
    ]
    assert [row["source_id"].split("#")[2] for row in rows] == ["0", "1", "2", "4", "5", "6", "10"]
    assert [row["texts"][0]["lang"] for row in rows] == ["de", "de", "de", "de", "fr", "de", "de"]
    place = str(len(members(INFO)[0]))
    assert json.loads(rows[0]["meta"]) == {
        "page_url": PAGE, "warc": "a.warc.gz", "offset": place, "record_id": f"<urn:uuid:{0:032x}>",
        "date": "2024-05-06T07:08:09Z", "charset": "utf-8",
    }  # fmt: skip
    assert rows[0]["source_id"] == f"a.warc#{place}#0"


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("<img alt=x src=s srcset='a 100w, b 300w, c 200w'>", "b"),
        ("<img alt=x src=s srcset='a 1x, b 2x'>", "b"),
        ("<img alt=x src=s srcset='a, b 1x'>", "s"),
        ("<img alt=x srcset='a'>", "a"),
        ("<img alt=x srcset='data:image/gif;base64,AA== 9w, b,c 2w,'>", "b,c"),
        ("<img alt=x src=s srcset='a 100w' data-srcset='b 900w'>", "b"),
        ("<img alt=x src=spacer.gif data-src=real>", "real"),
        ("<img alt=x src=data:image/gif;base64,AA data-lazy-src=real>", "real"),
        ("<img alt=x src=s data-original=real>", "real"),
        ("<img alt=x src=s data-src=data:,x data-original=real>", "real"),
        ("<picture><source srcset='w 800w, v 400w' type=image/webp><img alt=x src=s></picture>", "w"),
        ("<picture><source srcset=w><img alt=x src=s></picture>", "s"),
        ("<picture><source data-srcset='w 2x'><img alt=x></picture>", "w"),
        ("<img alt=x src=s srcset='a 1e9w, b -3w, c w, d 9999999999w, e (,) 5w'>", "s"),
        ("<img alt=x src=' \n s\t1 '>", "s1"),
        ("<IMG ALT=x SRC=S>", "S"),
        ("<img alt=x src=http://[bad>", None),
        ("<img alt=x src=ftp://h/a>", None),
        ("<img alt=x src=''>", None),
        ("<img alt=x>", None),
    ],
)
def test_which_address(read_html, tag, name):
    urls = [row["url"] for row in read_html(tag)]
    assert urls == ([] if name is None else [urljoin(PAGE, name)])


def test_settings(read_html):
    html = "<img src=a alt=ab><img src=b alt=abcd title=ab><figure><img src=c><figcaption>abc</figcaption></figure>"
    assert [row["url"][-1] for row in read_html(html)] == ["a", "b", "c"]
    assert [row["url"][-1] for row in read_html(html, min_chars=3)] == ["b", "c"]
    rows = read_html(html, min_chars=3, require=["alt"])
    assert pairs(rows) == [(urljoin(PAGE, "b"), [("abcd", "alt"), ("ab", "title")])]
    assert rows[0]["source_id"].endswith("#1")


@pytest.mark.parametrize(
    ("head", "http", "words"),
    [
        ("<meta name=robots content='noai'>", b"", "robots meta: noai"),
        ("<meta name=ROBOTS content='follow, NoImageAI'>", b"", "robots meta: noimageai"),
        ("<meta name=robots content=none>", b"", "robots meta: none"),
        ("<meta name=robots content=noimageindex>", b"", "robots meta: noimageindex"),
        ("<meta name=pairmill content=noai>", b"", "robots meta: noai"),
        ("<meta name=tdm-reservation content=1>", b"", "tdm-reservation meta: 1"),
        ("", b"X-Robots-Tag: nofollow\r\nX-Robots-Tag: noai\r\n", "X-Robots-Tag: noai"),
        ("", b"TDM-Reservation: 1\r\n", "TDM-Reservation: 1"),
        ("<meta name=robots content='unavailable_after: 2024-05-05'>", b"", "robots meta: unavailable_after"),
        ("<meta name=robots content='unavailable_after: 2024-05-09'>", b"", None),
        ("<meta name=robots content='index, follow, max-image-preview:large'>", b"", None),
        ("<meta name=googlebot content=noai><meta name=description content=noai>", b"", None),
        ("", b"X-Robots-Tag: otherbot: noai\r\n", None),
    ],
)
def test_a_page_that_opts_out(read_html, head, http, words):
    html = f"{head}<img src=a alt=x><img src=b>"
    (row,) = read_html(html, http)
    assert row["fault"] == (None if words is None else f"opted out by the page's {words}")
    assert row["url"] == urljoin(PAGE, "a")
    assert read_html(html, http, page_optout="ignore")[0]["fault"] is None


@pytest.mark.parametrize(
    ("body", "header", "text", "name"),
    [
        ("é漢".encode(), None, "é漢", "utf-8"),
        ("é漢".encode(), b"utf-8", "é漢", "utf-8"),
        ("é“".encode("cp1252"), None, "é“", "cp1252"),
        ("é“".encode("cp1252"), b"iso-8859-1", "é“", "cp1252"),
        ("漢字".encode("shift_jis"), b"Shift_JIS", "漢字", "cp932"),
        (b"<meta charset=euc-jp>" + "漢字".encode("euc_jp"), None, "漢字", "euc_jp"),
        (b'<meta http-equiv=x content="text/html; charset = gb2312">' + "汉".encode("gb2312"), None, "汉", "gb18030"),
        (b"<meta charset=utf-16>" + "é".encode(), None, "é", "utf-8"),
        ("привет".encode("koi8-r"), b'"KOI8-R"', "привет", "koi8-r"),
        ("привет".encode("cp1251"), b"windows-1251", "привет", "cp1251"),
        (b"\xef\xbb\xbf" + "é".encode(), b"iso-8859-1", "é", "utf-8"),
        (b"\xff\xfe" + "é".encode("utf-16-le"), None, "é", "utf-16-le"),
        ("é".encode() + b"\xff", b"utf-8", "é\ufffd", "utf-8"),
        ("aé".encode(), b"rot13", "aé", "utf-8"),
        ("aé".encode(), b"no-such-thing", "aé", "utf-8"),
        (("é" * 9).encode()[:-1], None, "é" * 8 + "\ufffd", "utf-8"),
    ],
)  # fmt: skip
def test_charsets(body, header, text, name):
    found, charset_name = decode(body, None if header is None else header.decode())
    assert found.endswith(text)
    assert charset_name == name


@pytest.mark.parametrize(
    "label", ["hex", "zlib", "base64", "punycode", "idna", "unicode_escape", "utf-7", "", "\0", "é"]
)
def test_charsets_that_are_none_of_the_web(label):
    assert charset(label) is None


def test_the_charset_reaches_the_row(tmp_path, read):
    body = "<html lang=ja><img src=a alt=漢字>".encode("euc_jp")
    (tmp_path / "a.warc").write_bytes(INFO + record(body, mime=b"text/html; charset=EUC-JP"))
    (row,) = read(kind="warc", path=str(tmp_path / "a.warc"))
    assert row["texts"] == [{"text": "漢字", "kind": "alt", "lang": "ja"}]
    assert json.loads(row["meta"])["charset"] == "euc_jp"


# ---- pages against a reader of the standard library ----

WORDS = st.text("abcé漢 <>&\"'\n=/", max_size=12)
LINKS = st.one_of(
    st.sampled_from(
        ["a.png", "/b/c.jpg", "../d.gif", "//cdn.example/e", "https://x.example/f?g=1&h=2#i", "", "?q", " j "]
    ),
    st.sampled_from(
        ["data:image/png;base64,AA==", "mailto:a@b", "ftp://h/k", "http://[bad", "javascript:0", "http:", "\tm"]
    ),
    st.text("ab/:?#.[]é", max_size=8),
)
IMAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["alt", "title", "src", "data-src", "data-original", "data-lazy-src", "class"]),
        st.one_of(WORDS, LINKS),
    ),
    max_size=6,
)


class Oracle(HTMLParser):
    """The pictures of a page without srcsets and captions."""

    def __init__(self, html):
        super().__init__()
        self.base, self.found = None, []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(reversed(attrs))
        if tag == "base" and self.base is None and attrs.get("href"):
            self.base = attrs["href"]
        if tag == "img":
            self.found.append(attrs)

    def absolute(self, link, base):
        link = "".join(c for c in (link or "").strip() if c not in "\t\n\r")
        try:
            url = urljoin(base, link)
        except ValueError:
            return None
        good = link and url.split(":")[0] in ("http", "https") and url.partition("//")[2][:1] not in ("", "/", "?", "#")
        return url.replace(" ", "%20") if good else None

    def pairs(self):
        base = (self.base and self.absolute(self.base, PAGE)) or PAGE
        pairs = []
        for attrs in self.found:
            links = [
                self.absolute(attrs.get(name), base) for name in ("data-src", "data-lazy-src", "data-original", "src")
            ]
            url = next((link for link in links if link is not None), None)
            texts = [(" ".join((attrs.get(kind) or "").split()), kind) for kind in ("alt", "title")]
            texts = tuple(item for item in texts if item[0])
            if url is not None and texts:
                pairs.append((url, texts))
        return pairs


@given(IMAGES, st.lists(LINKS, max_size=2), st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pages_like_the_standard_library_reads_them(images, bases, data):
    html = "".join(f'<base href="{escape(base)}">' for base in bases)
    for attributes in images:
        wrap = data.draw(st.sampled_from(["", "p", "div", "a", "noscript", "figure", "td", "li"]))
        inner = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
        html += f"<{wrap}><img {inner}></{wrap}>\n" if wrap else f"<img {inner}/>"
    html = f"<!doctype html><html><head></head><body>{html}</body></html>"
    found = [(image.url, image.texts) for image in read_page(html, PAGE, 100).images]
    assert found == Oracle(html).pairs()


@given(
    st.lists(st.tuples(st.text("ab,/x", min_size=1, max_size=6), st.sampled_from(["", " 2x", " 1.5x", " 30w", " 4w"])))
)
@settings(deadline=None)
def test_srcsets(candidates):
    candidates = [(link.strip(","), size) for link, size in candidates if link.strip(",")]
    wanted = [(link, float(size[:-1]) if size else 1.0, size[-1:] or "x") for link, size in candidates]
    assert list(srcset(", ".join(link + size for link, size in candidates))) == wanted


@given(st.text())
@settings(deadline=None)
def test_any_srcset_is_read(value):
    assert all(link and number >= 0 for link, number, _ in srcset(value) if link)


# ---- archives ----


@pytest.mark.parametrize("packed", [True, False])
def test_offsets_are_those_of_fastwarc(tmp_path, read, packed):
    records = [INFO, *(record(f"<img src={i} alt=x{i}>".encode() * (i % 3), number=i) for i in range(40))]
    path = tmp_path / ("a.warc.gz" if packed else "a.warc")
    path.write_bytes(b"".join(members(*records) if packed else records))
    wanted = {item.record_id: str(item.stream_pos) for item in ArchiveIterator(io.BytesIO(path.read_bytes()))}
    rows = read(kind="warc", path=str(path))
    assert len(rows) == 26
    for row in rows:
        meta = json.loads(row["meta"])
        assert meta["offset"] == wanted[meta["record_id"]]


def test_records_in_one_member_have_their_own_places(tmp_path, read):
    records = [record(f"<img src={i} alt=x>".encode()) for i in range(5)]
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"".join(records)))
    rows = read(kind="warc", path=str(tmp_path / "a.warc.gz"))
    assert [row["source_id"].split("#")[1] for row in rows] == ["0", *(f"0+{len(records[0]) * i}" for i in range(1, 5))]


def test_only_successful_html_is_read(tmp_path, read):
    body = b"<img src=a alt=x>"
    records = [
        INFO, record(body, kind="request"), record(body, status=b"404 Not Found"), record(body, mime=b"image/png"),
        record(body, url="dns:site.example"), record(body, kind="revisit"), record(body, status=b"203 OK"),
        record(body, mime=b"application/xhtml+xml", number=9), record(b""), record(block=b""), record(block=b"\xff\0"),
        record(body).replace(b"application/http; msgtype=response", b"text/html"),
    ]  # fmt: skip
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members(*records)))
    assert len(read(kind="warc", path=str(tmp_path / "a.warc.gz"))) == 2


@pytest.mark.parametrize(
    ("http", "pack"),
    [
        (b"Content-Encoding: gzip\r\n", gzip.compress),
        (b"Content-Encoding: br\r\n", brotli.compress),
        (b"Content-Encoding: deflate\r\n", zlib.compress),
        (b"Transfer-Encoding: chunked\r\n", lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        (b"Content-Encoding: gzip\r\n", bytes),  # unpacked by the crawler, which kept the header
        (b"Transfer-Encoding: chunked\r\n", bytes),
        (b"Content-Encoding: nobody-knows\r\n", bytes),
    ],
)
def test_packed_bodies(read_html, http, pack):
    assert [row["fault"] for row in read_html(pack(b"<img src=a alt=x>"), http)] == [None]


def test_a_body_that_cannot_be_unpacked_is_a_fault(read_html):
    (row,) = read_html(b"\xff\xfe\0nothing", b"Content-Encoding: gzip\r\n")
    assert row["fault"].startswith("page: cannot be unpacked: ")
    assert json.loads(row["meta"])["warc"] == "a.warc.gz"


def test_a_bomb_is_read_up_to_the_limit(read_html):
    bomb = gzip.compress(b"<img src=a alt=x>" + b" " * 50_000_000 + b"<img src=b alt=y>")
    (row,) = read_html(bomb, b"Content-Encoding: gzip\r\n")
    assert (row["url"][-1], json.loads(row["meta"])["cut"]) == ("a", True)


def test_limits(read_html):
    many = "".join(f"<img src={i} alt=x>" for i in range(30))
    rows = read_html(many, max_images_per_page=10)
    assert [row["fault"] for row in rows] == [None] * 10 + ["page: 30 pictures, of which the first 10 are read"]
    rows = read_html("<img src=a alt=x>" + " " * 99 + "<img src=b alt=x>", max_page_bytes=100)
    assert [json.loads(row["meta"])["cut"] for row in rows] == [True]
    long = b"<img src=a alt=x>" + b" " * 200_000 + b"<img src=b alt=x>"
    assert [row["url"][-1] for row in read_html(long, max_page_bytes=50_000)] == ["a"]
    assert [row["url"][-1] for row in read_html(long)] == ["a", "b"]


@pytest.mark.parametrize(
    "unit",
    [
        "<div>", "<div></x>", "<span><div></span></div>", "<div><table></div></table>", "<div><script></div></script>",
        "<div><!--</div>-->", "<div><? </div>", "<div></1 </div>", '<div x="</div>">', "<div></span>",
    ],
)  # fmt: skip
def test_deep_pages_are_cut(unit):
    html, cut = tame("<img src=a alt=x>" + unit * 20_000)
    assert cut
    assert html.startswith("<img src=a alt=x>" + unit * 500)
    assert len(html) < len(unit) * (MAX_DEPTH + 50)


@pytest.mark.parametrize(
    "html",
    [
        "<ul>" + "<li>x<p>y<img src=b alt=x>" * 6_000,
        ("<div>" * (MAX_DEPTH - 1) + "</div>" * (MAX_DEPTH - 1) + "<br>") * 3,
        "<table>" + "<tr><td><b>a</b><td><div><span>b</div>" * 3_000,
        "<div><b>x</div>" * 3_000,
        "<script>'" + "<div>" * 6_000 + "'</script>",
        "<!--" + "<div>" * 6_000 + "-->",
        f"<img alt=x src=a data-x='{'A' * 100_000}' title='{'a word / ' * 9_000}'>",
    ],
)
def test_honest_pages_are_not_touched(html):
    assert tame(html) == (html, False)


def test_a_tag_of_too_many_attributes_is_left_out(read_html):
    wide = "<p " + " ".join(f"a{i}" for i in range(100_000)) + "><img src=b alt=x>"
    assert [row["url"][-1] for row in read_html(wide)] == ["b"]


def test_the_rows_of_a_page_that_was_cut_say_so(read_html):
    (row,) = read_html("<img src=a alt=x>" + "<div>" * 100_000 + "<img src=b alt=x>")
    assert json.loads(row["meta"])["cut"] is True


TOKENS = (
    """<img |alt=|src=|'|"|>|<|a|\0|\xff|<figure>|<figcaption>|</|<meta |property=og:image |content=|name=robots |"""
    """<base href=|http://[|srcset=| 9w,|<!--|<svg>|<table>|<noscript>|<template>|charset=|utf-16|&#xD800;|&#0;|"""
    """\xed\xa0|//|:|lang="""
)
BODIES = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from(TOKENS.encode("latin-1").split(b"|")), max_size=60).map(b"".join),
)


def rows_of(data, kind="warc", path=None):
    path.write_bytes(data)
    source = open_source(source_config({"kind": kind, "path": str(path)}))
    (file,) = source.files()
    return [row for batch in source.read(file) for row in batch.to_pylist()]


@given(BODIES, BODIES, st.text(max_size=20), st.binary(max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_bytes_as_a_page(tmp_path_factory, body, http, url, mime):
    http = http.replace(b"\n", b"\n X: ")[:100] + b"\r\n"
    records = [
        record(body), record(body, http=http), record(body, url="http://" + url.replace("\n", "")), record(block=body),
        record(body, mime=b"text/html; charset=" + mime.replace(b"\n", b"")),
        record(b"<img src=z alt=last>"),
    ]  # fmt: skip
    rows = rows_of(b"".join(members(*records)), path=tmp_path_factory.getbasetemp() / "any.warc.gz")
    assert pairs(rows[-1:]) == [(urljoin(PAGE, "z"), [("last", "alt")])]
    assert all(row["fault"] is not None or row["texts"] for row in rows)
    assert len({row["source_id"] for row in rows}) == len(rows)


@given(st.binary(max_size=400), st.booleans(), st.booleans())
@settings(deadline=None)
def test_any_bytes_as_an_archive(data, packed, opened):
    data = (b"WARC/1.0\r\n" if opened else b"") + data
    found = list(blocks(io.BytesIO(gzip.compress(data) if packed else data), 1000))
    assert all((block.fault is None) == bool(block.header) for block in found)


RECORDS = [INFO, *(record(f"<img src={i} alt=x>".encode() * 3 + bytes(range(256)) * 3, number=i) for i in range(3))]


@pytest.mark.parametrize("packed", [True, False])
def test_a_truncated_archive_says_where(tmp_path, packed):
    pieces = members(*RECORDS) if packed else RECORDS
    whole, starts = b"".join(pieces), [sum(map(len, pieces[:i])) for i in range(len(pieces) + 1)]
    wanted = rows_of(whole, path=tmp_path / "a.warc.gz")
    for cut in range(len(pieces[0]) + 20, len(whole), 11 if packed else 37):
        rows = rows_of(whole[:cut], path=tmp_path / "a.warc.gz")
        num_whole = sum(start <= cut for start in starts) - 1
        if cut in starts or (
            not packed and any(0 <= start - cut <= 4 for start in starts)
        ):  # the empty lines at the end
            continue
        *good, last = rows
        assert good == wanted[: len(good)]
        assert len(good) - (num_whole - 1) in (0, 1)  # the last record's data may all be there, and its checksum not
        assert last["source_id"].startswith(f"a.warc#{starts[num_whole]}")
        assert last["fault"].startswith(f"archive: byte {starts[num_whole]}")
        assert "the file (or the gzip member) ends" in last["fault"]


@pytest.mark.parametrize("packed", [True, False])
def test_damage_costs_what_lies_in_it(tmp_path, packed):
    pieces = members(*RECORDS) if packed else RECORDS
    damaged = pieces[2][:120] + bytes(60) + pieces[2][180:] if packed else b"junk\r\n" * 50
    rows = rows_of(b"".join([*pieces[:2], damaged, *pieces[3:]]), path=tmp_path / "a.warc.gz")
    where = len(pieces[0] + pieces[1])
    assert [row["fault"] is None for row in rows] == [True, False, True]
    assert rows[1]["fault"].startswith(f"archive: byte {where}: ")
    assert [row["url"] for row in rows] == [urljoin(PAGE, "0"), None, urljoin(PAGE, "2")]


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "warc", r"a\.warc\.gz: no WARC archive: it is empty"),
        (b"hello\n" * 99, "warc", "no WARC archive: .* no WARC record begins here"),
        (gzip.compress(b"hello\n" * 99), "warc", "no WARC archive: .* no WARC record begins here"),
        (gzip.compress(INFO)[:60], "warc", "no WARC archive: .* ends "),
        (INFO + record(kind="metadata", block=b"{}"), "warc", "holds extracts, .* kind = 'wat' reads those"),
        (INFO + record(kind="conversion", block=b"text"), "warc", "which name no pictures"),
        (INFO + record(kind="conversion", block=b"text"), "wat", "which name no pictures"),
        (INFO + record(b"x"), "wat", "kind = 'warc' reads those"),
    ],
)
def test_what_is_no_such_archive_is_one_error(tmp_path, data, kind, words):
    (tmp_path / "a.warc.gz").write_bytes(data)
    source = open_source(source_config({"kind": kind, "path": str(tmp_path / "a.warc.gz")}))
    with pytest.raises(SourceError, match=words):
        source.check()


def test_a_folder_of_archives(tmp_path, read):
    for name in ("a.warc.gz", "b.warc", "c.warc.wat.gz", "d.txt"):
        (tmp_path / name).write_bytes(record(b"<img src=a alt=x>"))
    assert [Path(json.loads(row["meta"])["warc"]).name for row in read(kind="warc", path=str(tmp_path))] == [
        "a.warc.gz",
        "b.warc",
    ]


def test_warc_files_that_begin_with_metadata_of_their_own(tmp_path, read):
    fields = record(kind="metadata", block=b"fetchTimeMs: 5\r\n").replace(
        b"application/json", b"application/warc-fields"
    )
    (tmp_path / "a.warc").write_bytes(INFO + fields + record(b"<img src=a alt=x>"))
    assert len(read(kind="warc", path=str(tmp_path / "a.warc"))) == 1
