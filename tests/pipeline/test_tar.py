"""The tar writer against the standard library's `tarfile`, which is the oracle here."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tar import TarWriter, header, padding, read_members

names = st.from_regex(r"[a-z0-9_]{1,40}(/[A-Za-z0-9_]{1,30})?\.[a-z]{1,5}", fullmatch=True)
members = st.lists(st.tuples(names, st.binary(max_size=2000)), max_size=12, unique_by=lambda member: member[0])


def write(path, content):
    with TarWriter(path) as tar:
        return tar.add_all(content)


@given(content=members)
def test_tarfile_reads_back_what_was_written(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    placed = write(path, content)
    with tarfile.open(path, "r:") as tar:
        found = tar.getmembers()
        assert [(info.name, tar.extractfile(info).read()) for info in found] == content
    assert [(info.offset, info.offset_data, info.size) for info in found] == [
        (member.offset, member.data_offset, member.data_size) for member in placed
    ]
    assert all((info.mtime, info.uid, info.gid, info.mode, info.isreg()) == (0, 0, 0, 0o444, True) for info in found)
    with path.open("rb") as stream:
        assert list(read_members(stream)) == placed


@given(content=members)
def test_bytes_equal_those_of_tarfile(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    write(path, content)
    oracle = io.BytesIO()
    with tarfile.open(fileobj=oracle, mode="w:", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in content:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o444
            tar.addfile(info, io.BytesIO(data))
    assert path.read_bytes() == oracle.getvalue()


@given(name=names, size=st.integers(0, 8**11 - 1))
def test_header_is_that_of_tarfile_at_any_size(name, size):
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o444
    assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x.jpg", "a/../b.jpg", "a//b", "folder/", "x" * 101, "é.jpg", "a\0b", "a\nb", " a"]
)
def test_refuses_a_name(name):
    with pytest.raises(ValueError, match="tar member"):
        header(name, 0)


def test_refuses_8_gib():
    with pytest.raises(ValueError, match="8 GiB"):
        header("x.bin", 8**11)


def test_padding_fills_the_block():
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


def test_takes_views(tmp_path):
    view = memoryview(b"abcdef")[2:4]
    write(tmp_path / "x.tar", [("a.bin", view), ("b.bin", bytearray(b"xy"))])
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.extractfile("a.bin").read() == b"cd"


@given(cut=st.integers(0, 10239))
def test_reading_back_names_a_truncation_anywhere(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    write(path, [("a.jpg", b"1" * 700), ("a.txt", b"2")])
    with pytest.raises(ValueError, match=r"truncated|archive ends|no header"):
        list(read_members(io.BytesIO(path.read_bytes()[:cut])))


def test_reading_back_refuses_a_foreign_tar(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size, info.mtime = 3, 12345
        tar.addfile(info, io.BytesIO(b"abc"))
    with (tmp_path / "x.tar").open("rb") as stream, pytest.raises(ValueError, match="not a tar of pairmill"):
        list(read_members(stream))


def test_a_failed_write_leaves_no_end_of_archive(tmp_path):
    def stop():
        yield "a.jpg", b"abc"
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write(tmp_path / "x.tar", stop())
    with (tmp_path / "x.tar").open("rb") as stream, pytest.raises(ValueError, match="truncated"):
        list(read_members(stream))


def test_what_changes_after_it_was_added_is_written_as_it_was(tmp_path):
    changing = bytearray(b"before")
    with TarWriter(tmp_path / "x.tar") as tar:
        tar.add("a.bin", changing)
        changing[:] = b"after!"
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.extractfile("a.bin").read() == b"before"
