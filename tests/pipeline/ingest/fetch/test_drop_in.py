"""A raw folder in the place of img2dataset's: compared with what it writes itself, and read as its users do."""

import io
import json
import tarfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from pipeline.engine import Engine, EngineConfig
from pipeline.ingest.adopt import Adopt
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import source_config
from pipeline.record import IMG2DATASET
from pipeline.store import Store

THEIR_OWN_WORDS = {
    "/small.jpg": "image too small",
    "/large.jpg": "image area too large",
    "/html.jpg": "Image decoding error",
    "/cut.png": "Image decoding error",
    "/noai.jpg": "Use of image disallowed by X-Robots-Tag directive",
}
IMAGE = {"size_px": 64, "exif": "keep", "min_side_px": 50, "max_pixels": 1_000_000, "quality": 90}


@pytest.fixture
def urls(web, draw):
    """Photos, and a fault of each kind that both tools know."""
    exif = Image.Exif()
    exif[0x010F], exif[0x9003] = "Canon", "2024:05:01 10:00:00"
    for i in range(3):
        web.pages[f"/{i}.jpg"] = draw.encoded(draw.photo(i, 640, 480), **({"exif": exif} if i == 1 else {}))
    web.pages["/small.jpg"] = draw.encoded(draw.photo(0, 60, 40))
    web.pages["/large.jpg"] = draw.encoded(draw.photo(0, 1200, 1000))
    web.pages["/html.jpg"] = b"<html><body>no image</body></html>"
    web.pages["/cut.png"] = draw.encoded(draw.photo(), "PNG")[:60]
    web.pages["/empty.jpg"] = b""
    web.raw("/noai.jpg", draw.head(length=len(web.pages["/0.jpg"]), X_Robots_Tag="noai") + web.pages["/0.jpg"])
    for code in (403, 404, 410, 500):
        web.raw(f"/{code}", draw.head(f"{code} No", 0))
    return [web.url(path) for path in web.pages] + ["http://127.0.0.1:1/refused.jpg"]


def read_tar(path):
    """Sample -> ending -> bytes, in tar order."""
    samples = {}
    with tarfile.open(path) as archive:
        for member in archive:
            key, _, ending = member.name.partition(".")
            samples.setdefault(key, {})[ending] = archive.extractfile(member).read()
    return samples


def test_a_raw_part_is_what_img2dataset_writes(web, urls, fetch, img2dataset):
    captions = [None, *(f"caption {i}" for i in range(1, len(urls)))]
    theirs = img2dataset(
        {"url": urls, "caption": captions}, image_size=64, resize_mode="keep_ratio", resize_only_if_bigger=True,
        encode_quality=90, min_image_size=50, max_image_area=1_000_000,
    )  # fmt: skip
    texts = [[{"text": text, "kind": "caption", "lang": None}] if text else [] for text in captions]
    ports = {"ports": (web.port, 1)}
    ours = fetch(urls, texts=texts, image=IMAGE, config=ports).dataset.local_path("raw")

    written, wanted = pq.read_table(ours / "00007.parquet"), pq.read_table(theirs / "00000.parquet")
    assert written.column_names[: len(wanted.column_names)] == wanted.column_names == IMG2DATASET.names
    assert [written.schema.field(item.name).type for item in wanted.schema] == list(wanted.schema.types)
    by_url = {row["url"]: row for row in wanted.to_pylist()}
    same = ["caption", "url", "status", "width", "height", "original_width", "original_height", "exif", "sha256"]
    for row in written.to_pylist():
        path = row["url"].removeprefix(web.url(""))
        assert {name: row[name] for name in same} == {name: by_url[row["url"]][name] for name in same}, path
        if path in ("/html.jpg", "/small.jpg", "/large.jpg", "/cut.png", "/noai.jpg"):
            assert row["error_message"] == by_url[row["url"]]["error_message"] == THEIR_OWN_WORDS[path]
        else:
            assert (row["error_message"] is None) == (row["status"] == "success")
    assert len({row["status"] for row in by_url.values()}) == 3
    assert json.loads(by_url[web.url("/1.jpg")]["exif"])["Image Make"] == "Canon"

    stored, foreign = read_tar(ours / "00007.tar"), read_tar(theirs / "00000.tar")
    assert len(stored) == len(foreign) == 3
    by_url = {json.loads(sample["json"])["url"]: sample for sample in foreign.values()}
    for sample in stored.values():
        facts = json.loads(sample["json"])
        other = by_url[facts["url"]]
        other_facts = json.loads(other["json"])
        assert list(sample) == list(other) == ["jpg", "json", "txt"]
        assert list(facts)[: len(other_facts)] == list(other_facts)
        assert {name: facts[name] for name in other_facts if name != "key"} == {
            name: value for name, value in other_facts.items() if name != "key"
        }
        assert sample["txt"] == other["txt"]

    stats, other_stats = (json.loads(next(folder.glob("*_stats.json")).read_text()) for folder in (ours, theirs))
    assert {name: type(value) for name, value in stats.items()} == {
        name: type(value) for name, value in other_stats.items()
    }
    counts = ("count", "successes", "failed_to_download", "failed_to_resize")
    assert {name: stats[name] for name in counts} == {name: other_stats[name] for name in counts}
    assert sum(stats["status_dict"].values()) == sum(other_stats["status_dict"].values()) == len(urls)
    assert stats["status_dict"]["success"] == other_stats["status_dict"]["success"] == 3


def test_exif_is_kept_to_oneself_unless_the_recipe_keeps_it(urls, fetch):
    part = fetch(urls[:2])
    assert [row["exif"] for row in part.rows] == [None, None]
    assert [json.loads(data)["exif"] for name, data in part.members if name.endswith("json")] == [None, None]
    kept = fetch(urls[:2], image={"exif": "keep"}, folder="b")
    assert [json.loads(row["exif"]).get("Image Make") for row in kept.rows] == [None, "Canon"]


def test_webdataset_and_pandas_users(urls, fetch):
    part = fetch(urls, image=IMAGE)
    raw = part.dataset.local_path("raw")
    with (raw / "00007.tar").open("rb") as stream:
        files = ({"fname": item.name, "data": data} for item, data in members(stream))
        samples = list(webdataset.tariterators.group_by_keys({**file, "__url__": ""} for file in files))
    table = pq.read_table(raw / "00007.parquet").to_pandas()
    kept = table[table.status == "success"]
    assert [sample["__key__"] for sample in samples] == list(kept.key)
    assert [sample["txt"].decode() for sample in samples] == list(kept.caption)
    assert Counter(table.status) == {"success": 3, "failed_to_resize": 5, "failed_to_download": 6}


def members(stream):
    with tarfile.open(fileobj=stream) as archive:
        for item in archive:
            yield item, archive.extractfile(item).read()


def test_a_subset_is_cut_by_uid_as_datacomp_does(urls, fetch):
    """Its resharder takes the uid out of each sample's JSON, and looks it up in a sorted array of pairs of u8."""
    uids = ["%032x" % (i * 12345678901234567890123) for i in range(len(urls))]
    part = fetch(urls, source_id=uids, image=IMAGE)
    assert [row["uid"] for row in part.rows] == uids
    subset = np.sort(np.array([divmod(int(uid, 16), 2**64) for uid in (uids[0], uids[2], uids[5])], "u8,u8"))
    picked = []
    for sample in read_tar(part.dataset.local_path("raw/00007.tar")).values():
        wanted = np.array([divmod(int(json.loads(sample["json"])["uid"], 16), 2**64)], "u8,u8")[0]
        if np.searchsorted(subset, wanted, "right") > np.searchsorted(subset, wanted, "left"):
            picked.append(json.loads(sample["json"])["url"])
            assert Image.open(io.BytesIO(sample["jpg"])).size == (85, 64)
    assert picked == [urls[0], urls[2]]


def test_the_uid_of_a_row_without_one_is_its_key(urls, fetch):
    part = fetch(urls[:1], source_id=["AB" * 16])
    assert part.rows[0]["uid"] == part.rows[0]["key"] == json.loads(part.members[1][1])["uid"]


def test_pairmill_reads_it_as_a_folder_of_img2dataset(urls, fetch, open_part, tmp_path):
    part = fetch(urls, image=IMAGE)
    source = source_config({"kind": "img2dataset", "path": str(part.dataset.local_path("raw"))})
    engine = Engine(Store(str(tmp_path / "second")), EngineConfig(place="process"))
    ingest, adopt = Ingest(source, IngestConfig()), Adopt(source)
    commits = engine.run(adopt, adopt.parts(engine.run(ingest, ingest.parts())))
    second = open_part(engine.dataset, commits["00000"])
    said = {"wrong_type": "decode_error"}
    assert second.statuses == [said.get(outcome, outcome) for outcome in part.statuses]
    same = ["status", "error_message", "caption", "url", "sha256", "width", "height", "original_width"]
    assert [[row[name] for name in same] for row in second.rows] == [[row[name] for name in same] for row in part.rows]
    media = [[data for name, data in each.members if name.endswith(".jpg")] for each in (part, second)]
    assert media[0] == media[1]
    assert pa.types.is_string(pq.read_schema(part.dataset.local_path("raw/00007.parquet")).field("status").type)
