"""Merging: shards byte for byte under new numbers, keys once, and what verifies afterwards."""

import itertools
import json
import os
import uuid

import pyarrow.parquet as pq
import pytest

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import AskedWrongly, DatasetError, StoreError
from pipeline.funnel import read_funnel
from pipeline.shard.manifest import read_manifest
from pipeline.shard.merge import merge
from pipeline.shard.reader import ShardReader
from pipeline.shard.verify import verify
from pipeline.store import Store

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 40}


def engine_of(url, workers=1):
    return Engine(Store(str(url)), EngineConfig(place="process", workers=workers))


def keys_of(store, entry):
    return pq.read_table(store.local_path(entry.index)).column("key").to_pylist()


def all_keys(store):
    return [key for entry in read_manifest(store).entries for key in keys_of(store, entry)]


@pytest.fixture
def two(make_judged, extend):
    """Two datasets without a key in common."""
    one, two = make_judged("one"), make_judged("two", parts=0)
    one.shard(name="one", **CONFIG)
    extend(two, "00000", range(500, 560))
    two.shard(name="two", **CONFIG | {"seed": 7})
    return one, two


@pytest.fixture
def overlapping(make_judged, extend):
    """Two datasets with some keys in common."""
    one, two = make_judged("one"), make_judged("two", parts=0)
    one.shard(name="one", **CONFIG)
    extend(two, "00000", range(100, 180), seed=9)
    two.shard(name="two", **CONFIG | {"seed": 7})
    return one, two


def test_shards_follow_one_another_byte_for_byte(two, tmp_path):
    urls = [judged.dataset.url for judged in two]
    manifest = merge(engine_of(tmp_path / "out", 2), urls, "both")
    out = Store(str(tmp_path / "out"))
    for split in ("train", "validation"):
        sources = [
            (judged.dataset, entry)
            for judged in two
            for entry in read_manifest(judged.dataset).splits[split].shards
        ]
        for number, ((source, old), new) in enumerate(zip(sources, manifest.splits[split].shards, strict=True)):
            assert new.name == f"{split}/{number:05d}.tar"
            for suffix in (".tar", ".parquet", "_stats.json"):
                there, here = (entry.tar.removesuffix(".tar") + suffix for entry in (old, new))
                assert out.read_bytes(here) == source.read_bytes(there)
    assert [(item.name, item.samples) for item in manifest.sources] == [
        (name, read_manifest(judged.dataset).samples) for name, judged in zip(("one", "two"), two, strict=True)
    ]
    assert manifest.sources[0].fingerprint == read_manifest(two[0].dataset).fingerprint()
    assert [(item.dataset, item.seed) for item in manifest.generations] == [("one", 0), ("two", 7)]
    assert verify(out) == []
    assert read_funnel(out).splits == {name: split.samples for name, split in manifest.splits.items()}
    media = two[0].media | two[1].media
    found = {example.key: example.media for example in ShardReader(out.url).share(seed=0, epoch=0)}
    assert found.items() <= media.items()
    assert sorted(all_keys(out)) == sorted(media)


def test_the_bytes_depend_on_no_place_and_no_worker(two, tmp_path, make_judged):
    merge(engine_of(tmp_path / "a"), [judged.dataset.url for judged in two], "both")
    for judged in two:
        os.rename(judged.dataset.root, judged.dataset.root + "-moved")
    merge(engine_of(tmp_path / "b", 4), [judged.dataset.url + "-moved" for judged in two], "both", by="link")
    files = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "a", tmp_path / "b")
    ]
    for found in files:
        del found["dataset.json"]  # where the datasets lay
    assert files[0] == files[1]


def test_a_key_in_two_datasets_is_named(overlapping, tmp_path):
    one, two = overlapping
    twice = one.media.keys() & two.media.keys()
    assert twice
    says = rf"^{len(twice)} samples have a key that another has: .*--duplicates first"
    with pytest.raises(AskedWrongly, match=says) as caught:
        merge(engine_of(tmp_path / "out"), [one.dataset.url, two.dataset.url], "both")
    assert any(key in str(caught.value) for key in twice)
    assert f"{one.dataset.url}/shards/" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_first_of_two_stays_and_only_shards_that_lose_samples_change(overlapping, tmp_path):
    one, two = overlapping
    manifest = merge(engine_of(tmp_path / "out"), [one.dataset.url, two.dataset.url], "both", duplicates="first")
    out = Store(str(tmp_path / "out"))
    assert verify(out) == []
    assert sorted(all_keys(out)) == sorted(one.media.keys() | two.media.keys())
    media = {}
    for split in manifest.splits:
        media |= {example.key: example.media for example in ShardReader(out.url, split).share(seed=0, epoch=0)}
    assert media == two.media | one.media
    before = {entry.sha256 for judged in overlapping for entry in read_manifest(judged.dataset).entries}
    changed = [entry for entry in manifest.entries if entry.sha256 not in before]
    lost = [
        entry
        for entry in read_manifest(two.dataset).entries
        if any(key in one.media for key in keys_of(two.dataset, entry))
    ]
    assert len(changed) == len([entry for entry in lost if set(keys_of(two.dataset, entry)) - one.media.keys()])
    for entry in changed:
        stats = json.loads(out.read_bytes(f"{entry.tar.removesuffix('.tar')}_stats.json"))
        assert (stats["samples"], stats["licence"]) == (entry.samples, {"CC0": entry.samples})


def test_a_dataset_twice_adds_nothing(two, tmp_path):
    url = two[0].dataset.url
    manifest = merge(engine_of(tmp_path / "out"), [url, url], "one", duplicates="first")
    assert manifest.samples == read_manifest(two[0].dataset).samples
    assert [item.samples for item in manifest.sources] == [manifest.samples, 0]
    assert verify(Store(str(tmp_path / "out"))) == []


def test_another_dataset_is_taken_in_without_copying_again(two, tmp_path, make_judged, extend):
    urls = [judged.dataset.url for judged in two]
    merge(engine_of(tmp_path / "out"), urls, "all")
    out = Store(str(tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}
    three = extend(make_judged("three", parts=0), "00000", range(900, 940))
    three.shard(name="three", **CONFIG)
    merge(engine_of(tmp_path / "out"), [*urls, three.dataset.url], "all")
    assert before.items() < {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}.items()
    assert verify(out) == []
    merge(engine_of(tmp_path / "out"), urls[:1], "all")
    assert {entry.sha256 for entry in read_manifest(out).entries} == {
        entry.sha256 for entry in read_manifest(two[0].dataset).entries
    }
    assert verify(out) == []


def test_generations_and_merges_are_merged_as_they_are(make_judged, extend, two, tmp_path):
    judged = make_judged("grown", parts=0)
    for part, start in enumerate((600, 700)):
        extend(judged, f"{part:05d}", range(start, start + 40))
        judged.shard(name="grown", **CONFIG, growth="append")
    merge(engine_of(tmp_path / "first"), [item.dataset.url for item in two], "first")
    manifest = merge(engine_of(tmp_path / "out"), [str(tmp_path / "first"), judged.dataset.url], "all")
    assert [item.dataset for item in manifest.generations] == ["one", "two", "grown", "grown"]
    assert verify(Store(str(tmp_path / "out"))) == []


def test_links_are_the_same_files(two, tmp_path):
    merge(engine_of(tmp_path / "out"), [judged.dataset.url for judged in two], "both", by="link")
    stores = (two[0].dataset, Store(str(tmp_path / "out")))
    there, here = (store.local_path("shards/train/00000.tar") for store in stores)
    assert os.path.samefile(there, here)
    assert verify(Store(str(tmp_path / "out"))) == []


def test_a_source_that_was_altered_is_named(two, tmp_path):
    path = two[1].dataset.local_path("shards/train/00000.tar")
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"two/shards/train/00000\.tar: altered: .*Run `pairmill verify .*two`"):
        merge(engine_of(tmp_path / "out"), [judged.dataset.url for judged in two], "both")
    assert not (tmp_path / "out/shards/manifest.json").exists()


def test_what_cannot_be_merged_is_told(two, tmp_path, judged):
    with pytest.raises(DatasetError, match="no finished dataset"):
        merge(engine_of(tmp_path / "out"), [two[0].dataset.url, str(tmp_path / "nothing")], "both")
    two[0].dataset.put_bytes("dataset.json", b'{"name": "one", "format": 1}')
    with pytest.raises(AskedWrongly, match="holds the dataset 'one', which is no merge called 'both'"):
        merge(engine_of(two[0].dataset.url), [two[1].dataset.url], "both")
    with pytest.raises(AskedWrongly, match="holds shards, and no dataset"):
        merge(engine_of(two[1].dataset.url), [two[0].dataset.url], "both")
    with pytest.raises(AskedWrongly, match="buckets copy by themselves"):
        merge(engine_of("s3://bucket/x"), [two[0].dataset.url], "both", by="link")


def test_a_link_to_another_file_system_is_refused(two, tmp_path):
    out = f"/dev/shm/pairmill-{uuid.uuid4().hex}"
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("needs two file systems")
    try:
        with pytest.raises(StoreError, match=r"cannot be linked: .*merge with --by copy"):
            merge(engine_of(out), [two[0].dataset.url], "both", by="link")
    finally:
        Store(out).delete("")


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_stopped_anywhere_it_goes_on_to_the_same_bytes(overlapping, tmp_path, monkeypatch):
    urls = [judged.dataset.url for judged in overlapping]
    merge(engine_of(tmp_path / "calm"), urls, "both", duplicates="first")
    changes, stop = itertools.count(1), {"at": 0}
    for name in ("put_file", "put_bytes", "delete"):
        original = getattr(Store, name)

        def change(self, *arguments, original=original):
            if next(changes) == stop["at"]:
                raise Killed
            return original(self, *arguments)

        monkeypatch.setattr(Store, name, change)
    for point in range(2, 60, 7):
        changes, stop["at"] = itertools.count(1), point
        try:
            merge(engine_of(tmp_path / "killed"), urls, "both", duplicates="first")
        except Killed:
            continue
    stop["at"] = 0
    merge(engine_of(tmp_path / "killed"), urls, "both", duplicates="first")
    assert verify(Store(str(tmp_path / "killed"))) == []
    calm, killed = (read_manifest(Store(str(tmp_path / name))).to_json() for name in ("calm", "killed"))
    assert calm == killed
