"""What is forgotten is nowhere any more, nothing else moves, and no later run brings it back."""

import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import webdataset as wds

from pipeline.commit import read_commits
from pipeline.curate import retry
from pipeline.forget.carry_out import forget
from pipeline.forget.select import Selectors
from pipeline.funnel import read_funnel
from pipeline.shard.reader import ShardReader
from pipeline.shard.verify import verify

from .conftest import PROCESS, all_files, files_that_say, raw_rows, samples_of


def needles_of(dataset, world, row, number):
    """What says something of a sample: its media as they lie, its text, its address, its embedding, its hash."""
    embedding = np.load(io.BytesIO(dataset.read_bytes(f"scores/clip/{row['part']}.image.npy")))[row["row"]]
    phash = pq.read_table(io.BytesIO(dataset.read_bytes(f"scores/phash/{row['part']}.parquet")), columns=["hash"])
    hashed = phash.column("hash")[row["row"]].as_py().to_bytes(8, "little")
    where = world.url(number).split("/p/")[1]
    return [row["media"][-120:-20], f"zq{number:03d}x".encode(), where.encode(), row["sha256"].encode(),
            embedding.tobytes(), hashed]  # fmt: skip


def test_no_byte_of_it_is_left(full_world, copy_of):
    world, dataset = copy_of(full_world)
    rows = raw_rows(dataset)
    numbers = (3, 17, 30)
    needles = [needle for n in numbers for needle in needles_of(dataset, world, rows[n], n)]
    needles += [world.url(39).split("/p/")[1].encode(), b"zq039x"]  # its address is dead, so only the lists know it
    before = files_that_say(dataset, needles)
    for needle, files in before.items():
        assert files, needle
    kinds = {file.split("/")[0] for files in before.values() for file in files}
    assert kinds >= {"candidates", "raw", "scores", "shuffle", "shards"}
    steps = {file.split("/")[1] for files in before.values() for file in files if file.startswith("shuffle/")}
    assert steps >= {"sort", "order", "duplicates-scatter", "near_duplicates-distinct", "text_duplicates-distinct",
                     "text_duplicates-first", "semantic-assign", "semantic-sample"}  # fmt: skip
    forget(dataset, Selectors(keys=tuple(rows[n]["key"] for n in (*numbers, 39))), PROCESS)
    assert {needle: files for needle, files in files_that_say(dataset, needles).items() if files} == {}
    assert verify(dataset) == []


def test_nothing_else_changes(full_world, copy_of):
    _, dataset = copy_of(full_world)
    before, files, samples = raw_rows(dataset), all_files(dataset), samples_of(dataset)
    gone = before[17]["key"]
    shard, part = samples[gone][0], before[17]["part"]
    forget(dataset, Selectors(keys=(gone,)), PROCESS)
    after, files_after = raw_rows(dataset), all_files(dataset)
    kept = [(old, new) for old, new in zip(before, after, strict=True) if old["key"] != gone]
    assert all(old == new for old, new in kept)  # places and media included
    forgotten = {name: value for name, value in after[17].items() if value is not None}
    assert forgotten == {
        "key": gone, "uid": gone, "source": "cc3m", "source_id": "", "medium": "image", "fault": "forgotten",
        "outcome": "forgotten", "status": "failed_to_download", "error_message": "forgotten", "part": part, "row": 5,
    }  # fmt: skip
    changed = {name for name in files if files_after.get(name) != files[name] and not name.startswith("commits/")}
    folders = {name.rsplit("/", 1)[0] for name in changed} - {"shards", "shards/train"}
    of_part = {name for name in changed if name.startswith(("raw/", "scores/", "verdicts/"))}
    assert all(name.split("/")[-1].startswith(part) for name in of_part)
    assert {name for name in changed if name.endswith(".tar")} == {f"raw/{part}.tar", f"shards/{shard}"}
    assert "candidates" in folders
    left = samples_of(dataset)
    assert list(left) == [key for key in samples if key != gone]
    moved = [key for key, place in left.items() if place[:2] != samples[key][:2]]
    assert all(samples[key][0] == shard and samples[key][1] > samples[gone][1] for key in moved)


def test_scores_of_other_rows_and_their_verdicts_stay(full_world, copy_of):
    _, dataset = copy_of(full_world)
    rows = raw_rows(dataset)
    old = {name: data for name, data in all_files(dataset).items() if name.startswith(("scores/", "verdicts/"))}
    forget(dataset, Selectors(keys=(rows[3]["key"],)), PROCESS)
    for name, data in old.items():
        new = dataset.read_bytes(name)
        if name.endswith(".npy"):
            before, after = np.load(io.BytesIO(data)), np.load(io.BytesIO(new))
            assert np.isnan(after[3]).all() or "/00000." not in name
            before[3] = after[3] if "/00000." in name else before[3]
            assert before.tobytes() == after.tobytes()
            continue
        before, after = pq.read_table(io.BytesIO(data)), pq.read_table(io.BytesIO(new))
        assert before.schema.equals(after.schema, check_metadata=True)
        if not name.endswith("00000.parquet"):
            assert data == new
            continue
        said = after.to_pylist()
        assert [row for n, row in enumerate(before.to_pylist()) if n != 3] == [*said[:3], *said[4:]]
        if name.startswith("verdicts/"):
            dropped = {"key": rows[3]["key"], "keep": False, "dropped_by": "fetch:forgotten", "weight": 0.0}
            assert said[3] == dropped
        else:
            assert {value for column, value in said[3].items() if column != "key"} == {None}


def test_a_later_run_finds_everything_in_its_place(full_world, copy_of):
    world, dataset = copy_of(full_world)
    rows, asked = raw_rows(dataset), world.web.requests
    keys = tuple(rows[n]["key"] for n in (0, 1, 9, 20))  # the ninth was never fetched
    forget(dataset, Selectors(keys=keys), PROCESS)
    files = all_files(dataset)
    funnel = read_funnel(dataset)
    hops = {hop.name: hop for hop in funnel.hops}
    assert (hops["listed"].rows_out, hops["fetched"].rows_out) == (48, 44 - 3)
    assert hops["fetched"].left == {"http_404": 3, "forgotten": 4}
    assert sum(funnel.splits.values()) == hops["judged"].rows_out == len(samples_of(dataset))
    world.curate()
    assert all_files(dataset) == files
    assert retry(str(dataset.url), PROCESS).tried == {}
    assert world.web.requests == asked
    assert ShardReader(dataset.url).num_samples + ShardReader(dataset.url, "validation").num_samples == len(
        samples_of(dataset)
    )


def test_a_part_made_anew_is_what_forgetting_left(plain_world, copy_of):
    """A new cut, a new sort, and a new fetch that knows the tombstones give what was left, byte for byte."""
    world, dataset = copy_of(plain_world)
    rows, samples = raw_rows(dataset), samples_of(dataset)
    gone = [rows[n]["key"] for n in (2, 4, 5)]
    forget(dataset, Selectors(keys=tuple(gone)), PROCESS)
    files = all_files(dataset)
    for shard in {samples[key][0] for key in gone}:
        dataset.delete(f"commits/cut/{shard.removesuffix('.tar').replace('/', '-')}.json")
    for bucket in read_commits(dataset, "sort"):
        dataset.delete(f"commits/sort/{bucket}.json")
    world.curate()
    again = all_files(dataset)
    assert {name for name in files if not name.startswith("commits/") and again.get(name) != files[name]} == set()
    asked = world.web.requests
    dataset.delete("commits/ingest/00000.json")
    dataset.delete("commits/fetch/00000.json")
    world.curate(until="fetch")
    assert world.web.requests - asked == 12 - 3 + 4  # and robots.txt and tdmrep.json of two hosts
    new = raw_rows(dataset)
    moving = ("fetched_at", "tar_offset", "part")
    for n in range(12):
        old = {name: value for name, value in rows[n].items() if name not in moving}
        assert (new[n]["outcome"] == "forgotten") if n in (2, 4, 5) else {name: new[n][name] for name in old} == old
    stored = pq.read_table(io.BytesIO(files["raw/00000.parquet"])).to_pylist()
    assert [new[n] for n in (2, 4, 5)] == [{**stored[n], "part": "00000", "row": n, "media": None} for n in (2, 4, 5)]
    assert dataset.read_bytes("candidates/part-00000-00000.parquet") == files["candidates/part-00000-00000.parquet"]


def test_other_tools_read_what_is_left(plain_world, copy_of):
    _, dataset = copy_of(plain_world)
    rows = raw_rows(dataset)
    stored = [row["key"] for row in rows if row["part"] == "00001" and row["media"] is not None]
    forget(dataset, Selectors(keys=(stored[0], stored[-1])), PROCESS)
    raw = dataset.path("raw/00001.tar")
    with tarfile.open(raw) as archive:
        names = archive.getnames()
    assert [name for name in names if name.endswith(".jpg")] == [f"{key}.jpg" for key in stored[1:-1]]
    with open(raw, "rb") as stream:
        files = wds.tariterators.tar_file_expander([{"stream": stream, "url": raw}])
        read = [sample["__key__"] for sample in wds.tariterators.group_by_keys(files)]
    assert read == stored[1:-1]
    stats = json.loads(dataset.read_bytes("raw/00001_stats.json"))
    assert (stats["count"], stats["successes"], stats["status_dict"]["forgotten"]) == (12, len(read), 2)


def test_all_samples_of_a_shard_may_go(plain_world, copy_of):
    world, dataset = copy_of(plain_world)
    shard = samples_of(dataset)[raw_rows(dataset)[3]["key"]][0]
    keys = [key for key, place in samples_of(dataset).items() if place[0] == shard]
    forget(dataset, Selectors(keys=tuple(keys)), PROCESS)
    assert verify(dataset) == []
    files = all_files(dataset)
    dataset.delete(f"commits/cut/{shard.removesuffix('.tar').replace('/', '-')}.json")
    world.curate()
    again = all_files(dataset)
    assert [name for name in files if not name.startswith("commits/") and again.get(name) != files[name]] == []
    reader = ShardReader(dataset.url)
    assert len(list(reader.share(seed=0, epoch=0))) == reader.num_samples
