"""The reader: what it gives, that ranks and workers share it exactly, and what it says of damage."""

import json
import multiprocessing
import pickle
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from pipeline.shard.reader import Example, ReaderConfig, ShardReader

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 40}


@pytest.fixture
def sharded(judged):
    judged.shard(**CONFIG)
    return judged


def example_of(judged, key):
    row = judged.rows[key]
    texts = tuple(text["text"] for text in row["texts"])
    content = int(row["sha256"], 16) >> (256 - 63)
    return Example(key, judged.media[key], row["mime"], row["width"], row["height"], texts, row["weight"], content)


def test_gives_every_sample_as_it_was_kept(sharded):
    for split in ("train", "validation"):
        reader = ShardReader(sharded.dataset.url, split)
        found = reader.read(range(reader.num_samples))
        assert len(found) == len(reader) > 10
        assert found == [example_of(sharded, example.key) for example in found]


def test_reads_any_positions_in_the_order_asked(sharded):
    reader = ShardReader(sharded.dataset.url)
    everything = reader.read(range(reader.num_samples))
    positions = np.random.default_rng(0).integers(0, reader.num_samples, 200)
    assert reader.read(positions) == [everything[position] for position in positions]
    assert reader.read([]) == []


def test_texts_come_by_position(sharded):
    reader = ShardReader(sharded.dataset.url)
    assert list(reader.texts()) == [example.texts for example in reader.read(range(reader.num_samples))]


def test_a_sample_with_no_or_several_texts(make_judged):
    several = [{"text": "one", "kind": "alt"}, {"text": None, "kind": "alt"}, {"text": "two", "kind": "caption"}]
    judged = make_judged("x", parts=1, change=lambda n: {"texts": {0: None, 1: [], 4: several}.get(n % 5, [])})
    judged.shard(samples=10)
    reader = ShardReader(judged.dataset.url)
    assert set(reader.texts()) == {(), ("one", "two")}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(world=st.integers(1, 5), workers=st.integers(1, 4), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_shares_cover_the_split_once(sharded, world, workers, seed, epoch):
    reader = ShardReader(sharded.dataset.url)
    keys = []
    for rank in range(world):
        for worker in range(workers):
            share = reader.share(
                seed=seed, epoch=epoch, rank=rank, world_size=world, worker=worker, num_workers=workers
            )
            keys += [example.key for example in share]
    assert sorted(keys) == sorted(example.key for example in reader.read(range(reader.num_samples)))


def test_one_share_follows_the_order(sharded):
    reader = ShardReader(sharded.dataset.url)
    assert list(reader.share(seed=1, epoch=2)) == reader.read(reader.order(seed=1, epoch=2))


def test_keeps_few_indexes(make_judged):
    judged = make_judged("x")
    judged.shard(samples=4)
    reader = ShardReader(judged.dataset.url, config=ReaderConfig(window=1, cached_indexes=3))
    assert len(list(reader.share(seed=0, epoch=0))) == len(judged.media)
    assert len(reader._indexes) == 3


def read_keys(reader, queue):
    queue.put([example.key for example in reader.read(range(reader.num_samples))])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_travels_to_other_processes(sharded, method):
    reader = ShardReader(sharded.dataset.url)
    wanted = [example.key for example in reader.read(range(reader.num_samples))]
    assert [example.key for example in pickle.loads(pickle.dumps(reader)).read([0, 5])] == [wanted[0], wanted[5]]
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=read_keys, args=(reader, queue))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert queue.get() == wanted


def test_a_pickle_does_not_open_another_dataset(sharded):
    pickled = pickle.dumps(ShardReader(sharded.dataset.url))
    sharded.shard(**CONFIG | {"seed": 1})
    with pytest.raises(DatasetError, match="the manifest changed while it was being read"):
        pickle.loads(pickled)


def test_threads_read_at_once(sharded):
    reader = ShardReader(sharded.dataset.url, config=ReaderConfig(window=1, cached_indexes=1))
    everything = reader.read(range(reader.num_samples))
    wrong = []

    def work(seed):
        for positions in np.random.default_rng(seed).integers(0, reader.num_samples, (20, 8)):
            if reader.read(positions) != [everything[position] for position in positions]:
                wrong.append(positions)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_fingerprint_is_that_of_the_content(make_judged):
    one, two = make_judged("one"), make_judged("two")
    one.shard(**CONFIG)
    two.shard(**CONFIG)
    assert ShardReader(one.dataset.url).fingerprint == ShardReader(two.dataset.url, "validation").fingerprint
    two.shard(**CONFIG | {"seed": 1})
    assert ShardReader(one.dataset.url).fingerprint != ShardReader(two.dataset.url).fingerprint


def test_what_is_not_there_is_named(sharded, tmp_path):
    with pytest.raises(DatasetError, match=r"holds no split 'valdation'. Did you mean 'validation'\?"):
        ShardReader(sharded.dataset.url, "valdation")
    with pytest.raises(DatasetError, match=r"shards/manifest.json: not there, so this is no finished dataset"):
        ShardReader(str(tmp_path / "nothing"))
    with pytest.raises(IndexError, match="position -1"):
        ShardReader(sharded.dataset.url).read([-1])
    reader = ShardReader(sharded.dataset.url)
    with pytest.raises(IndexError, match=f"position {reader.num_samples}"):
        reader.read([reader.num_samples])


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"format": "pairmill-shards-1", "splits": {"a": 1}}'])
def test_a_damaged_manifest_is_named(sharded, data):
    sharded.dataset.put_bytes("shards/manifest.json", data)
    with pytest.raises(DatasetError, match=r"manifest.json: (not a manifest|format is None)"):
        ShardReader(sharded.dataset.url)


def test_a_manifest_of_another_format_is_named(sharded):
    raw = json.loads(sharded.dataset.read_bytes("shards/manifest.json"))
    sharded.dataset.put_bytes("shards/manifest.json", json.dumps(raw | {"format": "pairmill-shards-9"}).encode())
    with pytest.raises(DatasetError, match="Read it with the release that wrote it"):
        ShardReader(sharded.dataset.url)


def damage(judged, name, change):
    path = judged.dataset.local_path(f"shards/train/{name}")
    path.write_bytes(change(path.read_bytes()))


def test_a_truncated_shard_is_named(sharded):
    damage(sharded, "00001.tar", lambda data: data[:3000])
    reader = ShardReader(sharded.dataset.url)
    reader.read(range(16))
    with pytest.raises(DatasetError, match=r"train/00001.tar: wanted bytes .*truncated.*commits/cut/train-00001"):
        reader.read(range(16, 32))


def test_a_missing_shard_is_named(sharded):
    sharded.dataset.delete("shards/train/00001.tar")
    with pytest.raises(DatasetError, match=r"shards/train/00001.tar.*copy"):
        ShardReader(sharded.dataset.url).read(range(16, 32))


@pytest.mark.parametrize("change", [lambda data: data[:100], lambda data: b"", lambda data: data[:-4] + b"xxxx"])
def test_a_damaged_index_is_named(sharded, change):
    damage(sharded, "00001.parquet", change)
    with pytest.raises(DatasetError, match=r"shards/train/00001.parquet: cannot read"):
        ShardReader(sharded.dataset.url).read(range(16, 32))


def test_an_index_of_another_shard_is_named(sharded):
    other = sharded.dataset.read_bytes("shards/train/00004.parquet")
    damage(sharded, "00001.parquet", lambda _: other)
    with pytest.raises(DatasetError, match=r"00001.parquet: holds \d+ samples, the manifest says 16"):
        ShardReader(sharded.dataset.url).read(range(16, 32))
