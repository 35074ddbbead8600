"""The tar that hashes itself, against hashlib over what it wrote and against the plain writer."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shard.hashed_tar import HashedTar
from pipeline.tar import TarWriter

files = st.lists(st.tuples(st.sampled_from(["jpg", "seg_1.png", "json", "txt"]), st.integers(0, 200_000)), max_size=4)
stems = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
samples = st.lists(st.tuples(stems, files, st.integers(0, 2)), max_size=8)


@given(samples=samples)
def test_knows_what_it_wrote(tmp_path_factory, samples):
    """Against the plain writer, member by member, and against hashlib."""
    folder = tmp_path_factory.mktemp("tar")
    begins, wanted, hashed = [], [], []
    with HashedTar(folder / "x.tar") as tar, TarWriter(folder / "y.tar") as plain:
        for stem, sizes, num_hashed in samples:
            bodies = [(ending, bytes([len(hashed) % 256]) * size) for ending, size in sizes]
            begins += tar.add_hashed(stem, bodies, num_hashed)
            wanted += [plain.add(f"{stem}.{ending}", body).data_offset for ending, body in bodies]
            hashed += [body for _, body in bodies[:num_hashed]]
    assert begins == wanted
    written = (folder / "x.tar").read_bytes()
    assert written == (folder / "y.tar").read_bytes()
    assert tar.sha256 == hashlib.sha256(written).hexdigest()
    assert tar.digests == [hashlib.sha256(body).hexdigest() for body in hashed]


@pytest.mark.parametrize(
    ("stem", "ending"), [("../x", "jpg"), ("a.b", "jpg"), ("a" * 65, "jpg"), ("a", "J/"), ("a", "")]
)
def test_refuses_a_name(tmp_path, stem, ending):
    with TarWriter(tmp_path / "x.tar") as tar, pytest.raises(ValueError, match=r"wanted at most"):
        tar.add_sample(stem, [(ending, b"")])


def test_a_full_disk_is_told_and_its_threads_end(tmp_path):
    with pytest.raises(OSError, match="No space left"), HashedTar(tmp_path / "full") as tar:  # noqa: PT012
        tar._stream.close()
        tar._stream = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        for number in range(4):
            tar.add_hashed(f"{number}", [("bin", bytes(1 << 20))], 1)
    assert all(not thread.is_alive() for thread in tar._threads._threads)
