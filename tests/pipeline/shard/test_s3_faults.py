"""Shards on an S3 server: requests that are refused, large shards in parts, copies by the server itself."""

import hashlib
import os
import uuid

import numpy as np
import pytest
import s3fs

from pipeline.engine import Engine, EngineConfig
from pipeline.shard.layouts.stage import unpack
from pipeline.shard.manifest import read_manifest
from pipeline.shard.merge import merge
from pipeline.shard.verify import verify
from pipeline.store import Store

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 60}


def engine_of(url):
    return Engine(Store(url), EngineConfig(place="process", workers=2))


def files_of(store, folder="shards"):
    return {path.removeprefix(store.root): store.fs.cat_file(path) for path in store.fs.find(store.path(folder))}


def test_every_tar_whose_first_request_is_refused_costs_no_byte(faulty, judged_at, make_judged):
    proxy, store, _ = faulty
    wanted = make_judged("disk", parts=1, rows=30)
    wanted.shard(**CONFIG)
    judged = judged_at(store.url, parts=1, rows=30)
    refused = set()

    def fault(method, path, count):
        if not path.endswith(".tar") or (method, path) in refused:
            return None
        refused.add((method, path))
        return "503 SlowDown"

    proxy.fault = fault
    judged.shard(workers=2, **CONFIG)
    assert verify(store) == []
    merge(engine_of(f"{store.url}-merged"), [store.url], "toy")
    assert len(refused) >= 6
    proxy.fault = lambda method, path, count: None
    assert files_of(store) == {f"/shards/{name}": data for name, data in wanted.files().items()}
    assert verify(Store(f"{store.url}-merged")) == []


def test_a_large_file_goes_up_in_parts_and_a_part_that_fails_goes_again(faulty, tmp_path, monkeypatch):
    """Above 100 MiB s3fs uploads parts of 50 MiB; the first two tries of any meet SlowDown."""
    proxy, store, _ = faulty
    monkeypatch.setattr("pipeline.store._STALLED_S", 120.0)
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 60.0)
    s3fs.S3FileSystem.clear_instance_cache()
    data = np.random.default_rng(0).bytes(105 << 20)
    local = tmp_path / "large.tar"
    local.write_bytes(data)
    failed = {"parts": 0}

    def fault(method, path, count):
        if method == "PUT" and failed["parts"] < 2:
            failed["parts"] += 1
            return "503 SlowDown"
        return None

    proxy.fault = fault
    store.put_file(local, "shards/train/00000.tar")
    assert failed["parts"] == 2
    assert proxy.asked["PUT", f"/{store.root}/shards/train/00000.tar"] >= 5  # three parts, two of them twice
    assert not local.exists()
    assert store.fs.info(store.path("shards/train/00000.tar"))["ETag"].rstrip('"').endswith("-3")
    digest = hashlib.sha256()
    with store.open("shards/train/00000.tar") as stream:
        while block := stream.read(8 << 20):
            digest.update(block)
    assert digest.digest() == hashlib.sha256(data).digest()


def test_a_bucket_copies_shards_by_itself(s3_bucket, judged_at, make_judged):
    """The bytes of the tars never come here: of them only HEAD and PUT are asked for."""
    judged = judged_at(f"{s3_bucket}/{uuid.uuid4().hex}", parts=2, rows=30)
    judged.shard(name="toy", **CONFIG)
    on_disk = make_judged("disk", parts=2, rows=30)
    on_disk.shard(name="toy", **CONFIG)
    out = Store(f"{s3_bucket}/{uuid.uuid4().hex}")
    asked = []
    original = Store.read_bytes

    def read_bytes(self, name):
        asked.append(name)
        return original(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "read_bytes", read_bytes)
        patch.setattr(Store, "fetched", lambda *_: pytest.fail("a file came here"))
        patch.setattr(Store, "put_file", lambda self, local, name: _small(self, local, name))
        manifest = merge(engine_of(out.url), [judged.dataset.url], "both")
    assert not any(name.endswith(".tar") for name in asked)
    assert verify(out) == []
    merge(engine_of(str(on_disk.dataset.root) + "-merged"), [on_disk.dataset.url], "both")
    assert read_manifest(Store(str(on_disk.dataset.root) + "-merged")).to_json() == manifest.to_json()
    back = f"{on_disk.dataset.root}-back"
    merge(engine_of(back), [out.url], "both")
    assert verify(Store(back)) == []


def _small(store, local, name):
    assert not name.endswith((".tar", ".parquet"))
    store.put_bytes(name, local.read_bytes())
    os.unlink(local)


@pytest.mark.parametrize("layout", ["files", "parquet", "mds"])
def test_other_layouts_on_s3_have_the_bytes_of_a_folder(s3_bucket, make_judged, tmp_path, layout):
    judged = make_judged("disk", parts=1, rows=30)
    judged.shard(**CONFIG)
    bucket = Store(f"{s3_bucket}/{uuid.uuid4().hex}")
    unpack(engine_of(bucket.url), judged.dataset, layout)
    unpack(engine_of(str(tmp_path / "out")), judged.dataset, layout)
    there = Store(str(tmp_path / "out"))
    assert files_of(bucket, "") == {name: data for name, data in files_of(there, "").items() if ".scratch" not in name}
