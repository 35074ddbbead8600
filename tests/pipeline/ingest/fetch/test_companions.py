"""Companions over real sockets: kept as received, shared, refused like media, and what their loss means for the row."""

import asyncio
import hashlib
import io
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import RecipeError
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.held import Held, Samples
from pipeline.ingest.fetch.outcome import Outcome
from pipeline.ingest.fetch.peer_options import check_peer
from pipeline.ingest.media.image import ImageConfig, Media
from pipeline.record import Status


def mask(seed, kind="PNG", dtype=np.uint8, **options):
    """Random labels: any resampling or re-encoding would change them."""
    labels = np.random.default_rng(seed).integers(0, 150, (48, 64)).astype(dtype)
    out = io.BytesIO()
    Image.fromarray(labels).save(out, kind, **options)
    return out.getvalue()


def bomb():
    """A PNG of a few bytes whose header announces 60,000 x 60,000 pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*item) for item in chunks)


def beside(web, *items):
    return [{"role": role, "url": web.url(path)} for role, path in items]


@pytest.fixture
def world(faults, draw):
    """Pictures at /a and /b, masks in several formats, and things that are none."""
    faults.pages |= {"/a": draw.encoded(draw.photo(3)), "/b": draw.encoded(draw.photo(4))}
    faults.pages |= {"/m.png": mask(1), "/m.tif": mask(2, "TIFF", np.float32), "/m16.png": mask(3, dtype=np.uint16)}
    faults.pages |= {"/bomb": bomb(), "/cut.png": mask(1)[:-400], "/text": b"no mask at all, but words"}
    return faults


def test_bytes_are_kept_and_follow_the_medium(world, fetch):
    items = beside(world, ("seg", "/m.png"), ("parts", "/m16.png"), ("parts", "/m.png"), ("depth", "/m.tif"))
    part = fetch([world.url("/a"), world.url("/b")], companions=[items, None], image={"size_px": 32})
    keys = [row["key"] for row in part.rows]
    ends = ["jpg", "seg.png", "parts.png", "parts.2.png", "depth.tif", "json", "txt"]
    names = [f"{keys[0]}.{end}" for end in ends] + [f"{keys[1]}.{end}" for end in ("jpg", "json", "txt")]
    assert [name for name, _ in part.members] == names
    stored = part.rows[0]["stored_companions"]
    tar = part.dataset.read_bytes(part.commit.file(".tar"))
    for item, path in zip(stored, ("/m.png", "/m16.png", "/m.png", "/m.tif"), strict=True):
        body = world.pages[path]
        assert tar[item["offset"] :][: item["bytes"]] == body == dict(part.members)[item["member"]]
        assert (item["outcome"], item["detail"], item["width"], item["height"]) == ("success", None, 64, 48)
        assert item["sha256"] == hashlib.sha256(body).hexdigest()
    assert [item["role"] for item in stored] == ["seg", "parts", "parts", "depth"]
    assert part.rows[1]["stored_companions"] is None
    assert (part.rows[0]["width"], part.rows[0]["height"]) == (43, 32)
    assert part.commit.facts == {}


def test_one_that_is_shared_is_asked_for_once(world, fetch):
    """Also where it is the medium of another row."""
    shared = [beside(world, ("seg", "/m.png"))] * 2 + [None]
    part = fetch([world.url(path) for path in ("/a", "/b", "/m.png")], companions=shared)
    assert part.statuses == ["success"] * 3
    assert world.asked("/m.png") == 1
    assert [data for name, data in part.members if name.endswith("seg.png")] == [mask(1)] * 2


FAULTS = {
    "/status/404": "http_404", "/status/500": "http_5xx", "/bomb": "too_many_pixels", "/cut.png": "decode_error",
    "/text": "wrong_type", "/html.jpg": "wrong_type", "/announced-large": "too_large", "/loop": "too_many_redirects",
    "/empty": "empty_body", "/redirect-metadata": "refused_address", "/hang-up": "protocol_error",
}  # fmt: skip


def test_a_row_that_lacks_one_ends_as_it_did(world, fetch):
    items = [beside(world, ("seg", "/m.png"), ("parts", path)) for path in FAULTS]
    part = fetch([world.url("/a")] * len(FAULTS), companions=items)
    assert part.statuses == list(FAULTS.values())
    assert all(row["detail"].startswith("companion parts: ") for row in part.rows)
    assert all(row["stored_companions"] is None for row in part.rows)
    assert part.members == []


def test_a_row_may_be_kept_without_one(world, fetch):
    items = [beside(world, ("seg", path), ("seg", "/m.png")) for path in FAULTS]
    part = fetch([world.url("/a")] * len(FAULTS), companions=items, config={"companions": "keep_row"})
    assert set(part.statuses) == {"success"}
    for row, outcome in zip(part.rows, FAULTS.values(), strict=True):
        lost, come = row["stored_companions"]
        assert (lost["outcome"], lost["member"], lost["sha256"], lost["bytes"]) == (outcome, None, None, None)
        assert lost["detail"]
        assert come["member"] == f"{row['key']}.seg.2.png"
    assert sum(part.commit.facts["lost_companions"].values()) == len(FAULTS)


def test_ignored_ones_are_not_asked_for(world, fetch):
    items = [beside(world, ("seg", "/m.png"))]
    part = fetch([world.url("/a")], companions=items, config={"companions": "ignore"})
    assert part.rows[0]["stored_companions"] is None
    assert world.asked("/m.png") == 0
    assert part.members == fetch([world.url("/a")], folder="without").members


def test_a_row_without_its_medium_is_no_sample(world, fetch):
    """Whether its mask comes before it or after it."""
    async def late(request, writer):
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    world.pages["/late404"] = late
    items = [beside(world, ("seg", "/m.png"))] * 2
    part = fetch([world.url("/status/404"), world.url("/late404")], companions=items)
    assert part.statuses == ["http_404", "http_404"]
    assert [row["detail"] for row in part.rows] == ["HTTP 404", "HTTP 404"]
    assert part.members == []


def test_no_mask_is_asked_for_whose_photo_is_gone(world, fetch):
    urls = [world.url(path) for path in ("/status/404", "/status/410", "/a")]
    items = [beside(world, ("seg", path), ("parts", "/m.png")) for path in ("/m16.png", "/good.jpg", "/m.tif")]
    part = fetch(urls, companions=items, config={"concurrency": 1})
    assert part.statuses == ["http_404", "http_410", "success"]
    asked = [world.asked(path) for path in ("/m16.png", "/good.jpg", "/m.tif", "/m.png")]
    assert asked == [0, 0, 1, 1]  # the last is shared by all three


def test_the_rules_for_media_hold(world, fetch, tmp_path, draw):
    """Opt-outs, block lists by URL and hash, schemes, caps; a role or URL that is none."""
    world.raw("/noai.png", draw.head(X_Robots_Tag="noai") + mask(5))
    world.pages["/known.png"] = mask(6)
    (tmp_path / "hashes").write_text(hashlib.sha256(mask(6)).hexdigest() + "\n")
    (tmp_path / "urls").write_text(world.url("/m16.png") + "\n")
    items = beside(world, *(("seg", path) for path in ("/noai.png", "/known.png", "/m16.png", "/m.png")))
    items += [{"role": "seg", "url": "file:///etc/passwd"}, {"role": "../up", "url": world.url("/a")}]
    items += [{"role": "seg", "url": None}]
    block = {"hashes": str(tmp_path / "hashes"), "urls": str(tmp_path / "urls")}
    config = {"companions": "keep_row", "block": block}
    part = fetch([world.url("/b")], companions=[items], config=config)
    assert [item["outcome"] for item in part.rows[0]["stored_companions"]] == [
        "opted_out", "blocklisted", "blocklisted", "success", "refused_scheme", "bad_row", "bad_row",
    ]  # fmt: skip
    assert world.asked("/m16.png") == 0


def test_bytes_do_not_depend_on_the_order_in_which_they_come(world, fetch):
    async def late(request, writer):
        await asyncio.sleep(0.3 - 0.05 * int(request.path[2:]))
        body = mask(int(request.path[2:]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    world.pages |= {f"/s{i}": late for i in range(6)}
    items = [beside(world, ("seg", f"/s{i}"), ("parts", "/m.png")) for i in range(6)]
    urls = [world.url("/a" if i % 2 else "/b") for i in range(6)]
    first = fetch(urls, companions=items, config={"per_host": 30})
    assert set(first.statuses) == {"success"}
    in_turn = fetch(urls, companions=items, config={"per_host": 1, "concurrency": 1}, folder="b")
    assert first.members == in_turn.members


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_samples_in_any_order(tmp_path_factory, data):
    """Against the plain rule: a row is what its medium is, then what its first failed companion is."""
    words = st.sampled_from([Status.SUCCESS, Status.SUCCESS, Status.HTTP_404, Status.TIMEOUT])
    rows = data.draw(st.lists(st.tuples(words, st.lists(words, max_size=3)), max_size=6))
    keeps = data.draw(st.booleans())
    places = [place for row, (_, items) in enumerate(rows) for place in (row, *((row, n) for n in range(len(items))))]
    held = Held(tmp_path_factory.mktemp("held") / "held", data.draw(st.integers(0, 40)))
    samples = Samples(held, [["seg"] * len(items) for _, items in rows], keeps_incomplete=keeps)
    given_out = []
    for place in data.draw(st.permutations(places)):
        status = rows[place][0] if isinstance(place, int) else rows[place[0]][1][place[1]]
        body = Media(repr(place).encode(), "image/png", "png", 1, 1, 1, 1, 1) if status == Status.SUCCESS else None
        samples.put(place, Outcome(status, media=body))
        while (ready := samples.take()) is not None:
            given_out.append(ready)
    samples.close()
    assert [row for row, _ in given_out] == list(range(len(rows)))
    for row, outcome in given_out:
        status, items = rows[row]
        failed = [item for item in items if item != Status.SUCCESS]
        if status == Status.SUCCESS and failed and not keeps:
            assert (outcome.status, outcome.detail, outcome.media) == (failed[0], f"companion seg: {failed[0]}", None)
            continue
        assert outcome.status == status
        if status == Status.SUCCESS:
            assert outcome.media.data == repr(row).encode()
            assert [item.status for item in outcome.companions] == items
            bodies = [repr((row, n)).encode() if item == Status.SUCCESS else None for n, item in enumerate(items)]
            assert [item.media and item.media.data for item in outcome.companions] == bodies
        else:
            assert outcome.companions == ()


def test_img2dataset_is_told_to_ignore_them(world, fetch):
    any_address = ("0.0.0.0/0", "::/0")
    knowingly = {"engine": "img2dataset", "robots": "ignore", "policy": "ignore", "allow_private": any_address}
    with pytest.raises(RecipeError, match=re.escape('say companions = "ignore"')):
        check_peer(FetchConfig(**knowingly), ImageConfig(), "image", has_companions=True)
    check_peer(FetchConfig(**knowingly, companions="ignore"), ImageConfig(), "image", has_companions=True)
    with pytest.raises(RecipeError, match=re.escape('say companions = "ignore"')):
        fetch([world.url("/a")], companions=[beside(world, ("seg", "/m.png"))], config=knowingly)
