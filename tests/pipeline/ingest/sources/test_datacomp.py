"""DataComp: uids, face boxes, and subset files against a plain set of uids."""

import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.ingest.sources import open_source, source_config


def uid(i):
    return hashlib.md5(str(i).encode()).hexdigest()


def write(folder, num=5, name="00000.parquet", **columns):
    table = {
        "uid": [uid(i) for i in range(num)], "url": [f"http://x/{i}" for i in range(num)],
        "text": [f"text {i}" for i in range(num)], "original_width": [200] * num, "original_height": [100] * num,
        "clip_b32_similarity_score": [0.25] * num, "clip_l14_similarity_score": [0.5] * num,
        "face_bboxes": [[[0.5, 0.25, 0.75, 0.5]]] + [[]] * (num - 1), "sha256": ["ab" * 32] * num, **columns,
    }
    pq.write_table(pa.table(table), folder / name, row_group_size=700)
    return str(folder / name)


def subset(folder, uids):
    pairs = np.array([(int(item[:16], 16), int(item[16:], 16)) for item in uids], "u8,u8")
    np.save(folder / "subset.npy", np.sort(pairs))
    return str(folder / "subset.npy")


def test_rows(tmp_path, read):
    rows = read(kind="datacomp", path=write(tmp_path))
    assert [row["source_id"] for row in rows] == [uid(i) for i in range(5)]
    assert rows[0]["regions"] == [{"box": [100.0, 25.0, 50.0, 25.0], "mask": None, "text": "face"}]
    assert rows[1]["regions"] is None
    assert rows[0]["hash"] == "sha256:" + "ab" * 32
    assert set(json.loads(rows[0]["meta"])) == {"original_width", "original_height", "clip_b32_similarity_score",
                                                "clip_l14_similarity_score"}


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"uid": ["AB" * 16, uid(1)]}, "uid: not 32"), ({"uid": [None, uid(1)]}, "uid: not 32"),
        ({"original_width": [None, 5]}, "face_bboxes: not"), ({"face_bboxes": [[[0.1, 0.2]], []]}, "face_bboxes: not"),
        ({"face_bboxes": [[[0.0, 0.0, float("nan"), 1.0]], []]}, "region: box"),
        ({"face_bboxes": [[[0.9, 0.0, 0.1, 1.0]], []]}, "region: box"), ({"sha256": ["xyz", None]}, "hash: neither"),
        ({"url": [None, "http://x/"]}, "url: none"), ({"text": [["a"], ["b"]]}, "alt: list, wanted text"),
    ],
)
def test_bad_rows_are_faults(tmp_path, read, columns, fault):
    rows = read(kind="datacomp", path=write(tmp_path, 2, **columns))
    assert rows[0]["fault"].startswith(fault)
    assert len({row["key"] for row in rows}) == 2


@pytest.mark.parametrize("num_wanted", [1, 17, 3000, 5000])
def test_only_rows_of_the_subset_are_read(tmp_path, read, num_wanted):
    wanted = {uid(i) for i in np.random.default_rng(0).permutation(5000)[:num_wanted]}
    others = [uid(i) for i in range(10_000, 11_000)]
    path = write(tmp_path, 5000)
    rows = read(kind="datacomp", path=path, subset=subset(tmp_path, [*wanted, *others]))
    assert [row["source_id"] for row in rows] == [uid(i) for i in range(5000) if uid(i) in wanted]
    assert rows[0]["texts"][0]["text"] == f"text {rows[0]['url'].rsplit('/', 1)[1]}"


def test_the_edges_of_a_subset(tmp_path, read):
    low, high, same_half = "0" * 32, "f" * 32, uid(0)[:16] + "f" * 16
    path = write(tmp_path, 4, uid=[low, high, uid(0), None])
    rows = read(kind="datacomp", path=path, subset=subset(tmp_path, [low, high, same_half]))
    assert [row["source_id"] for row in rows] == [low, high, "00000#3"]
    assert rows[-1]["fault"].startswith("uid: not 32")


def test_another_subset_is_another_list(tmp_path):
    path = write(tmp_path)
    source = {"kind": "datacomp", "path": path, "subset": subset(tmp_path, [uid(0)])}
    before = open_source(source_config(source)).files()[0].stamp
    subset(tmp_path, [uid(0), uid(1)])
    assert open_source(source_config(source)).files()[0].stamp != before


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a subset file"), (b"uid\nabc\n", "not a subset file"), (npy(np.arange(5)), "an array of int64"),
        (npy(np.zeros((2, 2), "u8,u8")), "2 dimensions"), (npy(np.zeros(0, "u8,u8")), "names no uid"),
        (npy(np.array([(2, 0), (1, 0)], "u8,u8")), "not sorted"),
    ],
)
def test_what_is_no_subset_file_is_told_first(tmp_path, read, data, words):
    (tmp_path / "subset.npy").write_bytes(data)
    with pytest.raises(SourceError, match=words):
        read(kind="datacomp", path=write(tmp_path), subset=str(tmp_path / "subset.npy"))
    with pytest.raises(SourceError, match=r"nowhere.npy"):
        read(kind="datacomp", path=write(tmp_path), subset=str(tmp_path / "nowhere.npy"))


def test_a_missing_column_is_named(tmp_path, read):
    pq.write_table(pa.table({"url": ["x"], "text": ["y"], "UID": ["z"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"has no column 'uid'; found: url, text, UID. It may be one of: UID"):
        read(kind="datacomp", path=str(tmp_path))
