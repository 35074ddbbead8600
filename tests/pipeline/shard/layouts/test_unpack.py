"""Other layouts, read by what reads them: plain files, pyarrow, and a decoder of MDS by its published format."""

import io
import itertools
import json
import struct

import pyarrow.parquet as pq
import pytest

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.shard.layouts.stage import unpack
from pipeline.shard.manifest import read_manifest
from pipeline.store import Store

CONFIG = {"samples": 16, "splits": {"validation": 0.2}, "bucket_rows": 40}


@pytest.fixture
def sharded(judged):
    judged.shard(**CONFIG)
    return judged


def unpacked(judged, out, layout, workers=2):
    engine = Engine(Store(str(out)), EngineConfig(place="process", workers=workers))
    unpack(engine, judged.dataset, layout)
    return out


def keys_of(judged, split):
    return [
        key
        for entry in read_manifest(judged.dataset).splits[split].shards
        for key in pq.read_table(judged.dataset.local_path(entry.index)).column("key").to_pylist()
    ]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_files_lie_beside_their_list(sharded, tmp_path, split):
    out = unpacked(sharded, tmp_path / "files", "files")
    found = []
    for listed in sorted((out / split).glob("*/metadata.jsonl")):
        for line in listed.read_text().splitlines():
            said = json.loads(line)
            assert (listed.parent / said["file_name"]).read_bytes() == sharded.media[said["key"]]
            assert said["caption"] == sharded.rows[said["key"]]["texts"][0]["text"]
            found.append(said["key"])
    assert found == keys_of(sharded, split)
    assert len(list((out / split).glob("*/*.jpg"))) == len(found)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_parquet_holds_media_in_a_column(sharded, tmp_path, split):
    out = unpacked(sharded, tmp_path / "parquet", "parquet")
    files = sorted((out / "data").glob(f"{split}-*.parquet"))
    shards = read_manifest(sharded.dataset).splits[split].shards
    assert [path.name for path in files] == [
        f"{split}-{i:05d}-of-{len(shards):05d}.parquet" for i in range(len(shards))
    ]
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert [row["key"] for row in rows] == keys_of(sharded, split)
    for row in rows:
        known = sharded.rows[row["key"]]
        assert row["image"] == {"bytes": sharded.media[row["key"]], "path": f"{row['key']}.jpg"}
        assert (row["texts"], row["width"]) == (known["texts"], known["width"])
        assert row["caption"] == known["texts"][0]["text"]
        assert json.loads(row["json"])["meta"] == json.loads(known["meta"])
    said = json.loads(pq.read_schema(files[0]).metadata[b"huggingface"])
    assert said == {"info": {"features": {"image": {"_type": "Image"}}}}


def test_row_groups_of_parquet_are_small(sharded, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.shard.layouts.parquet._GROUP_BYTES", 3_000)
    out = unpacked(sharded, tmp_path / "parquet", "parquet")
    for path in (out / "data").glob("*.parquet"):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            media = file.read_row_group(group).column("image").to_pylist()
            assert len(media) == 1 or sum(len(item["bytes"]) for item in media) <= 3_000


def mds_samples(folder):
    """Samples of an MDS folder, decoded from its description: samples behind uint32 offsets, columns behind sizes."""
    index = json.loads((folder / "index.json").read_text())
    assert index["version"] == 2
    for shard in index["shards"]:
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        (count,) = struct.unpack_from("<I", data)
        assert count == shard["samples"]
        offsets = struct.unpack_from(f"<{count + 1}I", data, 4)
        assert json.loads(data[4 * (count + 2) : offsets[0]])["column_names"] == shard["column_names"]
        assert offsets[-1] == len(data)
        for start, stop in itertools.pairwise(offsets):
            sizes = struct.unpack_from(f"<{len(shard['column_names'])}I", data, start)
            stream = io.BytesIO(data[start + 4 * len(sizes) : stop])
            yield {name: stream.read(size) for name, size in zip(shard["column_names"], sizes, strict=True)}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_mds_is_what_its_format_says(sharded, tmp_path, split):
    out = unpacked(sharded, tmp_path / "mds", "mds")
    samples = list(mds_samples(out / split))
    assert [sample["key"].decode() for sample in samples] == keys_of(sharded, split)
    for sample in samples:
        key = sample["key"].decode()
        assert sample["media"] == sharded.media[key]
        assert sample["caption"].decode() == sharded.rows[key]["texts"][0]["text"]
        assert json.loads(sample["json"])["key"] == key
        assert sample["mime"] == b"image/jpeg"


def test_mds_shards_of_4_gb_are_refused(sharded, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.shard.layouts.mds._MOST_BYTES", 5_000)
    with pytest.raises(DatasetError, match=r"bytes as MDS, whose offsets have 32 bits. Cut smaller shards"):
        unpacked(sharded, tmp_path / "mds", "mds")


@pytest.mark.parametrize("layout", ["files", "parquet", "mds"])
def test_bytes_do_not_depend_on_workers_and_running_again_does_nothing(sharded, tmp_path, layout):
    files = []
    for workers in (1, 4):
        out = unpacked(sharded, tmp_path / f"{workers}", layout, workers)
        files.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert files[0] == files[1]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "index.json"}
    unpacked(sharded, out, layout)
    assert before == {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "index.json"
    }


def test_fewer_shards_leave_no_stale_files(sharded, tmp_path):
    unpacked(sharded, tmp_path / "out", "parquet")
    sharded.shard(**CONFIG | {"samples": 40})
    unpacked(sharded, tmp_path / "out", "parquet")
    shards = sum(1 for _ in read_manifest(sharded.dataset).entries)
    assert len(list((tmp_path / "out/data").glob("*.parquet"))) == shards


def test_companions_come_along(make_judged, tmp_path):
    judged = make_judged("masked", parts=1, mask=lambda number: b"mask" * number if number % 2 else None)
    judged.shard(**CONFIG)
    out = unpacked(judged, tmp_path / "files", "files")
    masks = {path.name: path.read_bytes() for path in out.glob("*/*/*.segmentation.png")}
    assert masks
    assert all(data == b"mask" * int(judged.rows[name.split(".")[0]]["source_id"]) for name, data in masks.items())
    files = (unpacked(judged, tmp_path / "parquet", "parquet") / "data").glob("*.parquet")
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert {item["path"]: item["bytes"] for row in rows for item in row["companions"]} == masks


def test_a_damaged_shard_and_a_folder_that_is_a_dataset_are_told(sharded, tmp_path):
    path = sharded.dataset.local_path("shards/train/00001.tar")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match=r"train/00001\.tar: is not what its index says \(truncated"):
        unpacked(sharded, tmp_path / "out", "files")
    sharded.dataset.put_bytes("dataset.json", b"{}")
    with pytest.raises(AskedWrongly, match="is a dataset itself"):
        unpacked(sharded, sharded.dataset.url, "files")
