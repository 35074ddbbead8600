"""img2dataset as the engine of `fetch`: the record of our fetcher, refusals up front, and no trace of a kill."""

import asyncio
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.commit import read_commits
from pipeline.curate import DatasetRecipe, check_recipe, curate, retry
from pipeline.engine import EngineConfig
from pipeline.errors import RecipeError, StageError
from pipeline.ingest.fetch import peer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.peer_options import NO_EFFECT, check_peer
from pipeline.ingest.media.image import ImageConfig
from pipeline.recipe import load
from pipeline.record import FETCHED
from pipeline.store import Store

ANY_ADDRESS = ("0.0.0.0/0", "::/0")
KNOWINGLY = {"engine": "img2dataset", "robots": "ignore", "policy": "x_robots_tag", "allow_private": ANY_ADDRESS}
PROCESS = EngineConfig(place="process", workers=2)
IMAGE = {"size_px": 64, "min_side_px": 50, "exif": "keep"}
FAULTS = {
    "/good.jpg": "success",
    "/redirect-good": "success",
    "/status/403": "http_403",
    "/status/404": "http_404",
    "/status/410": "http_410",
    "/status/401": "http_4xx",
    "/status/500": "http_5xx",
    "/html.jpg": "decode_error",
    "/hang-up": "protocol_error",
    "/loop": "too_many_redirects",
    "/small.jpg": "too_small",
    "/noai.jpg": "opted_out",
}


@pytest.fixture
def pages(faults, draw):
    faults.pages["/small.jpg"] = draw.encoded(draw.photo(0, 60, 40))
    faults.raw("/noai.jpg", draw.head(X_Robots_Tag="noai") + faults.pages["/good.jpg"])
    return faults


def test_the_record_is_that_of_our_fetcher(pages, fetch):
    urls = [pages.url(path) for path in FAULTS]
    urls += ["http://127.0.0.1:1/x.jpg", "file:///etc/passwd", "nonsense"]
    urls += [pages.url("/good.jpg"), pages.url("/status/404")]
    fault = [*[None] * (len(urls) - 1), "row: malformed"]
    ports = {"ports": (pages.port, 1)}
    ours = fetch(urls, fault=fault, image=IMAGE, config=ports)
    asked = len(pages.seen)
    theirs = fetch(urls, fault=fault, image=IMAGE, config={**KNOWINGLY, **ports}, folder="peer")
    odd = ["connect_error", "refused_scheme", "refused_scheme", "success", "bad_row"]
    assert theirs.statuses == [*FAULTS.values(), *odd]
    assert sum(request.path == "/good.jpg" for request in pages.seen[asked:]) == 2, "once, and once by the redirect"
    assert pages.asked("/status/404") == 2, "the row with a fault was not sent"

    assert pq.read_schema(theirs.dataset.local_path("raw/00007.parquet")).equals(FETCHED)
    assert [row["key"] for row in theirs.rows] == [row["key"] for row in ours.rows]
    stored = [[name for name, _ in part.members] for part in (ours, theirs)]
    assert stored[0] == stored[1], "the same rows, in the order of the candidates"
    same = ["status", "sha256", "width", "height", "original_width", "original_height", "caption", "exif", "member"]
    for mine, other in zip(ours.rows, theirs.rows, strict=True):
        if mine["outcome"] == "success":
            assert {name: mine[name] for name in same} == {name: other[name] for name in same}
    assert list(json.loads(theirs.members[1][1])) == list(json.loads(ours.members[1][1]))
    assert {request.headers["user-agent"].count("pairmill;") for request in pages.seen[asked:]} == {1}


def test_hashes_are_verified(pages, draw, fetch):
    other = pages.pages["/other.jpg"] = draw.encoded(draw.photo(5))
    good = pages.pages["/good.jpg"]
    md5, sha256 = hashlib.md5(good).hexdigest(), hashlib.sha256(good).hexdigest()
    promised = [f"md5:{md5}", f"sha256:{sha256}", "md5:" + "0" * 32, None, f"sha256:{sha256}"]
    urls = [pages.url(path) for path in (*["/good.jpg"] * 3, "/gone.jpg", "/other.jpg")]
    part = fetch(urls, hash=promised, config={**KNOWINGLY, "ports": (pages.port,)})
    assert part.statuses == ["success", "success", "hash_mismatch", "http_404", "hash_mismatch"]
    assert part.rows[2]["error_message"] == "hash mismatch"
    assert part.rows[1]["sha256"] == sha256
    assert other not in dict(part.members).values()


@pytest.mark.parametrize(
    ("config", "image", "medium", "said"),
    [
        ({"robots": "respect"}, {}, "image", 'say robots = "ignore"'),
        ({"policy": "respect"}, {}, "image", '"x_robots_tag" for what it does, or "ignore"'),
        ({"allow_private": ()}, {}, "image", "connects to any address"),
        ({"allow_private": ("0.0.0.0/0",)}, {}, "image", "connects to any address"),
        ({"allow_folders": ("/srv",)}, {}, "image", "fetch.allow_folders"),
        ({"per_host_rate_hz": 1.0}, {}, "image", "fetch.per_host_rate_hz"),
        ({}, {"blur": "regions"}, "image", "image.blur"),
        ({}, {}, "video", "a list of video"),
    ],
)
def test_what_it_cannot_do_is_refused(config, image, medium, said):
    check_peer(FetchConfig(**KNOWINGLY), ImageConfig(), "image")
    with pytest.raises(RecipeError) as caught:
        check_peer(FetchConfig(**{**KNOWINGLY, **config}), ImageConfig(**image), medium)
    assert said in str(caught.value)
    assert str(caught.value).count("\n  - ") == 1


def test_block_lists_are_refused(tmp_path):
    (tmp_path / "domains").write_text("bad.example\n")
    config = FetchConfig(**KNOWINGLY, block={"domains": str(tmp_path / "domains")})
    with pytest.raises(RecipeError, match=r"fetch\.block: it knows no block lists"):
        check_peer(config, ImageConfig(), "image")


def test_settings_without_effect_are_named_once(caplog):
    with caplog.at_level(logging.WARNING):
        check_peer(FetchConfig(**KNOWINGLY), ImageConfig(), "image")
        assert caplog.text == ""
        check_peer(FetchConfig(**KNOWINGLY, per_host=1, max_bytes=5), ImageConfig(), "image")
    assert "ignores: fetch.per_host, fetch.max_bytes" in caplog.text


def test_every_setting_of_fetch_was_thought_of():
    """A new setting is honoured, refused or named as one without effect: say so here and in peer_options.py."""
    honoured = {"engine", "user_agent", "timeout_s", "retries", "concurrency", "cpus", "memory_mb", "ports"}
    refused = {"policy", "robots", "per_host_rate_hz", "block", "allow_private", "allow_folders", "companions"}
    of_a_refused_policy = {"tdmrep"}
    assert set(FetchConfig.model_fields) <= honoured | refused | set(NO_EFFECT) | of_a_refused_policy


def test_our_fetcher_does_not_take_its_policy():
    with pytest.raises(ValueError, match="with engine = 'pairmill' take 'respect'"):
        FetchConfig(policy="x_robots_tag")


def test_if_it_fails_the_part_does(pages, fetch, tmp_path, monkeypatch):
    (tmp_path / "img2dataset.py").write_text("raise RuntimeError('no such library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StageError, match=r"img2dataset ended with code 1 .*no such library.*Run again"):
        fetch([pages.url("/good.jpg")], config=KNOWINGLY)


def test_a_server_that_drips_for_ever_does_not_hold_the_part_for_ever(pages, fetch, monkeypatch):
    monkeypatch.setattr(peer, "_START_S", 8.0)
    with pytest.raises(StageError, match="img2dataset did not end within 10 s"):
        fetch([pages.url("/drip")], config={**KNOWINGLY, "timeout_s": 1.0})
    assert processes_of(peer.peer_run.__file__) == []


def processes_of(word):
    """Processes whose command line, or that of the one which started them, holds the word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


@pytest.fixture
def recipe(web, draw, tmp_path):
    """A list of eight pictures, of which two answer 503 at first, in two parts."""
    for i in range(8):
        body = draw.encoded(draw.photo(i))

        async def page(request, writer, i=i, body=body):
            is_ill = i % 4 == 1 and request.count == 0
            writer.write(draw.head("503 Busy", 0) if is_ill else draw.head(length=len(body)) + body)

        web.pages[f"/{i}"] = page
    (tmp_path / "list.tsv").write_text("".join(f"picture number {i}\t{web.url(f'/{i}')}\n" for i in range(8)))
    knowingly = [f"fetch.{name}={json.dumps(value)}" for name, value in KNOWINGLY.items()]
    settings = [
        f"source.path={tmp_path / 'list.tsv'}", "ingest.partition_rows=4", "shard.samples=4", "verdict.rules=[]",
        f"fetch.ports=[{web.port}]", "fetch.retries=0", "image.size_px=64", f"dataset={tmp_path / 'ds'}", *knowingly,
    ]  # fmt: skip
    return lambda *more: load(DatasetRecipe, "quickstart", [*settings, *more], package="pipeline")


def test_curate_and_retry(web, recipe):
    made = recipe()
    curated = curate(made, PROCESS)
    assert dict(curated.funnel.hops[1].left) == {"http_5xx": 2}
    asked = len(web.seen)
    retried = retry(made.dataset, PROCESS)
    assert (retried.tried, retried.funnel.hops[1].rows_out) == ({"http_5xx": 2}, 8)
    assert sorted(request.path for request in web.seen[asked:]) == ["/1", "/5"]
    assert all("img2dataset" in request.headers["user-agent"] for request in web.seen)
    assert curate(made, PROCESS).funnel.hops[-1].rows_out == 8
    assert len(web.seen) == asked + 2


def test_refused_before_anything_starts(web, recipe):
    made = recipe("fetch.robots='respect'")
    for call in (check_recipe, lambda made: curate(made, PROCESS)):
        with pytest.raises(RecipeError, match=r"fetch\.robots"):
            call(made)
    assert web.seen == []
    assert not Store(made.dataset).exists("dataset.json")


def test_a_kill_in_the_middle_leaves_no_part_and_no_process(web, recipe, draw, tmp_path):
    made = recipe("ingest.partition_rows=8")
    answer = web.pages["/3"]
    hanging = []

    async def hang(request, writer):
        hanging.append(request)
        while hanging:
            await asyncio.sleep(0.05)
        writer.close()

    web.pages["/3"] = hang
    script = (
        "import sys, json\n"
        "from pipeline.curate import DatasetRecipe, curate\n"
        "from pipeline.engine import EngineConfig\n"
        "curate(DatasetRecipe(**json.loads(sys.argv[1])), EngineConfig(place='process', workers=1), until='fetch')"
    )
    command = [sys.executable, "-c", script, json.dumps(made.model_dump(mode="json"))]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(peer.__file__).parents[3])})
    try:
        wait_for(lambda: hanging)
        assert processes_of(str(tmp_path)) != []
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    hanging.clear()
    wait_for(lambda: processes_of(str(tmp_path)) == [])
    dataset = Store(made.dataset)
    assert read_commits(dataset, "fetch") == {}
    assert dataset.list("raw") == []
    web.pages["/3"] = answer
    assert curate(made, PROCESS, until="fetch").funnel.hops[1].rows_out >= 6
    assert dataset.list(".scratch") == []


def wait_for(holds, most_s=120.0):
    end = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
