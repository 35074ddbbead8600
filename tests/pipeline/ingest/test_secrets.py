"""Secrets of URLs and of the environment stay where they belong: a canary is looked for in all that a run leaves.

The URL itself is data, and is kept as the list has it: in columns and fields named `url`, and nowhere else.
"""

import io
import json
import logging
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.cli import main
from pipeline.curate import DatasetRecipe, curate, retry
from pipeline.engine import EngineConfig
from pipeline.recipe import load

CANARY = "c4n4ry"
PROCESS = EngineConfig(place="process", workers=2)


def without_urls(value):
    """A JSON value without its fields named `url`."""
    if isinstance(value, dict):
        return {key: without_urls(item) for key, item in value.items() if key != "url"}
    return [without_urls(item) for item in value] if isinstance(value, list) else value


def text_of(path):
    """(what a file says beside its URLs, its URLs)."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(io.BytesIO(data))
        urls = table["url"].to_pylist() if "url" in table.column_names else []
        others = [name for name in table.column_names if name != "url"]
        return f"{table.select(others).to_pylist()}{table.schema.metadata}", urls
    if path.suffix == ".tar":
        said, urls = "", []
        with tarfile.open(path) as archive:
            for member in archive:
                body = archive.extractfile(member).read()
                if member.name.endswith(".json"):
                    urls.append(json.loads(body)["url"])
                    body = json.dumps(without_urls(json.loads(body))).encode()
                said += member.name + body.decode("latin-1")
        return said, urls
    return data.decode("latin-1"), []


@pytest.fixture
def urls(faults, draw):
    """URLs of every end that a row can come to, each with a secret in its query, its path or its user name."""
    port, secret = faults.port, f"X-Amz-Signature={CANARY}&sig={CANARY}"
    faults.pages["/second.jpg"] = draw.encoded(draw.photo(5))
    faults.redirect("/to-missing", f"http://127.0.0.1:{port}/missing?{secret}")
    faults.redirect("/to-inward", f"http://{CANARY}.127.0.0.2.invalid/{CANARY}?{secret}")
    faults.redirect("/to-user", f"http://{CANARY}:{CANARY}@127.0.0.1:{port}/good.jpg")
    faults.redirect("/to-nonsense", f"http://[{CANARY}/?{secret}")
    faults.redirect("/to-file", f"file:///{CANARY}")
    faults.redirect("/to-port", f"http://127.0.0.1:notaport{CANARY}/")
    paths = ["/good.jpg", "/second.jpg", "/status/403", "/status/404", "/status/500", "/status/204", "/empty",
             "/html.jpg", "/truncated.jpg", "/garbage", "/hang-up", "/reset", "/hang", "/loop", "/announced-large",
             "/redirect-inward", "/to-missing", "/to-inward", "/to-user", "/to-nonsense", "/to-file", "/to-port",
             "/slow-down-long", "/gzip-cut", "/brotli"]  # fmt: skip
    found = [f"{faults.url(path)}?{secret}" for path in paths]
    return [
        *found, f"http://{CANARY}:{CANARY}@127.0.0.1:{port}/good.jpg", f"ftp://{CANARY}@h/a", f"http://h:{CANARY}/a",
        f"http://{CANARY}@[::1/a", f"file:///{CANARY}/{CANARY}.jpg", f"http://127.0.0.1:9/{CANARY}",
        f"http://[/{CANARY}", f"//h/{CANARY}", f"http://nowhere.invalid/{CANARY}", f"data:,{CANARY}",
        f"http://127.0.0.1:22/{CANARY}", f"http://169.254.169.254/{CANARY}?{secret}", f"http://{'a' * 70}/{CANARY}",
    ]  # fmt: skip


@pytest.fixture
def recipe(faults, urls, tmp_path):
    lines = [f"picture number {i} of the list\t{url}\n" for i, url in enumerate(urls)]
    (tmp_path / "list.tsv").write_text("".join(lines) + f"no tab, but a link: http://x/?{CANARY}\n")
    settings = [
        f"dataset={tmp_path / 'dataset'}", f"source.path={tmp_path / 'list.tsv'}", "verdict.rules=[]",
        f"fetch.ports=[{faults.port}, 9]", 'fetch.allow_private=["127.0.0.1/32"]', "fetch.timeout_s=2.0",
        "fetch.retries=0", "fetch.give_up_host_after=1000", "fetch.per_host=40", "image.size_px=64",
    ]  # fmt: skip
    return load(DatasetRecipe, "quickstart", settings, package="pipeline")


def test_no_secret_leaves_the_url(recipe, urls, tmp_path, monkeypatch, caplog, capfd):
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "http_proxy"):
        monkeypatch.setenv(name, f"http://{CANARY}:9")
    caplog.set_level(logging.DEBUG)
    curated = curate(recipe, PROCESS)
    retried = retry(recipe.dataset, PROCESS)
    for arguments in (["show"], ["verify"], ["report", "--out", str(tmp_path / "report.html")]):
        assert main([arguments[0], recipe.dataset, *arguments[1:]]) in (0, 1)
    dataset = Path(recipe.dataset)
    listed, kept = set(), 0
    for path in sorted([*dataset.rglob("*"), tmp_path / "report.html"]):
        if path.is_file() and "shuffle" not in path.parts:  # there, whole rows are on their way from hop to hop
            said, found = text_of(path)
            assert CANARY not in said, (path, said[max(0, said.index(CANARY) - 200) : said.index(CANARY) + 50])
            listed.update(found)
            kept += len(found)
    assert set(urls) <= listed  # as the list has them
    assert kept > len(urls)
    printed = capfd.readouterr()
    for said in (caplog.text, printed.out, printed.err, str(curated), str(retried)):
        assert CANARY not in said, said[max(0, said.index(CANARY) - 300) : said.index(CANARY) + 50]
    outcomes = pq.read_table(dataset / "raw" / "00000.parquet")["outcome"].to_pylist()
    assert len(set(outcomes)) >= 15, sorted(set(outcomes))


def test_errors_of_a_part_tell_no_url(recipe, monkeypatch, caplog):
    """What ends a part names the part, not the row that happened to be in hand."""
    monkeypatch.setattr("pipeline.tar.TarWriter.add", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(Exception, match="No space left") as caught:
        curate(recipe, PROCESS)
    assert CANARY not in str(caught.value)
    assert CANARY not in caplog.text
