"""The whole of `pipeline` on a small drawn world with planted faults, over real sockets."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.quickstart.scenes import draw_scene
from cluster.quickstart.web import LocalWeb
from cluster.quickstart.world import draw_world
from pipeline.commit import read_commits
from pipeline.curate import DatasetRecipe, curate
from pipeline.engine import EngineConfig
from pipeline.errors import AskedWrongly, DatasetError, RecipeError, SourceError
from pipeline.funnel import read_funnel
from pipeline.recipe import load
from pipeline.shard.reader import ShardReader
from pipeline.shard.verify import verify
from pipeline.store import Store
from pipeline.tar import TarWriter

PROCESS = EngineConfig(place="process", workers=2)


@pytest.fixture(scope="module")
def world():
    return draw_world(120, seed=7)


@pytest.fixture(scope="module")
def web(world):
    with LocalWeb(world.pages) as served:
        yield served


@pytest.fixture
def recipe(world, web, tmp_path):
    """Call with overrides; gives the quickstart's recipe on this test's list and folder."""
    world.write_list(tmp_path / "list.tsv", web.url)

    def make(*overrides, dataset=None):
        return load(DatasetRecipe, "quickstart", settings(tmp_path, web, dataset) + list(overrides), package="pipeline")

    return make


def settings(folder, web, dataset=None):
    port = web.url.rsplit(":", 1)[1]
    return [
        f"dataset={dataset or folder / 'dataset'}", f"source.path={folder / 'list.tsv'}", "ingest.partition_rows=30",
        "shard.samples=32", f"fetch.ports=[{port}]", 'fetch.allow_private=["127.0.0.1/32"]', "fetch.timeout_s=1.0",
        "fetch.retries=0", "fetch.per_host=16",
    ]  # fmt: skip


def shard_bytes(url):
    """sha256 of every file under shards/, by name."""
    store = Store(str(url))
    found = {}
    for path in store.fs.find(store.path("shards")):
        found[path.removeprefix(store.root)] = hashlib.sha256(store.fs.cat_file(path)).hexdigest()
    assert any(name.endswith("manifest.json") for name in found)
    return found


def test_the_funnel_is_what_was_planted(recipe, world):
    made = recipe()
    curated = curate(made, PROCESS)
    hops = {hop.name: hop for hop in curated.funnel.hops}
    left = {f"fetch:{status}": rows for status, rows in hops["fetched"].left.items()} | dict(hops["judged"].left)
    assert left == dict(world.planted)
    assert hops["listed"].rows_in == len(world.rows)
    assert sum(curated.funnel.splits.values()) == len(world.rows) - sum(world.planted.values())
    assert verify(Store(made.dataset)) == []


def test_every_row_of_the_list_has_one_verdict(recipe, world):
    made = recipe()
    curate(made, PROCESS, until="judge")
    store = Store(made.dataset)
    keys, reasons = [], 0
    for part in store.list("raw", ".parquet"):
        raw = pq.read_table(store.path(f"raw/{part}"))
        folder = store.fs.ls(store.path("verdicts"), detail=False)[0]
        verdict = pq.read_table(f"{folder}/{part}")
        assert raw["key"].to_pylist() == verdict["key"].to_pylist()
        keys += verdict["key"].to_pylist()
        reasons += sum(not keep for keep in verdict["keep"].to_pylist())
    assert len(set(keys)) == len(keys) == len(world.rows)
    assert reasons == sum(world.planted.values())


def test_a_list_that_moved_is_read_again_and_nothing_is_fetched(recipe, tmp_path):
    def made():
        tars = [store.local_path(f"raw/{name}").stat().st_ino for name in store.list("raw", ".tar")]
        return read_commits(store, "fetch"), tars, read_commits(store, "ingest")["00000"].facts["list"]

    store = Store(curate(recipe(), PROCESS, until="fetch").dataset)
    *before, place = made()
    assert place == str(tmp_path / "list.tsv")
    (tmp_path / "elsewhere").mkdir()
    there = (tmp_path / "list.tsv").rename(tmp_path / "elsewhere" / "list.tsv")
    curate(recipe(f"source.path={there}"), PROCESS, until="fetch")
    assert made() == (*before, str(there))


def test_worker_count_does_not_change_a_byte(recipe, tmp_path):
    urls = [str(tmp_path / name) for name in ("one", "two")]
    for url, workers in zip(urls, (1, 2), strict=True):
        curate(recipe(dataset=url), EngineConfig(place="process", workers=workers))
    assert shard_bytes(urls[0]) == shard_bytes(urls[1])


@pytest.mark.ray
def test_ray_gives_the_bytes_of_one_process(recipe, tmp_path, ray_of_two_nodes):
    urls = [str(tmp_path / name) for name in ("process", "ray")]
    curate(recipe(dataset=urls[0]), PROCESS)
    curate(recipe(dataset=urls[1]), EngineConfig(place="ray", address=ray_of_two_nodes))
    assert shard_bytes(urls[0]) == shard_bytes(urls[1])


def test_a_bucket_gives_the_bytes_of_a_folder(recipe, tmp_path, s3_bucket):
    bucket = f"{s3_bucket}/{uuid.uuid4().hex}"
    curate(recipe(dataset=str(tmp_path / "local")), PROCESS)
    curate(recipe(dataset=bucket), PROCESS)
    assert shard_bytes(bucket) == shard_bytes(tmp_path / "local")
    assert verify(Store(bucket)) == []


def killed_until_done(command, commits, most):
    """Run `command`, killing it with all its threads at random moments, until it ends. Returns the number of kills."""
    rng, kills = random.Random(0), 0
    while kills < most:
        wanted = len(list(commits.glob("*/*.json"))) + rng.randint(1, 9)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(commits.glob("*/*.json"))) < wanted:
            time.sleep(0.002)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return kills


@pytest.mark.parametrize("site", ["process", pytest.param("local", marks=[pytest.mark.slow, pytest.mark.ray])])
def test_killed_at_any_moment_it_resumes_to_the_same_bytes(recipe, web, tmp_path, site):
    curate(recipe(dataset=str(tmp_path / "calm")), PROCESS)
    command = [sys.executable, "-m", "cluster.cli", "curate", "quickstart", "--on", site]
    for setting in settings(tmp_path, web, tmp_path / "killed"):
        command += ["--set", setting]
    assert killed_until_done(command, tmp_path / "killed" / "commits", 8) >= 4
    assert shard_bytes(tmp_path / "killed") == shard_bytes(tmp_path / "calm")
    assert verify(Store(str(tmp_path / "killed"))) == []


def test_killed_while_a_list_is_appended_it_resumes_to_the_same_bytes(recipe, web, tmp_path):
    """Shards limited by bytes; finished ones keep every byte, and the same history gives the same new ones."""
    rows = (tmp_path / "list.tsv").read_text().splitlines(keepends=True)
    appends = ["shard.growth=append", "shard.bytes=200000"]
    names, before = ("calm", "killed"), {}
    (tmp_path / "list.tsv").write_text("".join(rows[:70]))
    for name in names:
        curate(recipe(*appends, dataset=str(tmp_path / name)), PROCESS)
        before = {file: digest for file, digest in shard_bytes(tmp_path / name).items() if file.endswith(".tar")}
    (tmp_path / "list.tsv").write_text("".join(rows))
    curated = curate(recipe(*appends, dataset=str(tmp_path / "calm")), PROCESS)
    held_over = sum(curated.funnel.splits.values()) - curated.funnel.hops[-1].rows_out
    assert held_over > 0  # of two copies the verdict keeps one by their keys, now and then one that came later
    card = Store(str(tmp_path / "calm")).read_bytes("shards/README.md").decode()
    assert f"{held_over} samples of earlier generations would not be kept today" in card
    command = [sys.executable, "-m", "cluster.cli", "curate", "quickstart", "--on", "process"]
    for setting in [*settings(tmp_path, web, tmp_path / "killed"), *appends]:
        command += ["--set", setting]
    assert killed_until_done(command, tmp_path / "killed" / "commits", 5) >= 2
    assert shard_bytes(tmp_path / "killed") == shard_bytes(tmp_path / "calm")
    assert before.items() < shard_bytes(tmp_path / "killed").items()
    assert verify(Store(str(tmp_path / "killed"))) == []


def test_another_threshold_downloads_nothing(recipe, web):
    before_rows = curate(recipe(), PROCESS).funnel.hops[-1].rows_out
    before, asked = shard_bytes(recipe().dataset), web.requests
    rules = '[{name = "too_few_words", column = "text.num_words", min = 9}]'
    stricter = curate(recipe(f"verdict.rules={rules}"), PROCESS)
    assert web.requests == asked
    assert stricter.funnel.hops[-1].rows_out < before_rows
    assert shard_bytes(recipe().dataset) != before
    assert verify(Store(recipe().dataset)) == []
    curate(recipe(), PROCESS)
    assert web.requests == asked
    assert shard_bytes(recipe().dataset) == before


def test_another_image_size_fetches_again(recipe, web):
    curate(recipe(), PROCESS, until="fetch")
    asked = web.requests
    curate(recipe(), PROCESS, until="fetch")
    assert web.requests == asked
    curate(recipe("image.size_px=64"), PROCESS, until="fetch")
    assert web.requests > asked


def test_a_list_that_grows_at_its_end_fetches_only_what_is_new(recipe, world, web, tmp_path):
    rows = (tmp_path / "list.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "list.tsv").write_text("".join(rows[:90]))
    curate(recipe(), PROCESS)
    asked = web.requests
    (tmp_path / "list.tsv").write_text("".join(rows[:100]))
    curated = curate(recipe(), PROCESS)
    assert 0 < web.requests - asked <= 10 + 2  # robots.txt, tdmrep.json
    assert curated.funnel.hops[0].rows_in == 100
    (tmp_path / "list.tsv").write_text("".join(rows[:60]))
    asked = web.requests
    assert curate(recipe(), PROCESS).funnel.hops[0].rows_in == 60
    assert web.requests == asked
    assert verify(Store(recipe().dataset)) == []


def test_stages_that_lag_behind_are_told(recipe):
    curate(recipe(), PROCESS)
    curate(recipe("verdict.rules=[]"), PROCESS, until="judge")
    with pytest.raises(DatasetError, match=r"judged gave .* rows but sharded took .*run `pairmill curate` again"):
        read_funnel(Store(recipe().dataset))


def test_a_folder_of_another_dataset_is_refused(recipe):
    curate(recipe(), PROCESS, until="ingest")
    with pytest.raises(AskedWrongly, match="holds the dataset 'quickstart', and the recipe makes 'other'"):
        curate(recipe("name=other"), PROCESS)


def test_mistakes_are_told_before_anything_starts(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"text\.num_wrds.*Did you mean 'text\.num_words'"):
        curate(recipe('verdict.rules=[{name="x", column="text.num_wrds", min=1}]'), PROCESS)
    with pytest.raises(SourceError, match=r"no such file or folder.*list\.tsv"):
        curate(recipe(f"source.path={tmp_path}/lisst.tsv"), PROCESS)
    with pytest.raises(RecipeError, match=r"cc33m.*Did you mean 'cc3m'"):
        recipe("source.kind=cc33m")
    with pytest.raises(RecipeError, match=r"fetch\.timeout: unknown key\. Did you mean 'timeout_s'"):
        recipe("fetch.timeout=3")
    with pytest.raises(RecipeError, match=r"fetch\.block\.hashes: nowhere\.txt: cannot be read"):
        curate(recipe("fetch.block.hashes=nowhere.txt"), PROCESS)
    assert not (tmp_path / "dataset").exists()


def test_a_damaged_shard_is_found(recipe):
    made = recipe()
    curate(made, PROCESS)
    shard = next(iter(Store(made.dataset).local_path("shards/train").glob("*.tar")))
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(bytes(data))
    assert any(shard.name in str(problem) for problem in verify(Store(made.dataset)))


def test_a_split_that_is_no_name_leaves_with_a_reason(recipe, tmp_path):
    """A list may say what it likes; what cannot be a folder is dropped, counted, and the funnel adds up."""
    path = tmp_path / "list.tsv"
    rows = path.read_text().splitlines(keepends=True)
    (tmp_path / "odd.tsv").write_text("".join(rows[:20]))
    path.write_text("".join(rows[20:]))
    lists = [{"path": str(path), "split": "train"}, {"path": str(tmp_path / "odd.tsv"), "split": "../up"}]
    made = recipe().model_dump(mode="json") | {"source": {"kind": "cc3m", "lists": lists}}
    curated = curate(DatasetRecipe.model_validate(made), PROCESS)
    sharded = curated.funnel.hops[-1]
    assert set(sharded.left) == {"bad_split"}
    assert sharded.adds_up


def test_a_folder_of_img2dataset_becomes_shards_without_the_network(tmp_path):
    """Columns, keys, statuses and layout as img2dataset 1.47 writes them."""
    old = tmp_path / "old"
    old.mkdir()
    rows = []
    with TarWriter(old / "00000.tar") as tar:
        for number in range(8):
            key, scene = f"{number:09d}", draw_scene(number)
            failed = number == 5
            if not failed:
                tar.add_all(
                    [(f"{key}.jpg", scene.jpeg), (f"{key}.json", b"{}"), (f"{key}.txt", scene.caption.encode())]
                )
            rows.append(
                {
                    "caption": scene.caption,
                    "url": f"http://nowhere.invalid/{number}.jpg",
                    "key": key,
                    "status": "failed_to_download" if failed else "success",
                    "error_message": "HTTP Error 404: Not Found" if failed else None,
                    "width": None if failed else 160,
                    "height": None if failed else 160,
                    "original_width": None if failed else 160,
                    "original_height": None if failed else 160,
                    "exif": None if failed else "{}",
                    "sha256": None if failed else hashlib.sha256(scene.jpeg).hexdigest(),
                }
            )
    pq.write_table(pa.Table.from_pylist(rows), old / "00000.parquet")
    overrides = [f"source.path={old}", f"dataset={tmp_path / 'ds'}", "shard.samples=4"]
    curated = curate(load(DatasetRecipe, "img2dataset", overrides, package="pipeline"), PROCESS)
    assert curated.funnel.splits == {"train": 7}
    assert curated.funnel.hops[1].left == {"http_404": 1}
    media = {example.media for example in ShardReader(str(tmp_path / "ds")).share(seed=0, epoch=0)}
    assert media == {draw_scene(number).jpeg for number in range(8) if number != 5}
