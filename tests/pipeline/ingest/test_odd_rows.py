"""A list of everything that lists get wrong, through ingest and fetch: one status per row, and the run goes on."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine import Engine, EngineConfig
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.media.image import ImageConfig
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import source_config
from pipeline.store import Store

LONG = "word " * 200_000
"""1 MB."""


@pytest.fixture
def rows_of(web, draw, tmp_path, open_part):
    """Run both stages over a list; its rows, in order, and the members of the tar."""
    for i in range(20):
        web.pages[f"/{i}"] = draw.encoded(draw.photo(i))

    def run(path, **columns):
        engine = Engine(Store(str(tmp_path / "dataset")), EngineConfig(place="process"))
        ingest = Ingest(source_config({"kind": "table", "path": str(path), **columns}), IngestConfig())
        config = FetchConfig(ports=(web.port,), allow_private=("127.0.0.1",), robots="ignore", tdmrep="ignore")
        fetch = Fetch(config, ImageConfig(size_px=32))
        commits = engine.run(fetch, fetch.parts(engine.run(ingest, ingest.parts())))
        part = open_part(engine.dataset, commits["00000"])
        return part.rows, dict(part.members)

    return run


def test_a_csv_of_faults(web, rows_of, tmp_path):
    link = [web.url(f"/{i}").encode() for i in range(20)]
    lines = [
        (link[0] + b",a picture,k0", "success"),
        (link[1], "bad_row"),
        (link[2] + b",too,many,fields,here", "bad_row"),
        (link[3] + b",caf\xe9 \xff\xfe,k3", "success"),
        (link[4] + b",nul\0 inside,k4", "success"),
        (link[5] + b"," + LONG.encode() + b",k5", "bad_row"),
        (link[6] + b",,k6", "success"),
        (b",no link,k7", "bad_row"),
        (link[8] + b",the key of the first again,k0", "bad_row"),
        (b"not a link,words,k9", "refused_scheme"),
        (link[10] + b'?x=\xff,a link of other bytes,k10', "bad_row"),
        (link[11] + b'\0,a link with a NUL,k11', "bad_row"),
        (link[12] + b',"quoted, with\na new line",k12', "success"),
    ]  # fmt: skip
    path = tmp_path / "list.csv"
    path.write_bytes(b"url,text,id\n" + b"\n".join(line for line, _ in lines) + b"\n")
    rows, members = rows_of(path, url="url", text="text", id="id")
    assert [row["outcome"] for row in rows] == [outcome for _, outcome in lines]
    assert all(row["detail"] for row in rows if row["outcome"] != "success")
    captions = {row["source_id"]: members[f"{row['key']}.txt"].decode() for row in rows if row["member"]}
    assert captions["k3"] == "caf\ufffd \ufffd"  # one mark per run of bytes that are no text
    assert "\0" not in captions["k4"]
    assert rows[5]["detail"] == "caption: a text of 1000000 bytes, at most 262144 wanted"
    assert captions["k6"] == ""
    assert captions["k12"] == "quoted, with\na new line"


@pytest.mark.parametrize(
    ("column", "value"),
    [("url", 5), ("url", b"\xff\xfe"), ("url", ["x"]), ("url", {"a": 1}), ("url", None), ("text", 5),
     ("text", b"\xff\xfe"), ("text", {"a": 1}), ("text", None), ("id", 2.5), ("id", None)],
)  # fmt: skip
def test_columns_of_another_type(web, rows_of, tmp_path, column, value):
    table = {"url": [web.url("/0")], "text": ["t"], "id": ["i"], column: [value]}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    (row,), _ = rows_of(tmp_path / "list.parquet", url="url", text="text", id="id")
    assert row["outcome"] in (("bad_row",) if column == "url" else ("bad_row", "success"))
    assert row["outcome"] == "success" or row["detail"]


def test_names_that_climb_stay_in_the_tar(web, rows_of, tmp_path):
    """No identifier of a list becomes a path: members are named by the key."""
    out = io.StringIO("url,text,id\n" + "".join(f"{web.url('/0')},t,{name}\n" for name in ("../../x", "/etc/x", "a/b")))
    (tmp_path / "list.csv").write_text(out.getvalue())
    rows, members = rows_of(tmp_path / "list.csv", url="url", text="text", id="id")
    assert {row["outcome"] for row in rows} == {"success"}
    assert all("/" not in name and ".." not in name for name in members)
    with tarfile.open(tmp_path / "dataset" / "raw" / "00000.tar") as archive:
        assert all(member.isreg() for member in archive)
