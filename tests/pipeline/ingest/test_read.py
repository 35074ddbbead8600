"""The ingest stage: lists into parts of a fixed number of rows, each row once."""

import hashlib

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import SourceError
from pipeline.ingest.read import Ingest, IngestConfig, in_partitions
from pipeline.ingest.sources import source_config
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.rows import Row, to_record_batch
from pipeline.record import CANDIDATE
from pipeline.store import Store


def lists(folder, **sizes):
    for name, rows in sizes.items():
        (folder / f"{name}.tsv").write_text("".join(f"caption {i}\thttp://x/{name}/{i}\n" for i in range(rows)))
    return source_config({"kind": "cc3m", "path": str(folder / "*.tsv")})


def run(source, dataset, rows=100):
    stage = Ingest(source, IngestConfig(partition_rows=rows))
    return Engine(dataset, EngineConfig(place="process")).run(stage, stage.parts())


def test_parts(tmp_path):
    source = lists(tmp_path, a=250, b=100, c=0)
    dataset = Store(str(tmp_path / "dataset"))
    commits = run(source, dataset)
    assert [commit.facts["parts"] for commit in commits.values()] == [
        [{"name": f"candidates/part-00000-0000{k}.parquet", "rows": n} for k, n in enumerate((100, 100, 50))],
        [{"name": "candidates/part-00001-00000.parquet", "rows": 100}],
        [],
    ]
    assert [dict(commit.counts) for commit in commits.values()] == [{"rows": n, "fault": 0} for n in (250, 100, 0)]
    tables = [pq.ParquetFile(dataset.local_path(stamp.name)) for commit in commits.values() for stamp in commit.files]
    assert all(table.schema_arrow.equals(CANDIDATE) and table.num_row_groups == 1 for table in tables)
    urls = [url for table in tables for url in table.read(["url"])["url"].to_pylist()]
    assert urls == [f"http://x/a/{i}" for i in range(250)] + [f"http://x/b/{i}" for i in range(100)]
    for table in tables:
        table.close()


def test_the_same_list_gives_the_same_bytes(tmp_path):
    source = lists(tmp_path, a=1000)
    first, second = (run(source, Store(str(tmp_path / name))) for name in ("x", "y"))
    assert first == second


def test_only_a_changed_list_is_read_again(tmp_path):
    source = lists(tmp_path, a=10, b=10)
    dataset = Store(str(tmp_path / "dataset"))
    before = run(source, dataset)
    (tmp_path / "b.tsv").write_text("new\thttp://x/\nbad line\n")
    after = run(source, dataset)
    assert before["00000"] == after["00000"]
    assert dict(after["00001"].counts) == {"rows": 2, "fault": 1}


def test_a_list_that_is_no_such_list(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    source = source_config({"kind": "laion", "path": str(tmp_path)})
    with pytest.raises(SourceError, match=r"a\.parquet: cannot be read as parquet"):
        run(source, Store(str(tmp_path / "dataset")))


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 30))
def test_partitions_hold_every_row_once_in_order(sizes, rows):
    file = ListFile(0, "x", "x", "")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    batches = [
        to_record_batch([Row(start + i, f"http://x/{start + i}") for i in range(size)], file, "s", "image", 100)
        for start, size in zip(starts, sizes, strict=True)
    ]
    tables = list(in_partitions(iter(batches), rows))
    assert [url for table in tables for url in table["url"].to_pylist()] == [f"http://x/{i}" for i in range(sum(sizes))]
    assert all(table.num_rows == rows for table in tables[:-1])
    assert all(0 < table.num_rows <= rows for table in tables)


def test_keys_do_not_depend_on_how_rows_are_cut(tmp_path):
    source = lists(tmp_path, a=60)
    keys = []
    for rows in (7, 60):
        dataset = Store(str(tmp_path / str(rows)))
        commits = run(source, dataset, rows)
        names = [stamp.name for stamp in commits["00000"].files]
        keys.append([key for name in names for key in pq.read_table(dataset.local_path(name))["key"].to_pylist()])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 60
    assert hashlib.blake2b(b"\0\0\0\4cc3ma#0", digest_size=16).hexdigest() == keys[0][0]
