"""WAT archives, written as Common Crawl's extractor writes them, and both kinds of archive through the ingest stage."""

import gzip
import json
from urllib.parse import urljoin

import fsspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine import Engine, EngineConfig
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import open_source, source_config
from pipeline.store import Store

PAGE = "http://site.example/dir/page.html"


def record(block, kind="metadata", mime="application/json"):
    header = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {PAGE}\r\nWARC-Date: 2024-05-06T07:08:09Z\r\n"
    header += f"WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: {mime}\r\nContent-Length: {len(block)}\r\n\r\n"
    return gzip.compress(header.encode() + block + b"\r\n\r\n")


INFO = record(b"software: a test\r\n", "warcinfo", "application/warc-fields")


def extract(links=(), metas=(), base=None, headers=None, status="200", url=PAGE):
    head = {"Title": "A page", "Metas": list(metas)} | ({} if base is None else {"Base": base})
    response = {
        "Response-Message": {"Status": status, "Version": "HTTP/1.1", "Reason": "OK"},
        "Headers": {"Content-Type": "text/html"} | (headers or {}),
        "HTML-Metadata": {"Head": head, "Links": list(links)},
    }
    about = {"WARC-Type": "response", "WARC-Target-URI": url, "WARC-Date": "2024-05-06T07:08:09Z"}
    about["WARC-Record-ID"] = "<urn:uuid:9>"
    return {
        "Container": {"Filename": "CC-MAIN-1.warc.gz", "Compressed": True, "Offset": "846"},
        "Envelope": {
            "Format": "WARC",
            "WARC-Header-Metadata": about,
            "Payload-Metadata": {"HTTP-Response-Metadata": response},
        },
    }


@pytest.fixture
def read_wat(tmp_path, read):
    def run(*extracts, **settings):
        blocks = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in extracts]
        (tmp_path / "a.warc.wat.gz").write_bytes(b"".join([INFO, *map(record, blocks)]))
        return read(kind="wat", path=str(tmp_path), **settings)

    return run


def test_a_page(read_wat):
    links = [
        {"path": "A@/href", "url": "/x", "text": "a link"},
        {"path": "IMG@/src", "url": "a.png", "alt": " A\n cat ", "title": "Cat"},
        {"path": "IMG@/src", "url": "b.png"},
        {"path": "IMG@/src", "url": "data:image/png;base64,AA", "alt": "no link"},
        {"path": "IMG@/src", "url": "//cdn.example/c.png", "alt": "", "title": "See"},
        {"path": "IMG@/longdesc", "url": "d.png", "alt": "no picture"},
    ]
    metas = [
        {"name": "HTML@/lang", "content": "fr-CA"},
        {"property": "og:image", "content": "cover.jpg"},
        {"property": "og:title", "content": "Titre"},
    ]
    rows = read_wat(extract(links, metas, base="/media/"))
    assert [(row["url"], [(item["text"], item["kind"], item["lang"]) for item in row["texts"]]) for row in rows] == [
        ("http://site.example/media/cover.jpg", [("Titre", "og", "fr")]),
        ("http://site.example/media/a.png", [("A cat", "alt", "fr"), ("Cat", "title", "fr")]),
        ("http://cdn.example/c.png", [("See", "title", "fr")]),
    ]
    assert [row["source_id"] for row in rows] == [f"a.warc.wat#{len(INFO)}#{i}" for i in (0, 1, 4)]
    assert json.loads(rows[0]["meta"]) == {
        "page_url": PAGE,
        "warc": "CC-MAIN-1.warc.gz",
        "offset": "846",
        "record_id": "<urn:uuid:9>",
        "date": "2024-05-06T07:08:09Z",
    }


IMAGE = {"path": "IMG@/src", "url": "a.png", "alt": "A cat"}


def test_pages_that_opt_out(read_wat):
    metas = [{"name": "robots", "content": "nofollow, noimageai"}]
    rows = read_wat(extract([IMAGE], metas), extract([IMAGE], headers={"x-robots-TAG": "noai"}), extract([IMAGE]))
    words = ["robots meta: noimageai", "X-Robots-Tag: noai"]
    assert [row["fault"] for row in rows] == [*(f"opted out by the page's {item}" for item in words), None]


def test_records_that_hold_no_page(read_wat):
    rows = read_wat(
        extract([IMAGE], status="404"),
        extract([IMAGE], url="dns:site.example"),
        {"Envelope": {"Payload-Metadata": {"HTTP-Request-Metadata": {}}}},
        b"{not json",
        b"[" * 100_000,
        extract([IMAGE] * 20),
        extract([{"path": "IMG@/src", "url": str(i), "alt": "x"} for i in range(5)]),
        max_images_per_page=3,
    )
    assert [None if row["fault"] is None else row["fault"][:18] for row in rows] == [
        "record: not JSON: ", "record: not JSON: ", None, "page: 20 pictures,", None, None, None, "page: 5 pictures, ",
    ]  # fmt: skip


def test_a_record_over_the_limit_is_a_fault(read_wat):
    rows = read_wat(extract([IMAGE] * 99), extract([IMAGE]), max_record_bytes=2000)
    assert [row["fault"] for row in rows] == ["record: longer than 2000 bytes", None]


NAMES = ["url", "alt", "path", "name", "content", "property", "Base", "Metas", "Links", "Head", "Headers"]
LEAVES = [st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)]
VALUES = st.recursive(
    st.one_of(*LEAVES, st.sampled_from(["http://[", "IMG@/src"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)


@given(VALUES, VALUES, VALUES, st.binary(max_size=50))
@settings(max_examples=50, deadline=None)
def test_any_values_and_any_bytes(tmp_path_factory, first, second, third, data):
    whole = extract(base=third)
    response = whole["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
    response["HTML-Metadata"] = {
        "Links": [first, {"path": "IMG@/src", "url": second, "alt": third}, IMAGE],
        "Head": second,
    }
    other = extract([IMAGE], [first, {"name": second, "content": third}])
    other["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]["Headers"] = third
    blocks = [json.dumps(item).encode() for item in (whole, other, first, extract([IMAGE], url=PAGE + "?last"))]
    path = tmp_path_factory.getbasetemp() / "any.warc.wat.gz"
    path.write_bytes(b"".join([INFO, record(data), *map(record, blocks)]))
    source = open_source(source_config({"kind": "wat", "path": str(path)}))
    rows = [row for batch in source.read(source.files()[0]) for row in batch.to_pylist()]
    assert all(row["fault"] is not None or (row["texts"] and row["url"]) for row in rows)
    assert json.loads(rows[-1]["meta"])["page_url"].endswith("?last")


def test_through_the_ingest_stage(tmp_path):
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"".join(
        b"<img src=%d alt=x>" % i for i in range(25)
    )
    page = record(body, "response", "application/http; msgtype=response")
    barred = record(body.replace(b"<img", b"<meta name=robots content=noai><img", 1), "response", "application/http")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.warc.gz").write_bytes(INFO + page + barred)
    (tmp_path / "in" / "b.warc.gz").write_bytes(INFO + page[:-9])
    source = source_config({"kind": "warc", "path": str(tmp_path / "in")})
    stage = Ingest(source, IngestConfig(partition_rows=20))
    dataset = Store(str(tmp_path / "dataset"))
    commits = Engine(dataset, EngineConfig(place="process")).run(stage, stage.parts())
    assert [dict(commit.counts) for commit in commits.values()] == [{"rows": 50, "fault": 25}, {"rows": 26, "fault": 1}]
    names = [stamp.name for commit in commits.values() for stamp in commit.files]
    rows = [row for name in names for row in pq.read_table(dataset.local_path(name)).to_pylist()]
    assert len({row["key"] for row in rows}) == len(rows) == 76
    assert rows[0]["url"] == urljoin(PAGE, "0")
    assert rows[-1]["fault"].startswith(f"archive: byte {len(INFO)}: the file")
    again = Engine(Store(str(tmp_path / "again")), EngineConfig(place="process")).run(stage, stage.parts())
    assert again == commits


def test_archives_in_a_bucket(s3_bucket):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<img src=a alt=x>" + b" " * 300_000
    members = [record(page + bytes([i]), "response", "application/http; msgtype=response") for i in range(40)]
    with fsspec.open(f"{s3_bucket}/crawl/a.warc.gz", "wb") as stream:
        stream.write(b"".join([INFO, *members]))
    source = open_source(source_config({"kind": "warc", "path": f"{s3_bucket}/crawl"}))
    source.check()
    rows = [row for batch in source.read(source.files()[0]) for row in batch.to_pylist()]
    places = [len(INFO) + sum(map(len, members[:i])) for i in range(40)]
    assert [row["source_id"] for row in rows] == [f"a.warc#{place}#0" for place in places]
