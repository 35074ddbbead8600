"""A store in trouble: S3 behind a proxy that fails on purpose, a full disk, a folder that may not be written.

What passes is tried again; what stays is one clear error; nothing half-written is ever visible as committed.
"""

import os
import uuid

import pytest

from pipeline.commit import publish, read_commits
from pipeline.engine import Engine, EngineConfig
from pipeline.errors import PairmillError, StoreError
from pipeline.stage import Made, Part, Resources
from pipeline.store import Store

BIG = os.urandom(3 << 20)


def made(tmp_path, data=BIG):
    local = tmp_path / uuid.uuid4().hex
    local.write_bytes(data)
    return Made({"data/1.bin": local}, 1, 1)


@pytest.mark.parametrize("fault", ["500 InternalError", "503 SlowDown", "reset", "hang"])
def test_what_passes_is_tried_again(faulty, tmp_path, fault):
    """The first try of every write, and of every read, meets the fault."""
    proxy, store, held = faulty
    proxy.fault = lambda method, path, count: fault if count == 0 and method in ("PUT", "GET") else None
    commit = publish(store, "s", "1", "hash", made(tmp_path))
    assert held()["folder/data/1.bin"] == BIG
    assert read_commits(store, "s") == {"1": commit}
    assert store.read_bytes("data/1.bin") == BIG
    assert max(proxy.asked.values()) >= 2


def test_an_answer_that_is_cut_is_read_again(faulty, tmp_path):
    proxy, store, _ = faulty
    store.put_bytes("a.bin", BIG)
    proxy.fault = lambda method, path, count: "cut" if (method, count) == ("GET", 0) else None
    assert store.read_bytes("a.bin") == BIG
    proxy.asked.clear()
    with store.fetched("a.bin") as local:
        assert local.read_bytes() == BIG


@pytest.mark.parametrize("fault", ["503 SlowDown", "reset", "hang"])
@pytest.mark.parametrize("name", ["data/1.bin", "commits/s/1.json"])
def test_what_stays_is_one_error_and_nothing_is_committed(faulty, impatient, tmp_path, fault, name):
    proxy, store, held = faulty
    proxy.fault = lambda method, path, count: fault if method == "PUT" and path.endswith(name) else None
    with pytest.raises(StoreError, match=rf"^{store.url}/{name}: \S") as caught:
        publish(store, "s", "1", "hash", made(tmp_path))
    assert "test" not in str(caught.value).replace(store.url, "")  # the credentials of the tests
    assert set(held()) <= {"folder/data/1.bin"} - {f"folder/{name}"}
    assert read_commits(store, "s") == {}
    proxy.fault = lambda method, path, count: None
    publish(store, "s", "1", "hash", made(tmp_path))
    assert set(held()) == {"folder/data/1.bin", "folder/commits/s/1.json"}


class Writes:
    """A stage that writes one file of noise per part."""

    name, version = "writes", 1
    resources = Resources()

    def settings(self):
        return {}

    def setup(self):
        pass

    def make(self, part, work):
        local = work.scratch / "x"
        local.write_bytes(part.id.encode() * 10)
        return Made({f"data/{part.id}.bin": local}, 1, 1)


def test_a_part_that_cannot_be_stored_stops_no_other_and_is_made_by_the_next_run(faulty, impatient):
    proxy, store, held = faulty
    parts = [Part(f"{i}") for i in range(4)]
    proxy.fault = lambda method, path, count: "500 InternalError" if path.endswith("data/2.bin") else None
    engine = Engine(store, EngineConfig(place="process", workers=2))
    with pytest.raises(StoreError, match=r"data/2\.bin"):
        engine.run(Writes(), parts)
    assert set(read_commits(store, "writes")) == {"0", "1", "3"}
    proxy.fault = lambda method, path, count: None
    proxy.asked.clear()
    engine.run(Writes(), parts)
    assert [path for method, path in proxy.asked if method == "PUT" and "/data/" in path] == [
        f"/{store.root}/data/2.bin"
    ]
    assert {name for name in held() if "/data/" in name} == {f"folder/data/{i}.bin" for i in range(4)}


def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    """A real read-only mount; root may write anywhere else."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o ro tmpfs {folder} 2>/dev/null") != 0:
        pytest.skip("needs root and tmpfs to make a read-only folder")
    try:
        store = Store(str(folder))
        with pytest.raises(StoreError, match=r"a\.bin: cannot write: Read-only file system"):
            store.put_bytes("a.bin", b"x")
        with pytest.raises(PairmillError, match="Read-only file system"):
            Engine(store, EngineConfig(place="process")).run(Writes(), [Part("0")])
    finally:
        os.system(f"umount {folder}")
