"""The tar that hashes itself, against hashlib over what it wrote and against the plain writer."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shard.hashed_tar import HashedTar
from pipeline.tar import TarWriter

sizes = st.lists(st.tuples(st.integers(0, 200_000), st.booleans()), max_size=30)


@given(sizes=sizes)
def test_knows_what_it_wrote(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("tar")
    bodies = [(f"{i}.bin", bytes([i]) * size, hashed) for i, (size, hashed) in enumerate(sizes)]
    with HashedTar(folder / "x.tar") as tar:
        placed = [(tar.add_hashed if hashed else tar.add)(name, body) for name, body, hashed in bodies]
    with TarWriter(folder / "y.tar") as plain:
        assert plain.add_all([(name, body) for name, body, _ in bodies]) == placed
    written = (folder / "x.tar").read_bytes()
    assert written == (folder / "y.tar").read_bytes()
    assert tar.sha256 == hashlib.sha256(written).hexdigest()
    assert tar.digests == [hashlib.sha256(body).hexdigest() for _, body, hashed in bodies if hashed]


def test_a_full_disk_is_told_and_its_threads_end(tmp_path):
    with pytest.raises(OSError, match="No space left"), HashedTar(tmp_path / "full") as tar:  # noqa: PT012
        tar._stream.close()
        tar._stream = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        for number in range(4):
            tar.add_hashed(f"{number}.bin", bytes(1 << 20))
    assert all(not thread.is_alive() for thread in tar._threads._threads)
