import os
import pickle
import uuid

import pytest

from pipeline.commit import Commit, publish, read_commit, read_commits
from pipeline.errors import DatasetError, StoreError
from pipeline.stage import Made
from pipeline.store import Store


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(request.getfixturevalue("s3_bucket") + "/folder-" + uuid.uuid4().hex)


def test_what_is_put_is_read_back(store, tmp_path):
    local = tmp_path / "file"
    local.write_bytes(b"0123456789")
    store.put_file(local, "a/b.bin")
    store.put_bytes("a/c.bin", b"xyz")
    assert not local.exists()
    assert store.read_bytes("a/b.bin") == b"0123456789"
    assert store.read_range("a/b.bin", 2, 3) == b"234"
    assert store.size("a/c.bin") == 3
    assert store.exists("a/c.bin")
    assert not store.exists("a/d.bin")
    assert store.list("a") == ["b.bin", "c.bin"]
    assert store.list("a", ".json") == []
    assert store.list("nowhere") == []
    with store.open("a/b.bin") as stream:
        stream.seek(8)
        assert stream.read() == b"89"
    with store.fetched("a/b.bin") as path:
        assert path.read_bytes() == b"0123456789"
    assert store.folder("a").read_bytes("c.bin") == b"xyz"


def test_a_listing_is_never_stale(store):
    store.put_bytes("a/1", b"")
    assert store.list("a") == ["1"]
    store.put_bytes("a/2", b"")
    assert store.list("a") == ["1", "2"]
    store.delete("a/1")
    assert store.list("a") == ["2"]
    store.delete("a/1")  # absent: nothing happens


def test_a_missing_file_and_a_short_read_are_named(store):
    with pytest.raises(StoreError, match=r"nowhere\.bin: not found"):
        store.read_bytes("nowhere.bin")
    store.put_bytes("short.bin", b"12345")
    with pytest.raises(StoreError, match=r"short\.bin.*truncated"):
        store.read_range("short.bin", 3, 10)


def test_a_store_pickles_as_its_url_alone(store):
    store.put_bytes("x", b"1")
    data = pickle.dumps(store)
    assert b"AKIA" not in data
    assert b"test" not in data.replace(store.url.encode(), b"")
    assert pickle.loads(data).read_bytes("x") == b"1"


def test_a_part_is_published_whole_and_found(store, tmp_path):
    def made(text):
        local = tmp_path / uuid.uuid4().hex
        local.write_text(text)
        return Made({"s/1.txt": local}, 5, 3, {"why": 2}, {"note": "n"})

    first = publish(store, "s", "1", "hash-a", made("one"))
    assert first == read_commit(store, "s", "1")
    assert read_commits(store, "s") == {"1": first}
    assert first.file(".txt") == "s/1.txt"
    same = publish(store, "s", "1", "hash-a", made("another attempt"))
    assert same == first
    assert store.read_bytes("s/1.txt") == b"one"
    other = publish(store, "s", "1", "hash-b", made("two"))
    assert other.content() != first.content()
    assert store.read_bytes("s/1.txt") == b"two"
    with pytest.raises(DatasetError, match=r"holds no \.tar file"):
        other.file(".tar")


def test_a_damaged_record_is_named(store):
    store.put_bytes("commits/s/1.json", b"{")
    with pytest.raises(DatasetError, match=r"commits/s/1\.json: not a commit record"):
        read_commits(store, "s")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    """A real file system of 64 kB, mounted for the test."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=64k tmpfs {folder} 2>/dev/null") != 0:
        pytest.skip("needs root and tmpfs to make a small disk")
    try:
        store = Store(str(folder))
        with pytest.raises(StoreError, match=r"big\.bin: cannot write: No space left.*GB are free"):
            store.put_bytes("big.bin", b"x" * 200_000)
        local = tmp_path / "big"
        local.write_bytes(b"x" * 200_000)
        with pytest.raises(StoreError, match="No space left"):
            store.put_file(local, "big2.bin")
        assert [path.name for path in folder.iterdir()] == []
    finally:
        os.system(f"umount {folder}")


def test_a_commit_is_the_same_bytes_whatever_the_order_of_its_counts():
    a = Commit("s", "1", "h", (), 1, 1, {"x": 1, "y": 2})
    b = Commit("s", "1", "h", (), 1, 1, {"y": 2, "x": 1})
    assert a.to_json() == b.to_json()
