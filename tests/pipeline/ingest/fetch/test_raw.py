"""A raw part is the same in whatever order its outcomes come, and however little memory there is."""

import io
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.fetch.outcome import Outcome
from pipeline.ingest.fetch.raw import RawWriter
from pipeline.ingest.media.image import Media
from pipeline.record import CANDIDATE, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def candidates(rows):
    columns = {"key": [f"{i:032x}" for i in range(rows)], "source": ["s"] * rows, "source_id": ["x"] * rows,
               "medium": ["image"] * rows, "url": ["http://x/"] * rows, "texts": [None] * rows}
    arrays = [pa.array(columns.get(item.name, [None] * rows), item.type) for item in CANDIDATE]
    return pa.Table.from_arrays(arrays, schema=CANDIDATE)


def outcome(row, size):
    if size is None:
        return Outcome(Status.HTTP_404, "HTTP 404")
    media = Media(bytes([row % 256]) * size, "image/jpeg", "jpg", 1, 1, 1, 1, 1)
    return Outcome(Status.SUCCESS, None, media, "0" * 64, size, NOW)


def write(sizes, order, memory_bytes):
    with tempfile.TemporaryDirectory() as folder:
        writer = RawWriter("00000", candidates(len(sizes)), Path(folder), memory_bytes)
        for row in order:
            writer.put(row, outcome(row, sizes[row]))
        made = writer.finish()
        assert sorted(path.name for path in Path(folder).iterdir()) == sorted(name.split("/")[1] for name in made.files)
        return made, {name: path.read_bytes() for name, path in made.files.items() if not name.endswith(".json")}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_any_memory(data):
    sizes = data.draw(st.lists(st.none() | st.integers(0, 3000), max_size=12))
    order = data.draw(st.permutations(range(len(sizes))))
    made, files = write(sizes, order, data.draw(st.integers(0, 5000)))
    assert (made, files)[1] == write(sizes, range(len(sizes)), 1 << 20)[1]
    assert made.counts == {
        status: rows
        for status, rows in (("http_404", sizes.count(None)), ("success", len(sizes) - sizes.count(None)))
        if rows
    }
    with tarfile.open(fileobj=io.BytesIO(files["raw/00000.tar"])) as archive:
        media = [item.size for item in archive if item.name.endswith(".jpg")]
    assert media == [size for size in sizes if size is not None]
    rows = pq.read_table(io.BytesIO(files["raw/00000.parquet"]))
    assert rows["bytes"].to_pylist() == sizes


def test_a_row_without_an_outcome_is_never_written_off(tmp_path):
    writer = RawWriter("00000", candidates(2), tmp_path, 100)
    writer.put(1, outcome(1, 5))
    with pytest.raises(RuntimeError, match="0 outcomes for 2 rows"):
        writer.finish()
    writer.abandon()
