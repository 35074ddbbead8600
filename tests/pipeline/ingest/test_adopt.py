"""Adopting what other tools stored: the media and failures of img2dataset, webdataset tars, and no request."""

import hashlib
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import SourceError
from pipeline.ingest.adopt import Adopt
from pipeline.ingest.fetch.dialect import our_outcome
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import open_source, source_config
from pipeline.record import Status
from pipeline.store import Store


def old_folder(folder, rows, media, shard="00000", extra=()):
    """Write a shard the way img2dataset 1.47 lays it out; members in an order of their own."""
    folder.mkdir(exist_ok=True)
    names = ["caption", "url", "key", "status", "error_message", "width", "height", "original_width",
             "original_height", "exif", "sha256"]
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    pq.write_table(table, folder / f"{shard}.parquet")
    with tarfile.open(folder / f"{shard}.tar", "w") as archive:
        for key in reversed(media):
            for ending, data in (("jpg", media[key]), ("json", b"{}"), ("txt", b"caption")):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        for member, data in extra:
            archive.addfile(member, io.BytesIO(data))
    (folder / f"{shard}_stats.json").write_text("{}")
    return source_config({"kind": "img2dataset", "path": str(folder)})


def adopt(source, tmp_path, rows=100):
    dataset = Store(str(tmp_path / "dataset"))
    engine = Engine(dataset, EngineConfig(place="process"))
    open_source(source).check()
    ingest = Ingest(source, IngestConfig(partition_rows=rows))
    stage = Adopt(source)
    return dataset, engine.run(stage, stage.parts(engine.run(ingest, ingest.parts())))


def success(key, body, **more):
    return {
        "key": key, "url": f"http://x/{key}", "caption": f"caption {key}", "status": "success", "width": 320,
        "height": 240, "original_width": 640, "original_height": 480,
        "sha256": hashlib.sha256(body).hexdigest(), **more,
    }


def failed(key, message, status="failed_to_download"):
    return {"key": key, "url": f"http://x/{key}", "caption": "c", "status": status, "error_message": message}


def test_media_and_failures(tmp_path, draw, open_part):
    bodies = [draw.encoded(draw.photo(i)) for i in range(4)]
    rows = [
        success("000000000", bodies[0]),
        failed("000000001", "HTTP Error 404: Not Found"),
        success("000000002", bodies[2]),
        failed("000000003", "Image decoding error", "failed_to_resize"),
        success("000000004", bodies[3], caption=None, url=None),
        success("000000005", b"it is not in the tar"),
        failed("000000006", "<urlopen error [Errno -2] Name or service not known>"),
    ]
    media = {"000000000": bodies[0], "000000002": bodies[2], "000000004": bodies[3]}
    dataset, commits = adopt(old_folder(tmp_path / "old", rows, media), tmp_path)
    part = open_part(dataset, commits["00000"])
    assert part.statuses == ["success", "http_404", "success", "decode_error", "success", "bad_row", "dns_error"]
    assert [data for name, data in part.members if name.endswith(".jpg")] == [bodies[0], bodies[2], bodies[3]]
    first = part.rows[0]
    assert (first["width"], first["height"], first["original_width"], first["bytes"]) == (320, 240, 640, None)
    assert first["sha256"] == rows[0]["sha256"]
    assert first["source_id"] == "000000000"
    assert part.rows[1]["detail"] == "HTTP Error 404: Not Found"
    assert json.loads(part.members[1][1])["caption"] == "caption 000000000"
    assert part.members[-1][1] == b""


def test_a_shard_that_makes_several_parts(tmp_path, draw, open_part):
    body = draw.encoded(draw.photo())
    keys = [f"{i:09d}" for i in range(7)]
    source = old_folder(tmp_path / "old", [success(key, body) for key in keys], dict.fromkeys(keys, body))
    old_folder(tmp_path / "old", [success("000010000", body)], {"000010000": body}, "00001")
    dataset, commits = adopt(source, tmp_path, rows=3)
    parts = [open_part(dataset, commit) for commit in commits.values()]
    assert [len(part.rows) for part in parts] == [3, 3, 1, 1]
    assert {status for part in parts for status in part.statuses} == {"success"}


def test_hostile_members_are_left_where_they_are(tmp_path, draw, open_part):
    body = draw.encoded(draw.photo())
    link = tarfile.TarInfo("000000001.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    climbing = tarfile.TarInfo("../000000000.jpg")
    climbing.size = 4
    again = tarfile.TarInfo("000000000.jpg")
    again.size = 4
    rows = [success("000000000", body), success("000000001", body), success("000000002", b"")]
    media = {"000000000": body, "000000002": b"<html>not an image</html>"}
    source = old_folder(tmp_path / "old", rows, media, extra=[(link, b""), (climbing, b"evil"), (again, b"evil")])
    dataset, commits = adopt(source, tmp_path)
    part = open_part(dataset, commits["00000"])
    assert part.statuses == ["success", "bad_row", "wrong_type"]
    assert part.members[0][1] == body


def test_a_tar_that_is_cut_off_loses_only_what_is_behind(tmp_path, draw):
    body = draw.encoded(draw.photo())
    keys = [f"{i:09d}" for i in range(6)]
    source = old_folder(tmp_path / "old", [success(key, body) for key in keys], dict.fromkeys(keys, body))
    tar = tmp_path / "old" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    _, commits = adopt(source, tmp_path)
    counts = dict(commits["00000"].counts)
    assert counts["success"] + counts["bad_row"] == 6
    assert counts["success"] >= 2


def test_no_tar_beside_it(tmp_path, draw):
    source = old_folder(tmp_path / "old", [success("000000000", b"")], {})
    (tmp_path / "old" / "00000.tar").unlink()
    with pytest.raises(SourceError, match=r"no 00000\.tar beside it"):
        open_source(source).check()


def test_not_a_folder_of_img2dataset(tmp_path):
    pq.write_table(pa.table({"url": ["x"], "text": ["y"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="has no column 'key'"):
        open_source(source_config({"kind": "img2dataset", "path": str(tmp_path)})).check()


def foreign_tar(path, members):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return source_config({"kind": "webdataset", "path": str(path.parent)})


def test_webdataset_tars_of_other_makers(tmp_path, draw, open_part):
    bodies = [draw.encoded(draw.photo(i)) for i in range(3)]
    png = draw.encoded(draw.photo(5), "PNG")
    foreign_tar(tmp_path / "old" / "a-000000.tar", [
        ("dir.v2/7.jpg", bodies[0]), ("dir.v2/7.txt", b"seven"),
        ("dir.v2/7.json", b'{"status": "failed", "sha256": "x"}'),
        ("8.seg.png", png), ("8.png", png), ("8.jpg", bodies[1]), ("8.txt", b"eight"),
        ("9.txt", b"no image"), ("10.jpg", b"<html>"), ("8.jpg", bodies[2]), ("8.txt", b"again"),
    ])
    source = foreign_tar(tmp_path / "old" / "a-000001.tar", [("7.jpg", bodies[2]), ("7.txt", b"one more seven")])
    dataset, commits = adopt(source, tmp_path)
    part = open_part(dataset, commits["00000"])
    assert part.statuses == ["success", "success", "bad_row", "wrong_type", "bad_row"]
    assert [data for name, data in part.members if name.endswith(("jpg", "png"))] == [bodies[0], png]
    assert part.rows[0]["sha256"] == hashlib.sha256(bodies[0]).hexdigest()
    assert (part.rows[0]["width"], part.rows[0]["original_width"], part.rows[1]["mime"]) == (320, 320, "image/png")
    assert [row["texts"][0]["text"] for row in part.rows[:3]] == ["seven", "eight", "no image"]
    assert "sample: no image" in part.rows[2]["detail"]
    assert "same key as row 1" in part.rows[4]["detail"]
    assert open_part(dataset, commits["00001"]).statuses == ["success"]


def test_a_webdataset_tar_that_is_cut_off(tmp_path, draw, open_part):
    body = draw.encoded(draw.photo())
    path = tmp_path / "old" / "0.tar"
    source = foreign_tar(path, [(f"{i}.{ending}", body) for i in range(4) for ending in ("jpg", "cls")])
    path.write_bytes(path.read_bytes()[: 5 * (512 + len(body) + -len(body) % 512) + 700])
    dataset, commits = adopt(source, tmp_path)
    part = open_part(dataset, commits["00000"])
    assert part.statuses == ["success", "success", "success", "bad_row"]
    assert part.rows[-1]["detail"] == "tar: cut off or damaged after 3 samples"


@pytest.mark.parametrize(
    ("status", "message", "ours"),
    [
        ("failed_to_download", "HTTP Error 403: Forbidden", Status.HTTP_403),
        ("failed_to_download", "HTTP Error 451: ", Status.HTTP_4XX),
        ("failed_to_download", "HTTP Error 502: Bad Gateway", Status.HTTP_5XX),
        ("failed_to_download", "HTTP Error 302: The HTTP server returned a redirect error that would lead to an "
         "infinite loop.\nThe last 30x error message was:\nFound", Status.TOO_MANY_REDIRECTS),
        ("failed_to_download", "<urlopen error timed out>", Status.TIMEOUT),
        ("failed_to_download", "The read operation timed out", Status.TIMEOUT),
        ("failed_to_download", "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] x>", Status.TLS_ERROR),
        ("failed_to_download", "<urlopen error [Errno 111] Connection refused>", Status.CONNECT_ERROR),
        ("failed_to_download", "[Errno 104] Connection reset by peer", Status.PROTOCOL_ERROR),
        ("failed_to_download", "Use of image disallowed by X-Robots-Tag directive", Status.OPTED_OUT),
        ("failed_to_download", "hash mismatch", Status.HASH_MISMATCH),
        ("failed_to_download", None, Status.PROTOCOL_ERROR),
        ("failed_to_resize", "image too small", Status.TOO_SMALL),
        ("failed_to_resize", "image area too large", Status.TOO_MANY_PIXELS),
        ("failed_to_resize", "aspect ratio too large", Status.TOO_SMALL),
        ("failed_to_resize", "Image decoding error", Status.DECODE_ERROR),
        (None, None, Status.BAD_ROW),
    ],
)
def test_statuses(status, message, ours):
    assert our_outcome(status, message)[0] == ours


def test_a_folder_that_img2dataset_itself_wrote(tmp_path, web, draw, open_part, img2dataset):
    for i in range(6):
        web.pages[f"/{i}.jpg"] = draw.encoded(draw.photo(i, 640, 480))
    web.raw("/html.jpg", draw.head(length=20) + b"<html>nothing</html>")
    urls = [web.url(path) for path in (*(f"/{i}.jpg" for i in range(6)), "/missing.jpg", "/html.jpg")]
    captions = [*(f"caption {i}" for i in range(6)), "gone", "page"]
    options = {"image_size": 64, "resize_mode": "keep_ratio", "number_sample_per_shard": 5}
    old = img2dataset({"url": urls, "caption": captions}, **options)
    asked = len(web.seen)
    dataset, commits = adopt(source_config({"kind": "img2dataset", "path": str(old)}), tmp_path)
    parts = [open_part(dataset, commit) for commit in commits.values()]
    rows = [row for part in parts for row in part.rows]
    assert len(web.seen) == asked
    by_url = {row["url"]: row for row in rows}
    assert [by_url[web.url(f"/{i}.jpg")]["outcome"] for i in range(6)] == ["success"] * 6
    assert by_url[web.url("/missing.jpg")]["outcome"] == "http_404"
    assert by_url[web.url("/html.jpg")]["outcome"] == "decode_error"
    row = by_url[web.url("/3.jpg")]
    assert (row["width"], row["height"], row["original_width"], row["original_height"]) == (85, 64, 640, 480)
    assert row["sha256"] == hashlib.sha256(web.pages["/3.jpg"]).hexdigest()
    assert [item["text"] for item in row["texts"]] == ["caption 3"]
