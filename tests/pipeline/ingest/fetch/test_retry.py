"""`retry` asks again for what may have come back, keeps all else byte for byte, and survives a stop at any write."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli import main
from pipeline.commit import read_commit, read_commits
from pipeline.curate import DatasetRecipe, curate, retry
from pipeline.engine import EngineConfig
from pipeline.errors import AskedWrongly
from pipeline.ingest.fetch.retry import finish_retries
from pipeline.recipe import load
from pipeline.shard.verify import verify
from pipeline.store import Store

PROCESS = EngineConfig(place="process", workers=2)


@pytest.fixture
def ill(web, draw):
    """A web of 12 pictures, of which every third answers 503 until `ill.cured`, and one is gone for good."""

    class Ill:
        cured = False

    state = Ill()
    for i in range(12):
        body = draw.encoded(draw.photo(i, 320 + i))

        async def page(request, writer, i=i, body=body):
            if i % 3 == 1 and not state.cured:
                writer.write(draw.head("503 Busy", 0))
            else:
                writer.write(draw.head("404 Gone", 0) if i == 5 else draw.head(length=len(body)) + body)

        web.pages[f"/{i}"] = page
    return state


@pytest.fixture
def recipe(web, tmp_path):
    (tmp_path / "list.tsv").write_text("".join(f"picture number {i}\t{web.url(f'/{i}')}\n" for i in range(12)))
    settings = [
        f"source.path={tmp_path / 'list.tsv'}", "ingest.partition_rows=4", "shard.samples=4", "verdict.rules=[]",
        f"fetch.ports=[{web.port}]", 'fetch.allow_private=["127.0.0.1/32"]', "fetch.retries=0", "image.size_px=64",
    ]  # fmt: skip
    return lambda name, *more: load(
        DatasetRecipe, "quickstart", [*settings, f"dataset={tmp_path / name}", *more], package="pipeline"
    )


def keys_of(dataset):
    """Every sample's key and the hash of its stored medium, from the shards' own indexes."""
    for split in dataset.folders("shards"):
        for name in dataset.list(f"shards/{split}", ".parquet"):
            table = pq.read_table(io.BytesIO(dataset.read_bytes(f"shards/{split}/{name}")))
            yield from zip(table["key"].to_pylist(), table["media_sha256"].to_pylist(), strict=True)


def files(dataset, folder):
    return {name: dataset.read_bytes(f"{folder}/{name}") for name in dataset.list(folder)}


def test_only_what_may_have_come_back_is_asked_for(web, ill, recipe, open_part):
    made = recipe("ds")
    dataset = Store(made.dataset)
    curate(made, PROCESS)
    before = read_commits(dataset, "fetch")
    old = {part: open_part(dataset, commit) for part, commit in before.items()}
    ill.cured, asked = True, len(web.seen)
    retried = retry(made.dataset, PROCESS)
    assert retried.tried == {"http_5xx": 4}
    media = {request.path for request in web.seen[asked:]} - {"/robots.txt", "/.well-known/tdmrep.json"}
    assert sorted(media) == ["/1", "/10", "/4", "/7"]
    after = read_commits(dataset, "fetch")
    for part, commit in after.items():
        assert commit.made_by == before[part].made_by
        new = open_part(dataset, commit)
        assert new.statuses == ["http_404" if row["url"].endswith("/5") else "success" for row in new.rows]
        for was, row in zip(old[part].rows, new.rows, strict=True):
            moved = ("tar_offset",)
            if was["outcome"] != "http_5xx":
                assert {**was, **dict.fromkeys(moved)} == {**row, **dict.fromkeys(moved)}
        kept = dict(old[part].members)
        assert {name: dict(new.members)[name] for name in kept} == kept
    assert dataset.list("retried") == dataset.list("commits/retry") == []


def test_curate_takes_in_what_came_and_gives_the_bytes_of_a_healthy_web(web, ill, recipe):
    made = recipe("ds")
    curate(made, PROCESS)
    ill.cured = True
    retry(made.dataset, PROCESS)
    asked = len(web.seen)
    assert curate(made, PROCESS).funnel.hops[1].rows_out == 11
    assert len(web.seen) == asked
    curate(recipe("healthy"), PROCESS)
    keys = [sorted(keys_of(Store(recipe(name).dataset))) for name in ("ds", "healthy")]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 11
    assert verify(Store(made.dataset)) == []
    assert retry(made.dataset, PROCESS).tried == {}


def stopped_retries(made, call, stopped_at):
    """Retry with none, one, two, ... of the store's calls of that name let through, once for each that stops."""
    one_worker = EngineConfig(place="process", workers=1)
    for number in range(40):
        if not stopped_at(call, number, retry, made.dataset, one_worker):
            return
        yield


@pytest.mark.parametrize("call", ["put_file", "put_bytes", "delete"])
def test_a_stop_at_any_write_loses_nothing(ill, recipe, open_part, stopped_at, call):
    made = recipe("ds", "ingest.partition_rows=12")
    dataset = Store(made.dataset)
    curate(made, PROCESS, until="fetch")
    old = files(dataset, "raw")
    ill.cured = True
    stops = 0
    for _ in stopped_retries(made, call, stopped_at):
        stops += 1
        if read_commit(dataset, "fetch", "00000") is None:
            finish_retries(dataset)
        part = open_part(dataset, read_commit(dataset, "fetch", "00000"))
        assert part.statuses.count("success") in (7, 11)
        if part.statuses.count("success") == 7:
            assert files(dataset, "raw") == old
        else:
            break
    assert stops > 0
    curate(made, PROCESS, until="fetch")
    retry(made.dataset, PROCESS)
    assert open_part(dataset, read_commit(dataset, "fetch", "00000")).statuses.count("success") == 11
    assert dataset.list("retried") == dataset.list("commits/retry") == []


@pytest.mark.parametrize("call", ["put_file", "put_bytes", "delete"])
def test_verify_of_a_stopped_retry_says_what_finishes_it(ill, recipe, stopped_at, call):
    """Deleting the record, as is right for a damaged part, would lose the one copy that there is."""
    made = recipe("ds", "ingest.partition_rows=12")
    dataset = Store(made.dataset)
    curate(made, PROCESS)
    ill.cured = True
    advised = 0
    for _ in stopped_retries(made, call, stopped_at):
        found = [str(problem) for problem in verify(dataset)]
        if dataset.list("commits/retry", ".json"):
            advised += 1
            assert len(found) == 1
            assert "commits/retry/00000.json: an interrupted retry" in found[0]
            assert found[0].endswith("Run `pairmill curate` with its recipe, or `pairmill retry`: either finishes it.")
        else:
            assert found == []
    assert advised > 0
    curate(made, PROCESS)
    assert verify(dataset) == []
    assert len(list(keys_of(dataset))) == 11


def test_verify_finds_damage_in_a_patch_that_waits(ill, recipe, monkeypatch):
    made = recipe("ds", "ingest.partition_rows=12")
    dataset = Store(made.dataset)
    curate(made, PROCESS)
    ill.cured = True
    monkeypatch.setattr("pipeline.curate.finish_retries", lambda dataset: None)
    retry(made.dataset, PROCESS)
    tar = dataset.local_path("retried/00000.tar")
    tar.write_bytes(tar.read_bytes()[:-512])
    (problem,) = [item for item in verify(dataset) if item.part == "retried/00000.tar"]
    assert "truncated" in problem.found
    assert problem.remedy.startswith("Delete commits/retry/00000.json and run again")


def test_a_killed_retry_leaves_the_old_part_whole(web, ill, recipe):
    made = recipe("ds")
    dataset = Store(made.dataset)
    curate(made, PROCESS, until="fetch")
    old, records = files(dataset, "raw"), files(dataset, "commits/fetch")
    asked = len(web.seen)

    async def hang(request, writer):
        await asyncio.sleep(60)

    web.pages |= dict.fromkeys(("/1", "/4", "/7", "/10"), hang)
    command = [sys.executable, "-m", "cluster.cli", "retry", made.dataset, "--on", "process"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not any(request.path[1:].isdecimal() for request in web.seen[asked:]) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (files(dataset, "raw"), files(dataset, "commits/fetch")) == (old, records)
    assert verify(dataset)[0].part == "shards/manifest.json"


def test_a_bucket_is_patched_too(ill, recipe, s3_bucket):
    made = recipe("unused", f"dataset={s3_bucket}/retry")
    curate(made, PROCESS, until="fetch")
    ill.cured = True
    retry(made.dataset, PROCESS)
    commits = read_commits(Store(made.dataset), "fetch")
    assert sum(commit.rows_out for commit in commits.values()) == 11


def test_failures_that_img2dataset_left_behind_are_fetched_by_us(web, draw, tmp_path, open_part):
    """An adopted folder: its media keep their bytes, its failures get another chance."""
    body = draw.encoded(draw.photo(1))
    web.pages["/late"] = draw.encoded(draw.photo(2))
    (tmp_path / "old").mkdir()
    columns = {
        "caption": ["one", "two", "three"], "url": ["http://x.example/1", web.url("/late"), "http://x.example/3"],
        "key": ["000000000", "000000001", "000000002"], "status": ["success", *["failed_to_download"] * 2],
        "error_message": [None, "<urlopen error timed out>", "HTTP Error 404: Not Found"],
        "width": [320, None, None], "height": [240, None, None],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "old" / "00000.parquet")
    with tarfile.open(tmp_path / "old" / "00000.tar", "w") as archive:
        member = tarfile.TarInfo("000000000.jpg")
        member.size = len(body)
        archive.addfile(member, io.BytesIO(body))
    settings = [
        f"dataset={tmp_path / 'ds'}", f"source.path={tmp_path / 'old'}", f"fetch.ports=[{web.port}]",
        'fetch.allow_private=["127.0.0.1/32"]',
    ]  # fmt: skip
    made = load(DatasetRecipe, "img2dataset", settings, package="pipeline")
    curate(made, PROCESS, until="fetch")
    assert web.seen == []
    assert retry(made.dataset, PROCESS).tried == {"timeout": 1}
    part = open_part(Store(made.dataset), read_commit(Store(made.dataset), "fetch", "00000"))
    assert part.statuses == ["success", "success", "http_404"]
    assert part.members[0][1] == body
    asked = len(web.seen)
    assert curate(made, PROCESS, until="fetch").funnel.hops[1].rows_out == 2
    assert len(web.seen) == asked


def test_what_cannot_be_retried_is_told(ill, recipe, tmp_path):
    with pytest.raises(AskedWrongly, match="holds no dataset"):
        retry(str(tmp_path / "nothing"), PROCESS)
    made = recipe("ds")
    curate(made, PROCESS, until="ingest")
    with pytest.raises(AskedWrongly, match="nothing has been fetched yet"):
        retry(made.dataset, PROCESS)
    curate(made, PROCESS, until="fetch")
    curate(recipe("ds", "image.size_px=32"), PROCESS, until="ingest")
    with pytest.raises(AskedWrongly, match="3 parts, the first 00000, are missing or were fetched by other settings"):
        retry(made.dataset, PROCESS)


def test_by_command(ill, recipe, capsys):
    made = recipe("ds")
    curate(made, PROCESS, until="fetch")
    ill.cured = True
    assert main(["retry", made.dataset, "--on", "process", "--json"]) == 0
    said = capsys.readouterr()
    assert "tried again: http_5xx 4\nnext: pairmill curate" in said.err
    assert '"http_5xx": 4' in said.out
