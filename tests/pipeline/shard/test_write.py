"""Shards as a whole: what is in them, and that their bytes depend on input, recipe and seed alone."""

import io
import itertools
import json
import random
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commit import drop_part, read_commits
from pipeline.engine import Engine, EngineConfig, ray_session
from pipeline.errors import DatasetError
from pipeline.record import SHARD_INDEX, VERDICT, sample_key
from pipeline.shard.config import ShardConfig
from pipeline.shard.manifest import read_manifest
from pipeline.shard.order import order_of, split_of
from pipeline.shard.write import write_shards

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 20}


def tar_of(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]


def keys_of(files, split):
    tars = sorted(name for name in files if name.startswith(f"{split}/") and name.endswith(".tar"))
    return [[name.split(".")[0] for name, _ in tar_of(files[tar])[::3]] for tar in tars]


def flat(shards):
    return list(itertools.chain.from_iterable(shards))


def test_holds_each_kept_sample_once_unchanged(judged):
    manifest = judged.shard(**CONFIG)
    files = judged.files()
    seen = {}
    for name, data in files.items():
        if name.endswith(".tar"):
            members = tar_of(data)
            for medium, sample, text in zip(members[::3], members[1::3], members[2::3], strict=True):
                key = medium[0].removesuffix(".jpg")
                assert (sample[0], text[0]) == (f"{key}.json", f"{key}.txt")
                assert key not in seen
                seen[key] = (medium[1], json.loads(sample[1]), text[1].decode())
    assert seen.keys() == judged.media.keys()
    for key, (medium, sample, text) in seen.items():
        row = judged.rows[key]
        assert medium == judged.media[key]
        assert text == sample["caption"] == row["texts"][0]["text"]
        same = ("key", "url", "width", "height", "original_width", "original_height", "sha256", "source", "source_id")
        assert {name: sample[name] for name in same} == {name: row[name] for name in same}
        assert (sample["texts"], sample["weight"]) == (row["texts"], row["weight"])
        assert sample["meta"] == json.loads(row["meta"])
    assert manifest.splits["train"].samples + manifest.splits["validation"].samples == len(judged.media)


def test_lies_in_the_order_of_the_hash(judged):
    judged.shard(seed=5, **CONFIG)
    files = judged.files()
    for split in ("train", "validation"):
        shards = keys_of(files, split)
        keys = flat(shards)
        assert keys == sorted(keys, key=lambda key: (order_of(5, key), key))
        assert [len(keys) for keys in shards[:-1]] == [16] * (len(shards) - 1)


def test_index_tells_where_each_sample_lies(judged):
    judged.shard(**CONFIG)
    files = judged.files()
    table = pq.read_table(io.BytesIO(files["train/00001.parquet"]))
    assert table.schema.equals(SHARD_INDEX)
    data = files["train/00001.tar"]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        infos = tar.getmembers()
    for row, medium, text in zip(table.to_pylist(), infos[::3], infos[2::3], strict=True):
        assert (row["member"], row["offset"]) == (medium.name, medium.offset)
        assert (row["media_offset"], row["media_size"]) == (medium.offset_data, medium.size)
        assert row["offset"] + row["size"] == text.offset_data + (text.size + 511) // 512 * 512
        assert data[row["media_offset"] :][: row["media_size"]] == judged.media[row["key"]]
        raw = judged.dataset.read_bytes(f"raw/{row['raw_part']}.tar")
        assert raw[row["raw_offset"] :][: row["media_size"]] == judged.media[row["key"]]


def test_stats_speak_of_the_shard(judged):
    judged.shard(**CONFIG)
    files = judged.files()
    stats = json.loads(files["train/00000_stats.json"])
    keys = keys_of(files, "train")[0]
    widths = [judged.rows[key]["width"] for key in keys]
    assert (stats["samples"], stats["bytes"]) == (16, len(files["train/00000.tar"]))
    assert stats["media_bytes"] == sum(len(judged.media[key]) for key in keys)
    assert stats["width"] == {"min": min(widths), "mean": pytest.approx(np.mean(widths), abs=1e-3), "max": max(widths)}
    assert stats["mime"] == {"image/jpeg": 16}


class ShuffledEngine(Engine):
    """An engine that is handed its parts in another order, so that they finish in another order."""

    def run(self, stage, parts):
        mixed = list(parts)
        random.Random(len(mixed)).shuffle(mixed)
        commits = super().run(stage, mixed)
        return {part.id: commits[part.id] for part in parts}


def test_bytes_do_not_depend_on_workers_or_order(make_judged):
    one, four = make_judged("one", parts=5), make_judged("four", parts=5)
    first = one.shard(workers=1, **CONFIG)
    engine = ShuffledEngine(four.dataset, EngineConfig(place="process", workers=4))
    second = write_shards(engine, ShardConfig(**CONFIG), four.parts, "toy")
    assert one.files() == four.files()
    assert first.fingerprint() == second.fingerprint()


def test_bytes_do_not_depend_on_how_rows_lie_in_parts(make_judged):
    """Order, splits and members come from the rows; only raw_part and raw_offset tell the parts apart."""
    few, many = make_judged("few", parts=1, rows=120, seed=1), make_judged("many", parts=4, rows=30, seed=1)
    few.shard(**CONFIG)
    many.shard(**CONFIG)
    assert keys_of(few.files(), "train") == keys_of(many.files(), "train")


def test_bytes_do_not_depend_on_bucket_size(make_judged):
    one, many = make_judged("one"), make_judged("many")
    one.shard(**CONFIG)
    many.shard(**CONFIG | {"bucket_rows": 3})
    assert one.files() == many.files()


@pytest.mark.parametrize("seed", range(3))
def test_a_lost_commit_is_made_again_to_the_same_bytes(judged, seed):
    judged.shard(**CONFIG)
    before, fates = judged.files(""), random.Random(seed)
    for stage in ("order", "sort", "cut", "manifest"):
        for commit in read_commits(judged.dataset, stage).values():
            if fates.random() < 0.4:
                drop_part(judged.dataset, commit)
    judged.shard(**CONFIG)
    assert judged.files("") == before


def test_running_again_does_nothing(judged):
    judged.shard(**CONFIG)
    before = {path: path.stat().st_mtime_ns for path in judged.dataset.local_path("").rglob("*") if path.is_file()}
    judged.shard(**CONFIG)
    after = {path: path.stat().st_mtime_ns for path in judged.dataset.local_path("").rglob("*") if path.is_file()}
    assert before == after


def test_fewer_shards_leave_no_stale_files(judged, make_judged):
    judged.shard(**CONFIG)
    judged.shard(samples=30, bucket_rows=60)
    fresh = make_judged("fresh")
    fresh.shard(samples=30, bucket_rows=60)
    assert judged.files() == fresh.files()
    assert judged.files("commits") == fresh.files("commits")
    assert judged.files("shuffle") == fresh.files("shuffle")


def test_what_a_kill_left_goes_and_other_files_stay(judged):
    """A kill between a record's removal and its files' leaves files that no record names."""
    judged.shard(**CONFIG)
    before = judged.files()
    judged.dataset.put_bytes("shards/train/00077.tar", before["train/00000.tar"])
    judged.dataset.put_bytes("shards/train/notes.txt", b"mine")
    judged.shard(**CONFIG)
    assert judged.files() == before | {"train/notes.txt": b"mine"}


def test_a_kill_between_shards_leaves_no_manifest(judged, monkeypatch):
    """While shards change, the old manifest would speak of other bytes: it goes first."""
    judged.shard(**CONFIG)
    monkeypatch.setattr("pipeline.shard.cut.stats_of", lambda *_: 1 / 0)
    with pytest.raises(Exception, match="division"):
        judged.shard(**CONFIG | {"samples": 10})
    assert not judged.dataset.exists("shards/manifest.json")
    monkeypatch.undo()
    judged.shard(**CONFIG)
    assert judged.dataset.exists("shards/manifest.json")


def test_tars_are_as_full_as_their_bytes_allow(make_judged):
    one, many = make_judged("one"), make_judged("many")
    limit = {**CONFIG, "samples": None, "bytes": 30_720}
    one.shard(**limit)
    many.shard(workers=4, **limit | {"bucket_rows": 3})
    files = one.files()
    assert files == many.files()
    tars = sorted(name for name in files if name.startswith("train/") and name.endswith(".tar"))
    for tar, following in itertools.pairwise(tars):
        assert len(files[tar]) <= 30_720
        end = sum(512 + -(-len(data) // 512) * 512 for _, data in tar_of(files[tar]))
        next_sample = sum(512 + -(-len(data) // 512) * 512 for _, data in tar_of(files[following])[:3])
        assert end + next_sample + 1024 > 30_720
    assert set(flat(keys_of(files, "train"))) | set(flat(keys_of(files, "validation"))) == one.media.keys()


def test_a_sample_larger_than_a_shard_is_one_of_its_own(make_judged):
    judged = make_judged("large", parts=1, rows=8)
    judged.shard(bytes=10_240)
    shards = read_manifest(judged.dataset).splits["train"].shards
    assert sum(entry.samples for entry in shards) == len(judged.media)
    assert max(entry.bytes for entry in shards) <= 10_240
    large = {"meta": json.dumps("x" * 20_000)}
    extra = make_judged("larger", parts=1, rows=8, change=lambda number: large if number == 1 else {})
    extra.shard(bytes=10_240)
    passing = [entry for entry in read_manifest(extra.dataset).splits["train"].shards if entry.bytes > 10_240]
    assert [entry.samples for entry in passing] == [1]


@given(
    keys=st.lists(st.integers(), min_size=1, max_size=50, unique=True),
    fractions=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(0.01, 0.3)),
    listed=st.sampled_from([None, "a", "dev"]),
)
def test_a_split_depends_on_its_key_alone_and_the_list_wins(keys, fractions, listed):
    config = ShardConfig(splits=fractions, seed=1)
    for number in keys:
        key = sample_key("toy", str(number))
        found = split_of(key, listed, config)
        assert found == (listed or split_of(key, None, ShardConfig(splits=fractions, seed=2)))
        assert found in {*fractions, "train", listed}


def test_a_new_seed_shuffles_anew_and_moves_no_sample_across_splits(make_judged):
    one, two = make_judged("one"), make_judged("two")
    one.shard(**CONFIG)
    two.shard(seed=1, **CONFIG)
    for split in ("train", "validation"):
        left, right = flat(keys_of(one.files(), split)), flat(keys_of(two.files(), split))
        assert left != right
        assert sorted(left) == sorted(right)


def test_added_data_moves_no_sample_across_splits(judged, extend):
    judged.shard(**CONFIG)
    before = {split: set(flat(keys_of(judged.files(), split))) for split in ("train", "validation")}
    extend(judged, "00003", range(120, 200))
    judged.shard(**CONFIG)
    after = {split: set(flat(keys_of(judged.files(), split))) for split in ("train", "validation")}
    assert before["train"] < after["train"]
    assert before["validation"] < after["validation"]


def test_a_split_of_the_list_wins_and_a_bad_one_is_counted(make_judged):
    judged = make_judged("x", change=lambda number: {"split": {0: "test", 1: "../../etc"}.get(number % 10)})
    manifest = judged.shard(**CONFIG)
    assert set(flat(keys_of(judged.files(), "test"))) == {
        key for key, row in judged.rows.items() if row["split"] == "test"
    }
    orders = read_commits(judged.dataset, "order").values()
    bad = sum(row["split"] == "../../etc" for row in judged.rows.values())
    assert bad > 0
    assert sum(commit.counts["bad_split"] for commit in orders) == bad
    assert all(commit.rows_in == commit.rows_out + sum(commit.counts.values()) for commit in orders)
    assert sum(split.samples for split in manifest.splits.values()) == len(judged.media) - bad


def test_a_key_that_comes_twice_is_kept_once_and_counted(judged, extend):
    extend(judged, "00003", range(100, 130), seed=9)
    kept = judged.media.copy()
    manifest = judged.shard(**CONFIG)
    sorts = read_commits(judged.dataset, "sort").values()
    twice = len([n for n in range(100, 120) if n % 7 != 3 and n % 5 != 2])
    assert sum(commit.counts["duplicate_key"] for commit in sorts) == twice
    assert sum(split.samples for split in manifest.splits.values()) == len(kept)


def test_other_media_at_the_same_places_make_new_shards(judged):
    judged.shard(**CONFIG)
    before = judged.files()
    raw = judged.dataset.local_path("raw/00001.tar")
    raw.write_bytes(raw.read_bytes().translate(bytes(range(256))[::-1]))
    commits = judged.dataset.local_path("commits/fetch/00001.json")
    record = json.loads(commits.read_text())
    record["files"][0]["sha256"] = "0" * 64
    commits.write_text(json.dumps(record))
    judged.shard(**CONFIG)
    assert judged.files() != before


def test_what_is_missing_is_named(judged, make_judged):
    judged.parts.append("00009")
    with pytest.raises(DatasetError, match="fetch has not committed 1 of 4 parts, 00009 among them"):
        judged.shard(**CONFIG)
    with pytest.raises(DatasetError, match="no sample of 3 parts was kept"):
        make_judged("none", keep=lambda number: False).shard(**CONFIG)


def test_a_truncated_raw_tar_is_named(judged):
    raw = judged.dataset.local_path("raw/00001.tar")
    raw.write_bytes(raw.read_bytes()[:5000])
    with pytest.raises(DatasetError, match=r"raw/00001.tar.*truncated. Delete commits/fetch/00001.json and run again"):
        judged.shard(**CONFIG)


def test_a_verdict_on_other_rows_is_named(judged, extend):
    other = judged.dataset.local_path("verdicts/abc/00001.parquet")
    other.write_bytes(judged.dataset.read_bytes("verdicts/abc/00002.parquet"))
    with pytest.raises(DatasetError, match=r"speaks of other rows than raw/00001\.parquet"):
        judged.shard(**CONFIG)


def test_a_verdict_that_keeps_what_was_not_fetched_is_named(make_judged):
    judged = make_judged("x", parts=1, keep=lambda number: True)
    verdict = judged.dataset.local_path("verdicts/abc/00000.parquet")
    table = pq.read_table(verdict).to_pydict()
    table["keep"] = [True] * len(table["keep"])
    pq.write_table(pa.table(table, VERDICT), verdict)
    with pytest.raises(DatasetError, match="is kept, but its outcome is 'http_404'"):
        judged.shard(**CONFIG)


@pytest.mark.ray
def test_bytes_do_not_depend_on_the_place(make_judged, ray_of_two_nodes):
    here, there = make_judged("here"), make_judged("there")
    here.shard(**CONFIG)
    config = EngineConfig(place="ray", address=ray_of_two_nodes, workers=2)
    with ray_session(config):
        write_shards(Engine(there.dataset, config), ShardConfig(**CONFIG), there.parts, "toy")
    assert here.files() == there.files()
    assert here.files("commits") == there.files("commits")
