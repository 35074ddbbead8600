"""The reader: what it gives, that ranks and workers share it exactly, and what it says of damage."""

import hashlib
import json
import multiprocessing
import pickle
import re
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from pipeline.shard.reader import Example, Fault, ReaderConfig, ShardReader
from pipeline.tar import read_members

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


def test_weights_and_the_sizes_of_chosen_texts_come_without_media(sharded):
    reader = ShardReader(sharded.dataset.url)
    examples = reader.read(range(reader.num_samples))
    positions = np.random.default_rng(0).permutation(reader.num_samples)
    assert reader.weights(positions).tolist() == [examples[position].weight for position in positions]
    draws = np.random.default_rng(1).random(len(positions))
    texts = [examples[position].texts for position in positions]
    wanted = [len(of[int(draw * len(of))].encode()) if of else 0 for of, draw in zip(texts, draws, strict=True)]
    assert reader.text_bytes(positions, draws).tolist() == wanted


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
    assert len(reader._shards_open) == 3


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


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"format": "pairmill-shards-2", "splits": {"a": 1}}'])
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
    wanted = r"train/00001.tar: 3000 bytes \(truncated\), the manifest says \d+.*commits/cut/train-00001"
    with pytest.raises(DatasetError, match=wanted):
        reader.read(range(16, 32))


def test_a_shard_that_shrinks_while_it_is_read_is_named(sharded):
    reader = ShardReader(sharded.dataset.url)
    reader.read([16])
    damage(sharded, "00001.tar", lambda data: data[:3000])
    with pytest.raises(DatasetError, match=r"train/00001.tar: wanted bytes .*truncated.*commits/cut/train-00001"):
        ShardReader.read(reader, range(16, 32))


def test_a_shard_cut_between_two_members_is_named(sharded):
    with sharded.dataset.open("shards/train/00001.tar") as stream:
        third = list(read_members(stream))[3]
    damage(sharded, "00001.tar", lambda data: data[: third.offset])
    with pytest.raises(DatasetError, match=r"00001.tar: \d+ bytes \(truncated\)"):
        ShardReader(sharded.dataset.url).read([16])


def test_a_shard_that_grew_is_named(sharded):
    damage(sharded, "00001.tar", lambda data: data + bytes(1024))
    with pytest.raises(DatasetError, match=r"00001.tar: \d+ bytes \(too long\)"):
        ShardReader(sharded.dataset.url).read([16])


def test_a_tar_of_another_dataset_is_named(sharded):
    """Of the same size, so that its size does not tell."""
    stranger = b"0" * 32 + b".jpg"
    damage(sharded, "00001.tar", lambda data: stranger + data[len(stranger) :])
    wanted = r"00001.tar: byte 0 begins member '0{32}.jpg', the index says '\w{32}.jpg': of another dataset, or altered"
    with pytest.raises(DatasetError, match=wanted):
        ShardReader(sharded.dataset.url).read([16])


def test_altered_media_are_named_where_asked(sharded):
    index = pq.read_table(sharded.dataset.path("shards/train/00001.parquet")).to_pylist()
    row = next(number for number, row in enumerate(index) if row["media_size"])
    at = index[row]["media_offset"]
    damage(sharded, "00001.tar", lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    ShardReader(sharded.dataset.url).read(range(16, 32))
    reader = ShardReader(sharded.dataset.url, config=ReaderConfig(check="media"))
    found = reader.attempt(range(16, 32))
    assert [place for place, item in enumerate(found) if isinstance(item, Fault)] == [row]
    assert re.search(rf"00001.tar: sample {index[row]['key']}: altered: sha256 \w{{12}}, wanted", found[row].reason)


def rewrite_index(judged, change):
    """The index of shard 1 with other rows, and a manifest that agrees with it."""
    path = judged.dataset.local_path("shards/train/00001.parquet")
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), path)
    raw = json.loads(judged.dataset.read_bytes("shards/manifest.json"))
    entry = next(entry for entry in raw["splits"]["train"]["shards"] if entry["name"] == "train/00001.tar")
    entry["index_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    judged.dataset.put_bytes("shards/manifest.json", json.dumps(raw).encode())


def test_a_key_that_comes_twice_is_named(sharded):
    rewrite_index(sharded, lambda rows: [*rows[:5], rows[5] | {"key": rows[2]["key"]}, *rows[6:]])
    with pytest.raises(DatasetError, match=r"00001.parquet: key \w{32} stands in two rows"):
        ShardReader(sharded.dataset.url).read([16])


def test_a_manifest_that_contradicts_itself_is_named(sharded):
    raw = json.loads(sharded.dataset.read_bytes("shards/manifest.json"))
    raw["splits"]["train"]["samples"] += 1
    sharded.dataset.put_bytes("shards/manifest.json", json.dumps(raw).encode())
    with pytest.raises(DatasetError, match=r"manifest.json: its split holds \d+ samples, its \d+ shards \d+"):
        ShardReader(sharded.dataset.url)


def test_faults_stand_in_the_place_of_their_samples(sharded):
    reader = ShardReader(sharded.dataset.url)
    everything = reader.read(range(48))
    sharded.dataset.delete("shards/train/00001.tar")
    reader = ShardReader(sharded.dataset.url)
    positions = [40, 20, 3, 16, 15, 20]
    found = reader.attempt(positions)
    assert [item.shard for item in found if isinstance(item, Fault)] == ["train/00001.tar"] * 3
    for position, item in zip(positions, found, strict=True):
        assert isinstance(item, Fault) if 16 <= position < 32 else item == everything[position]


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
    with pytest.raises(DatasetError, match=r"00001.parquet: cannot read: altered, or of another dataset: sha256"):
        ShardReader(sharded.dataset.url).read(range(16, 32))
