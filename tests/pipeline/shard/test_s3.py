"""Writing, reading and verifying shards on S3: the real s3fs against a server on loopback."""

import pickle
import uuid

import pytest

from pipeline.errors import DatasetError
from pipeline.shard.reader import ReaderConfig, ShardReader
from pipeline.shard.verify import verify

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 40}
TAR = "shards/train/00001.tar"


def files_of(store):
    return {path.removeprefix(store.root): store.fs.cat_file(path) for path in store.fs.find(store.path("shards"))}


@pytest.fixture
def on_s3(s3_bucket, judged_at):
    judged = judged_at(f"{s3_bucket}/{uuid.uuid4().hex}", rows=30)  # the server keeps its objects between tests
    judged.shard(workers=2, **CONFIG)
    return judged


def test_the_same_bytes_as_on_disk(on_s3, make_judged):
    judged = make_judged("disk", rows=30)
    judged.shard(**CONFIG)
    assert files_of(on_s3.dataset) == {f"/shards/{name}": data for name, data in judged.files().items()}
    assert verify(on_s3.dataset) == []


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_reads_by_range_and_by_whole_shard(on_s3, cache_bytes):
    reader = ShardReader(on_s3.dataset.url, config=ReaderConfig(cache_bytes=cache_bytes, window=2))
    found = list(pickle.loads(pickle.dumps(reader)).share(seed=0, epoch=0))
    assert len(found) == reader.num_samples
    assert {example.key for example in found} <= on_s3.media.keys()
    assert all(example.media == on_s3.media[example.key] for example in found)
    assert sum(1 for _ in reader.texts()) == reader.num_samples
    on_s3.dataset.put_bytes(TAR, on_s3.dataset.read_bytes(TAR)[:3000])
    with pytest.raises(DatasetError, match=r"train/00001.tar: 3000 bytes \(truncated\)"):
        ShardReader(on_s3.dataset.url, config=ReaderConfig(cache_bytes=cache_bytes)).read(range(16, 32))
    on_s3.dataset.delete(TAR)
    with pytest.raises(DatasetError, match=r"train/00001.tar: there is no such file"):
        ShardReader(on_s3.dataset.url, config=ReaderConfig(cache_bytes=cache_bytes)).read(range(16, 32))


def test_fewer_shards_leave_no_stale_objects(on_s3, make_judged):
    judged = make_judged("disk", rows=30)
    on_s3.shard(samples=40)
    judged.shard(samples=40)
    assert files_of(on_s3.dataset) == {f"/shards/{name}": data for name, data in judged.files().items()}
    on_s3.dataset.delete(TAR.replace("00001", "00000"))
    assert {problem.part for problem in verify(on_s3.dataset)} == {"shards/train/00000.tar"}
