"""Growth by appending: finished shards keep every byte, and a generation is what the law says, by brute force."""

import hashlib
import itertools
import json

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.commit import read_commits
from pipeline.errors import DatasetError, RecipeError
from pipeline.record import sample_key
from pipeline.shard.config import ShardConfig
from pipeline.shard.manifest import read_manifest
from pipeline.shard.order import order_of, split_of
from pipeline.shard.verify import verify

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 20, "growth": "append"}


def keys_by_shard(judged):
    """Shard name -> its keys, by the indexes."""
    manifest = read_manifest(judged.dataset)
    return {
        entry.name: pq.read_table(judged.dataset.local_path(entry.index)).column("key").to_pylist()
        for entry in manifest.entries
    }


def keys_of(judged):
    return list(itertools.chain.from_iterable(keys_by_shard(judged).values()))


def shard_files(judged):
    return {name: data for name, data in judged.files().items() if name.partition("/")[2][:5].isdigit()}


@pytest.fixture
def grown(judged, extend):
    """Three parts, then a fourth; and the files of the shards between."""
    judged.shard(**CONFIG)
    before = shard_files(judged)
    extend(judged, "00003", range(120, 200))
    judged.shard(**CONFIG)
    return judged, before


def test_finished_shards_keep_every_byte_and_the_rest_follows_the_law(grown):
    judged, before = grown
    after = shard_files(judged)
    assert {name: after[name] for name in before} == before
    new = set(after) - set(before)
    manifest = read_manifest(judged.dataset)
    first, second = manifest.generations
    numbers = {split: list(range(second.shards[split])) for split in second.shards}
    assert {name for name in new if name.endswith(".tar")} == {
        f"{split}/{first.shards[split] + i:05d}.tar" for split, counts in numbers.items() for i in counts
    }
    old_keys = {key for name, keys in keys_by_shard(judged).items() if name in before for key in keys}
    wanted = {"train": [], "validation": []}
    config = ShardConfig(**CONFIG)
    for key in judged.media.keys() - old_keys:
        wanted[split_of(key, None, config)].append(key)
    for split, keys in wanted.items():
        keys.sort(key=lambda key: (order_of(0, key), key))
        found = [keys for name, keys in keys_by_shard(judged).items() if name in new and name.startswith(split)]
        assert found == [keys[i : i + 16] for i in range(0, len(keys), 16)]
    assert verify(judged.dataset) == []


def test_the_same_history_gives_the_same_bytes_with_any_workers(make_judged, extend):
    one, four = make_judged("one"), make_judged("four")
    for judged, workers in ((one, 1), (four, 4)):
        judged.shard(workers=workers, **CONFIG)
        extend(judged, "00003", range(120, 200))
        judged.shard(workers=workers, **CONFIG)
    assert one.files("shards") == four.files("shards")


def test_running_again_does_nothing(grown):
    judged, _ = grown
    before = {path: path.stat().st_mtime_ns for path in judged.dataset.local_path("").rglob("*") if path.is_file()}
    judged.shard(**CONFIG)
    after = {path: path.stat().st_mtime_ns for path in judged.dataset.local_path("").rglob("*") if path.is_file()}
    assert before == after


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True), limit=st.sampled_from(["samples", "bytes"])
)
def test_any_history_holds_each_kept_sample_once_and_moves_none(tmp_path_factory, judged_at, extend, cuts, limit):
    judged = judged_at(tmp_path_factory.mktemp("grown"), parts=1, rows=20)
    config = {**CONFIG, "bytes": 30_000} if limit == "bytes" else CONFIG
    seen = {}
    for stop in [1, *sorted(cuts)]:
        for part in range(len(judged.parts), stop):
            extend(judged, f"{part:05d}", range(part * 20, part * 20 + 20))
        judged.shard(**config)
        now = {key: name for name, keys in keys_by_shard(judged).items() for key in keys}
        assert len(keys_of(judged)) == len(now)
        assert now.keys() == judged.media.keys()
        assert seen.items() <= now.items()
        seen = now
    assert verify(judged.dataset) == []


def test_what_the_verdict_drops_later_stays_and_what_it_takes_back_is_appended(judged, extend):
    judged.shard(**CONFIG)
    before = set(keys_of(judged))
    judged.media.clear()
    extend(judged, "00001", range(40, 80), seed=1, keep=lambda number: number % 5 != 1)  # dropped: 2, kept now: 1
    judged.shard(told={"funnel": []}, **CONFIG)
    after = keys_of(judged)
    assert len(after) == len(set(after))
    fresh = {sample_key("toy", str(n)) for n in range(40, 80) if n % 5 == 2 and n % 7 != 3}
    assert set(after) == before | fresh
    gone = len([n for n in range(40, 80) if n % 5 == 1 and n % 7 != 3])
    assert f"{gone} samples of earlier generations would not be kept today" in judged.files()["README.md"].decode()
    assert verify(judged.dataset) == []


def test_a_key_that_moved_to_another_part_is_not_taken_again(judged, extend):
    judged.shard(**CONFIG)
    before = shard_files(judged)
    extend(judged, "00003", range(100, 130), seed=9)
    judged.shard(**CONFIG)
    after = keys_of(judged)
    assert len(after) == len(set(after)) == len(judged.media)
    counts = [commit.counts for commit in read_commits(judged.dataset, "sort").values()]
    assert sum(count["in_earlier_shards"] for count in counts) > 0
    assert before.items() <= shard_files(judged).items()


def test_back_to_a_reshuffle_nothing_of_the_history_is_left(grown, make_judged, extend):
    judged, _ = grown
    judged.shard(**CONFIG | {"growth": "reshuffle"})
    fresh = extend(make_judged("fresh"), "00003", range(120, 200))
    fresh.shard(**CONFIG | {"growth": "reshuffle"})
    for folder in ("shards", "commits", "shuffle"):
        assert judged.files(folder) == fresh.files(folder)


def test_a_new_generation_may_have_another_seed_and_size(judged, extend):
    judged.shard(**CONFIG)
    before = shard_files(judged)
    judged.shard(**CONFIG | {"seed": 3, "samples": 5})
    assert shard_files(judged) == before
    extend(judged, "00003", range(120, 150))
    judged.shard(**CONFIG | {"seed": 3, "samples": 5})
    first, second = read_manifest(judged.dataset).generations
    assert (first.seed, first.samples, second.seed, second.samples) == (0, 16, 3, 5)
    assert verify(judged.dataset) == []


def test_other_splits_are_refused(grown):
    judged, _ = grown
    with pytest.raises(RecipeError, match=r"generation 0 .* was split by .*samples would change sides. Set them back"):
        judged.shard(**CONFIG | {"splits": {"validation": 0.3}})
    with pytest.raises(RecipeError, match="with salt 'other'"):
        judged.shard(**CONFIG | {"split_salt": "other"})


def test_a_lost_shard_of_the_last_generation_is_made_again(grown):
    judged, _ = grown
    before = judged.files("shards")
    last = read_manifest(judged.dataset).splits["train"].shards[-1]
    judged.dataset.delete(f"commits/cut/{last.id}.json")
    judged.dataset.delete(last.tar)
    judged.shard(**CONFIG)
    assert judged.files("shards") == before


def test_a_lost_shard_of_an_earlier_generation_is_named(grown):
    judged, _ = grown
    judged.dataset.delete("commits/cut/train-00000.json")
    with pytest.raises(DatasetError, match=r"shards/train/00000\.tar: the manifest names it .*bring back the shard"):
        judged.shard(**CONFIG)


def test_without_a_manifest_nothing_says_what_is_finished(grown):
    judged, _ = grown
    judged.dataset.delete("shards/manifest.json")
    with pytest.raises(DatasetError, match=r"manifest\.json: not there, so nothing says which shards are finished"):
        judged.shard(**CONFIG)


def test_the_manifest_stands_while_data_is_appended(judged, extend, monkeypatch):
    judged.shard(**CONFIG)
    extend(judged, "00003", range(120, 200))
    monkeypatch.setattr("pipeline.shard.cut.stats_of", lambda *_: 1 / 0)
    with pytest.raises(Exception, match="division"):
        judged.shard(**CONFIG)
    manifest = json.loads(judged.dataset.read_bytes("shards/manifest.json"))
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            data = judged.dataset.read_bytes(f"shards/{shard['name']}")
            assert hashlib.sha256(data).hexdigest() == shard["sha256"]
