"""The fetch stage: order, retries, manners towards hosts, repeated rows, promised hashes, what is written."""

import asyncio
import errno
import hashlib
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import StageError
from pipeline.ingest.fetch import outcome
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.media.image import ImageConfig
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import source_config
from pipeline.record import FETCHED, IMG2DATASET
from pipeline.store import Store


def test_members_follow_the_rows_not_the_web(web, fetch, draw):
    """The first rows come last, yet are written first; media beyond the budget wait on disk."""
    num = 12
    for i in range(num):
        body = draw.encoded(draw.photo(i))

        async def late(request, writer, body=body, i=i):
            await asyncio.sleep((num - i) * 0.03)
            writer.write(draw.head(length=len(body)) + body)

        web.pages[f"/{i}"] = late
    urls = [web.url(f"/{i}") for i in range(num)]
    slow = fetch(urls, config={"per_host": num})
    keys = [row["key"] for row in slow.rows]
    assert [name for name, _ in slow.members] == [f"{key}.{end}" for key in keys for end in ("jpg", "json", "txt")]
    spilled = fetch(urls, config={"per_host": num, "memory_mb": 1}, folder="b")
    one_by_one = fetch(urls, config={"per_host": 1, "concurrency": 1}, folder="c")
    assert slow.members == spilled.members == one_by_one.members


def test_held_media_survive_the_scratch_file(web, fetch, draw):
    noise = [np.random.default_rng(i).integers(0, 255, (600, 800, 3), np.uint8) for i in range(4)]
    bodies = [draw.encoded(item, quality=98) for item in noise]
    assert sum(map(len, bodies)) > 2 << 20
    for i, body in enumerate(bodies):

        async def late(request, writer, body=body, i=i):
            await asyncio.sleep((4 - i) * 0.15)
            writer.write(draw.head(length=len(body)) + body)

        web.pages[f"/{i}"] = late
    part = fetch([web.url(f"/{i}") for i in range(4)], config={"memory_mb": 1}, image={"resize": "no"})
    assert [data for name, data in part.members if name.endswith(".jpg")] == bodies


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its file to the GC
def test_a_sample_as_others_read_it(web, fetch, draw, tmp_path):
    body = draw.encoded(draw.photo(), quality=90)
    web.pages["/a.jpg"] = body
    texts = [[{"text": "ein Bild", "kind": "alt", "lang": "de"}, {"text": "a picture", "kind": "title", "lang": None}]]
    part = fetch([web.url("/a.jpg"), web.url("/404")], texts=[*texts, []], image={"size_px": 64})
    row = part.rows[0]
    facts = json.loads(part.members[1][1])
    assert list(facts) == [*IMG2DATASET.names, "uid", "source", "source_id", "texts"]
    assert facts["caption"] == "ein Bild" == part.members[2][1].decode()
    assert facts["texts"] == texts[0]
    assert facts["sha256"] == row["sha256"] == hashlib.sha256(body).hexdigest()
    assert (row["width"], row["height"], row["original_width"], row["original_height"]) == (85, 64, 320, 240)
    assert (row["bytes"], row["mime"], row["orientation"], row["phash"]) == (len(body), "image/jpeg", 1, None)
    assert row["fetched_at"] is not None
    with part.dataset.open(part.commit.file(".parquet")) as stream:
        table = pq.ParquetFile(stream)
        assert table.schema_arrow.equals(FETCHED)
        assert table.num_row_groups == 1
    path = part.dataset.local_path(part.commit.file(".tar"))
    (sample,) = webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8")
    assert sample["__key__"] == row["key"]
    assert sample["jpg"].shape == (64, 85, 3)
    assert sample["json"]["url"] == row["url"]


def test_retries_until_it_works(faults, fetch):
    part = fetch([faults.url("/flaky"), faults.url("/slow-down")], config={"retries": 2, "backoff_s": 0.01})
    assert part.statuses == ["success", "success"]
    assert (faults.asked("/flaky"), faults.asked("/slow-down")) == (3, 2)


def test_retries_end(faults, fetch):
    paths = ["/status/500", "/hang-up", "/status/404", "/html.jpg", "/slow-down-long", "/loop"]
    part = fetch([faults.url(path) for path in paths], config={"retries": 2, "backoff_s": 0.01})
    assert part.statuses == ["http_5xx", "protocol_error", "http_404", "wrong_type", "http_429", "too_many_redirects"]
    assert [faults.asked(path) for path in paths] == [3, 3, 1, 1, 1, 6]


def test_a_host_gets_no_more_than_its_share(web, fetch, draw):
    body = draw.encoded(draw.photo())

    async def slow(request, writer):
        await asyncio.sleep(0.05)
        writer.write(draw.head(length=len(body)) + body)

    for i in range(12):
        web.pages[f"/{i}"] = slow
    assert set(fetch([web.url(f"/{i}") for i in range(12)], config={"per_host": 3}).statuses) == {"success"}
    assert web.most_busy == 3


def test_a_slow_host_does_not_hold_up_others(web, serve, fetch, draw):
    """All slots but the slow host's own stay free for other hosts, though its rows come first."""
    async def slow(request, writer):
        await asyncio.sleep(30)

    with serve() as other:
        web.pages["/slow"] = slow
        other.pages["/good"] = draw.encoded(draw.photo())
        urls = [web.url(f"/slow?{i}") for i in range(4)] + [other.url(f"/good?{i}") for i in range(8)]
        config = {"per_host": 2, "concurrency": 4, "ports": (web.port, other.port), "timeout_s": 2.0}
        part = fetch(urls, config=config)
    assert part.statuses == ["timeout"] * 4 + ["success"] * 8
    assert len(other.seen) == 8


def test_a_host_that_never_answers_is_left_alone(web, fetch):
    async def silent(request, writer):
        await asyncio.sleep(30)

    for i in range(30):
        web.pages[f"/{i}"] = silent
    part = fetch(
        [web.url(f"/{i}") for i in range(30)],
        config={"give_up_host_after": 4, "per_host": 2, "timeout_s": 0.2, "retries": 1, "backoff_s": 0.01},
    )
    assert set(part.statuses) == {"timeout"}
    assert len(web.seen) <= 6
    assert "not tried" in part.rows[-1]["detail"]


def test_a_url_is_fetched_once_for_all_its_rows(web, fetch, draw):
    web.pages["/a"] = draw.encoded(draw.photo())
    part = fetch([web.url("/a")] * 3 + [web.url("/no")] * 2)
    assert part.statuses == ["success"] * 3 + ["http_404"] * 2
    assert (web.asked("/a"), web.asked("/no")) == (1, 1)
    assert len({row["key"] for row in part.rows}) == 5
    assert part.members[0][1] == part.members[3][1] == part.members[6][1]


def test_the_second_row_of_a_key_is_a_bad_row(web, fetch, draw):
    web.pages["/a"] = draw.encoded(draw.photo())
    part = fetch([web.url("/a")] * 3, key=["same", "same", "other"])
    assert part.statuses == ["success", "bad_row", "success"]
    assert part.rows[1]["detail"] == "same key as row 0 of this part"


def test_faults_of_the_list_become_bad_rows(web, fetch):
    part = fetch([web.url("/a"), None], fault=["line: 3 fields, wanted 2", "line: longer than 16 bytes"])
    assert part.statuses == ["bad_row", "bad_row"]
    assert part.rows[0]["detail"] == "line: 3 fields, wanted 2"
    assert web.seen == []


def test_promised_hashes_are_kept_or_the_bytes_are_not(web, fetch, draw):
    body, poison = draw.encoded(draw.photo(1)), draw.encoded(draw.photo(2))
    web.pages |= {"/a": body, "/b": body, "/poison": poison, "/shared": body}
    right_md5 = "md5:" + hashlib.md5(body).hexdigest()
    right_sha = "sha256:" + hashlib.sha256(body).hexdigest()
    part = fetch(
        [web.url(path) for path in ("/a", "/b", "/poison", "/poison", "/shared", "/shared", "/shared")],
        hash=[right_md5, right_sha, right_md5, right_sha, right_md5, right_sha[:-1] + "x", None],
    )
    mismatch = "hash_mismatch"
    assert part.statuses == ["success", "success", mismatch, mismatch, "success", mismatch, "success"]
    assert len(part.members) == 4 * 3


def test_honest_requests(web, fetch, draw):
    web.pages["/a"] = draw.encoded(draw.photo())
    fetch([web.url("/a")], config={"user_agent": "mill/2 (+me@example.org)"})
    headers = web.seen[0].headers
    assert headers["user-agent"] == "mill/2 (+me@example.org)"
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers
    assert "referer" not in headers


def test_cookies_do_not_travel(web, fetch, draw):
    body = draw.encoded(draw.photo())
    web.raw("/set", draw.head(length=len(body), Set_Cookie="who=me; Path=/") + body)
    web.pages["/get"] = body
    fetch([web.url("/set"), web.url("/get")], config={"concurrency": 1})
    assert all("cookie" not in request.headers for request in web.seen)


def test_an_empty_part(fetch):
    part = fetch([])
    assert (part.rows, part.members, part.commit.rows_in) == ([], [], 0)


@pytest.mark.parametrize("config", [{"allow_private": ("10.0.0.0/99",)}, {"engine": "curl"}, {"max_bytes": 0}])
def test_wrong_settings_are_refused(config):
    with pytest.raises(ValueError, match=next(iter(config))):
        FetchConfig(**config)


def test_settings_of_speed_make_nothing_stale():
    slow, fast = (Fetch(FetchConfig(**c), ImageConfig()) for c in ({"concurrency": 1, "cpus": 1}, {"cpus": 8}))
    assert slow.settings() == fast.settings()
    assert slow.settings() != Fetch(FetchConfig(max_bytes=5), ImageConfig()).settings()


def test_from_list_to_raw_parts(web, draw, tmp_path):
    """Both stages on the engine; a second run does nothing, another image size fetches again."""
    lines = []
    for i in range(25):
        web.pages[f"/{i}.jpg"] = draw.encoded(draw.photo(i))
        lines.append(f"picture {i}\t{web.url(f'/{i}.jpg')}\n")
    (tmp_path / "list.tsv").write_text("".join(lines) + "no tab here\n")
    engine = Engine(Store(str(tmp_path / "dataset")), EngineConfig(place="process"))
    source = source_config({"kind": "cc3m", "path": str(tmp_path / "list.tsv")})
    ingest = Ingest(source, IngestConfig(partition_rows=10))
    config = FetchConfig(robots="ignore", tdmrep="ignore", ports=(web.port,), allow_private=("127.0.0.1",))

    def run(size_px):
        fetch = Fetch(config, ImageConfig(size_px=size_px))
        return engine.run(fetch, fetch.parts(engine.run(ingest, ingest.parts())))

    commits = run(64)
    assert {part: dict(commit.counts) for part, commit in commits.items()} == {
        "00000": {"success": 10},
        "00001": {"success": 10},
        "00002": {"bad_row": 1, "success": 5},
    }
    assert len(web.seen) == 25
    assert run(64) == commits
    assert len(web.seen) == 25
    tar = engine.dataset.read_bytes(commits["00000"].file(".tar"))
    assert run(32)["00000"].files != commits["00000"].files
    assert run(64)["00000"].file(".tar") == "raw/00000.tar"
    assert engine.dataset.read_bytes("raw/00000.tar") == tar
    with Image.open(io.BytesIO(tar[512:])) as image:
        assert min(image.size) == 64


def test_a_full_disk_fails_the_part_and_says_so(web, fetch, draw, monkeypatch):
    """What is wrong with this machine is no status of a row."""
    web.pages |= {f"/{i}": draw.encoded(draw.photo(i)) for i in range(5)}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.tar.TarWriter.add", full)
    with pytest.raises(OSError, match="No space left"):
        fetch([web.url(f"/{i}") for i in range(5)])


def test_one_unexpected_image_does_not_cost_the_part(web, fetch, draw, monkeypatch):
    web.pages |= {"/a": draw.encoded(draw.photo(1)), "/b": draw.encoded(draw.photo(2))}
    treat = outcome.treat_image

    def sometimes(body, *how):
        if body == web.pages["/a"]:
            raise RuntimeError("nobody thought of this")
        return treat(body, *how)

    monkeypatch.setattr(outcome, "treat_image", sometimes)
    part = fetch([web.url("/a"), web.url("/b")])
    assert part.statuses == ["decode_error", "success"]
    assert part.rows[0]["detail"] == "unexpected RuntimeError"


def test_no_sockets_left_fails_the_part_and_says_so(web, fetch, draw, monkeypatch):
    """Trouble of this machine never becomes the status of a URL."""

    def full(self, addr_info):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("pipeline.ingest.fetch.guard.Guard.make_socket", full)
    with pytest.raises(StageError, match=r"Too many open files.*ulimit -n"):
        fetch([web.url("/a")], config={"retries": 3})


def test_connections_are_kept_only_for_hosts_with_more_to_fetch(web, serve, fetch, draw):
    body = draw.encoded(draw.photo())
    with serve() as once:
        once.pages["/a"] = body
        web.pages |= {"/a": body, "/b": body}
        fetch([once.url("/a"), web.url("/a"), web.url("/b")], config={"concurrency": 1, "ports": (web.port, once.port)})
        asked = [request.headers.get("connection") for request in (*once.seen, *web.seen)]
    assert asked == ["close", None, "close"]


def test_a_picture_that_moves_is_stored_as_it_is_received(web, fetch):
    frames = [Image.new("RGB", (32, 24), color) for color in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    web.pages["/a"] = out.getvalue()
    part = fetch([web.url("/a")], image={"size_px": 16, "animated": "all_frames"})
    (row,) = part.rows
    assert (row["outcome"], row["error_message"], row["detail"]) == ("success", None, "2 frames")
    assert (row["mime"], row["width"], row["height"], row["member"]) == ("image/gif", 32, 24, f"{row['key']}.gif")
    assert part.members[0] == (row["member"], out.getvalue())
