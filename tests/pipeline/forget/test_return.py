"""What was forgotten stays away: from a list that is read again, another list, another address, a retry, a bucket."""

import hashlib
import shutil

from pipeline.curate import DatasetRecipe, curate, retry
from pipeline.engine import Engine
from pipeline.forget.carry_out import forget
from pipeline.forget.select import Selectors
from pipeline.funnel import read_funnel
from pipeline.recipe import load
from pipeline.shard.merge import merge
from pipeline.shard.verify import verify
from pipeline.store import Store

from .conftest import PROCESS, all_files, files_that_say, raw_rows, samples_of


def outcomes(dataset):
    return [row["outcome"] for row in raw_rows(dataset)]


def test_a_list_that_grew_or_was_renumbered(plain_world, copy_of, tmp_path):
    """By URL, domain and hash what comes under another key, another address or a new row stays out too."""
    world, dataset = copy_of(plain_world)
    rows = raw_rows(dataset)
    asked = Selectors(keys=(rows[0]["key"],), urls=(world.url(1),), domains=("localhost",), sha256=(rows[2]["sha256"],))
    forget(dataset, asked, PROCESS)
    assert outcomes(dataset).count("forgotten") == 3 + 8
    copied = tmp_path / "list.tsv"
    lines = [f"{world.caption(n)}\t{world.url(n)}\n" for n in (59, 1, 60, 3, 4)]
    lines.insert(3, f"the second picture again\t{world.url(2)}\n")
    copied.write_text("".join(lines), "utf-8")
    before = world.web.requests
    world.curate(f"source.path={copied}")
    new = {row["url"] or n: row for n, row in enumerate(raw_rows(dataset))}
    assert outcomes(dataset) == ["forgotten", "forgotten", "success", "forgotten", "success", "success"]
    assert world.web.requests - before == 4 + 2  # of one host alone: robots.txt, tdmrep.json, and 60, 2, 3, 4
    assert all(row["media"] is None for row in new.values() if row["outcome"] == "forgotten")
    said = files_that_say(dataset, [b"the second picture again", b"zq059x", b"zq001x"])
    assert {mark: files for mark, files in said.items() if files - {"candidates/part-00000-00000.parquet"}} == {}
    assert verify(dataset) == []
    hops = {hop.name: hop for hop in read_funnel(dataset).hops}
    assert hops["fetched"].left == {"forgotten": 3}


def test_a_hash_of_the_stored_medium_keeps_out_what_it_was_made_of(plain_world, copy_of):
    world, dataset = copy_of(plain_world)
    row = raw_rows(dataset)[7]
    stored = hashlib.sha256(row["media"]).hexdigest()
    assert stored != row["sha256"]
    forget(dataset, Selectors(sha256=(stored,)), PROCESS)
    for record in ("commits/ingest/00000.json", "commits/fetch/00000.json"):
        dataset.delete(record)
    world.curate(until="fetch")
    again = raw_rows(dataset)[7]
    assert (again["outcome"], again["url"], again["media"]) == ("forgotten", None, None)


def test_a_retry_leaves_it_out(world):
    dataset = world.curate("fetch.timeout_s=30", until="fetch")
    rows = raw_rows(dataset)
    forget(dataset, Selectors(keys=(rows[9]["key"], rows[3]["key"])), PROCESS)
    assert retry(dataset.url, PROCESS).tried == {}
    assert outcomes(dataset).count("forgotten") == 2


def test_appended_generations_keep_their_bytes(world):
    """Growth by appending: finished shards lose what is forgotten alone, and a later list goes into new shards."""
    growing = 'shard.growth="append"'
    dataset = world.curate(growing)
    rows, first = raw_rows(dataset), samples_of(dataset)
    gone = rows[4]["key"]
    forget(dataset, Selectors(keys=(gone,), domains=("localhost",)), PROCESS)
    shards = {name: data for name, data in all_files(dataset).items() if name.endswith(".tar") and "shards/" in name}
    world.curate(growing)
    assert verify(dataset) == []
    world.write_list(range(72))
    world.curate(growing)
    files = all_files(dataset)
    assert {name for name in shards if files[name] != shards[name]} == set()
    now = samples_of(dataset)
    assert gone in first
    assert gone not in now
    alive = [n for n in range(72) if n % 10 != 9 and n % 6 != 5 and n != 4]  # dead, of the other host, named
    assert len(now) == len(alive)
    assert verify(dataset) == []
    late = next(key for key, place in now.items() if key not in first)
    forget(dataset, Selectors(keys=(late, rows[6]["key"])), PROCESS)
    again = all_files(dataset)
    assert verify(dataset) == []
    world.curate(growing)
    assert [name for name, data in all_files(dataset).items() if again.get(name) != data] == []


def test_a_bucket_forgets_as_a_folder_does(plain_world, copy_of, s3_bucket):
    world, folder = copy_of(plain_world)
    bucket = Store(f"{s3_bucket}/data")
    for name, data in all_files(folder).items():
        bucket.put_bytes(name, data)
    keys = tuple(raw_rows(folder)[n]["key"] for n in (0, 13))
    for dataset in (folder, bucket):
        forget(dataset, Selectors(keys=keys), PROCESS)
        assert verify(dataset) == []
    ours, theirs = all_files(folder), all_files(bucket)
    clocked = ("forgotten/00000/", "commits/forget/", "dataset.json")
    assert [name for name in ours if not name.startswith(clocked) and theirs.get(name) != ours[name]] == []
    assert ours.keys() == theirs.keys()
    assert world.curate(dataset=bucket.url) == bucket
    assert [name for name, data in all_files(bucket).items() if name != "dataset.json" and theirs[name] != data] == []


def test_an_adopted_folder_loses_it_and_its_source_does_not(plain_world, tmp_path):
    """The folder of the other tool is not ours to change; adopted again, it gives no more of it."""
    theirs = tmp_path / "theirs"
    shutil.copytree(plain_world.folder / "dataset" / "raw", theirs)
    recipe = load(
        DatasetRecipe, "img2dataset", [f"dataset={tmp_path / 'ds'}", f"source.path={theirs}"], package="pipeline"
    )
    curate(recipe, PROCESS)
    dataset = Store(recipe.dataset)
    rows = raw_rows(dataset)
    row = next(row for row in rows if row["media"] is not None)
    marks = [row["media"][-120:-20], row["caption"].encode()]
    before = {path.name: path.read_bytes() for path in theirs.iterdir()}
    forget(dataset, Selectors(keys=(row["key"],), sha256=(row["sha256"],)), PROCESS)
    assert {mark for mark, files in files_that_say(dataset, marks).items() if files} == set()
    assert verify(dataset) == []
    dataset.delete(f"commits/fetch/{row['part']}.json")
    dataset.delete("commits/ingest/00000.json")
    curate(recipe, PROCESS)
    assert outcomes(dataset).count("forgotten") == 1
    assert {mark for mark, files in files_that_say(dataset, marks).items() if files} == set()
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == before


def test_a_merged_dataset_forgets_for_itself_and_for_good(plain_world, copy_of, world, tmp_path):
    """Merged again, after one of its sources has changed, it does not get back what it forgot."""
    world.write_list(range(48, 72), "other.tsv")
    second = world.curate(f"source.path={tmp_path / 'other.tsv'}", "shard.seed=2", dataset=tmp_path / "second")
    _, first = copy_of(plain_world)
    merged = Store(str(tmp_path / "merged"))
    urls = [first.url, second.url]
    merge(Engine(merged, PROCESS), urls, "merged")
    samples, rows = samples_of(merged), raw_rows(first)
    gone = rows[0]["key"]
    shard = samples[gone][0]
    also = next(key for key, place in samples.items() if place[0] == shard and key != gone)
    forget(merged, Selectors(keys=(gone,)), PROCESS)
    assert verify(merged) == []
    assert samples_of(merged).keys() == samples.keys() - {gone}
    files = all_files(merged)
    merge(Engine(merged, PROCESS), urls, "merged")
    changed = {name for name, data in all_files(merged).items() if files.get(name) != data}
    assert changed <= {"commits/manifest/all.json"}
    forget(first, Selectors(keys=(also,)), PROCESS)
    assert gone in samples_of(first)
    merge(Engine(merged, PROCESS), urls, "merged")
    assert samples_of(merged).keys() == samples.keys() - {gone, also}
    assert verify(merged) == []
