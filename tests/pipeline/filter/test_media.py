"""The pseudo-column `media`: every row gets its own bytes, in order, whatever the batches and wherever they lie."""

import resource
import threading
import uuid
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DatasetError, StoreError
from pipeline.filter.embeddings import NpyRows, read_embeddings
from pipeline.filter.media import ahead, batch_bounds, media_batches
from pipeline.filter.score import ScoreStage
from pipeline.recipe import RecipeTable
from pipeline.stage import Part, Resources
from pipeline.store import Store

PART = Part("00000", (("fetch", "00000"),))


class FirstBytes:
    """A scorer of media: their length and first byte, and an embedding made of both."""

    name, version, batch_rows = "first", 1, 3
    reads = ("texts", "media")
    writes = pa.schema([("length", pa.int64()), ("first", pa.uint8())])
    resources = Resources(cpus=1)
    config = RecipeTable()
    embeds = MappingProxyType({"image": 2})

    def setup(self):
        self.batches, self.threads = [], set()

    def prepare(self, batch):
        self.threads.add(threading.current_thread().name)
        assert batch.column_names == ["texts", "media"]
        return batch.column("media").to_pylist()

    def __call__(self, media):
        assert threading.current_thread().name not in self.threads
        self.batches.append(len(media))
        pairs = np.array([[len(data), data[0]] for data in media], np.float16)
        image = pa.FixedSizeListArray.from_arrays(pa.array(pairs.reshape(-1)), 2)
        return pa.table({"length": [len(data) for data in media], "first": [d[0] for d in media], "image": image})


def rows_of(count):
    rng = np.random.default_rng(count)
    rows = [{"id": str(i), "media": bytes([i % 256]) + rng.bytes(int(rng.integers(0, 2000)))} for i in range(count)]
    for row in rows[::4]:
        row["outcome"] = "http_404"
    return rows


def check(dataset, rows):
    with dataset.open("scores/first/00000.parquet") as stream:
        found = pq.read_table(stream).to_pylist()
    wanted = [(None, None) if row.get("outcome") else (len(row["media"]), row["media"][0]) for row in rows]
    assert [(row["length"], row["first"]) for row in found] == wanted
    embedded = read_embeddings(dataset, "first", "00000", "image")
    assert embedded.shape == (len(rows), 2)
    for pair, (length, first) in zip(embedded, wanted, strict=True):
        assert np.isnan(pair).all() if length is None else pair.tolist() == [np.float16(length), first]


@pytest.mark.parametrize("count", [0, 1, 2, 17, 40])
def test_each_row_gets_its_bytes(raw_parts, count):
    rows = rows_of(count)
    engine, _ = raw_parts([rows])
    scorer = FirstBytes()
    commit = engine.run(ScoreStage(scorer), [PART])["00000"]
    check(engine.dataset, rows)
    assert sum(scorer.batches) == commit.counts["scored"] == sum("outcome" not in row for row in rows)
    assert [stamp.name for stamp in commit.files] == ["scores/first/00000.parquet", "scores/first/00000.image.npy"]
    assert all(size <= 3 for size in scorer.batches)


def test_from_a_bucket(raw_parts, s3_bucket):
    rows = rows_of(20)
    engine, _ = raw_parts([rows], url=f"{s3_bucket}/{uuid.uuid4().hex}")
    engine.run(ScoreStage(FirstBytes()), [PART])
    check(engine.dataset, rows)


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 7), st.integers(1, 200))
def test_batches_cover_all_rows_and_keep_the_bounds(sizes, max_rows, max_bytes):
    bounds = list(batch_bounds(np.array(sizes, np.int64), max_rows, max_bytes))
    assert [row for start, end in bounds for row in range(start, end)] == list(range(len(sizes)))
    for start, end in bounds:
        assert 1 <= end - start <= max_rows
        assert end - start == 1 or sum(sizes[start:end]) <= max_bytes
        # as full as it may be
        assert end == len(sizes) or end - start == max_rows or sum(sizes[start : end + 1]) > max_bytes


@given(st.permutations(range(9)), st.integers(1, 9))
def test_rows_in_another_order_than_the_tar(tmp_path_factory, order, max_rows):
    folder = tmp_path_factory.mktemp("tar")
    pieces = [bytes([i]) * (i * 100_000) for i in range(9)]
    (folder / "x.tar").write_bytes(b"".join(pieces))
    offsets = np.cumsum([0] + [len(piece) for piece in pieces])
    rows = pa.table({"tar_offset": [int(offsets[i]) for i in order], "tar_bytes": [len(pieces[i]) for i in order]})
    batches = media_batches(Store(str(folder)), "x.tar", rows, max_rows=max_rows, max_bytes=1 << 40)
    assert [data for batch in batches for data in batch["media"].to_pylist()] == [pieces[i] for i in order]


def test_memory_is_that_of_two_batches(tmp_path):
    size, count = 4 << 20, 100
    with (tmp_path / "x.tar").open("wb") as stream:
        stream.truncate(size * count)
    rows = pa.table({"tar_offset": [i * size for i in range(count)], "tar_bytes": [size] * count})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = sum(
        batch.num_rows
        for batch in ahead(media_batches(Store(str(tmp_path)), "x.tar", rows, max_rows=50, max_bytes=16 << 20))
    )
    assert seen == count
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < 250 << 20


def test_a_torn_tar_is_an_error_that_names_it(raw_parts):
    engine, _ = raw_parts([rows_of(8)])
    tar = engine.dataset.local_path("raw/00000.tar")
    tar.write_bytes(tar.read_bytes()[:1000])
    with pytest.raises(StoreError, match=r"raw/00000\.tar: wanted bytes .* truncated"):
        engine.run(ScoreStage(FirstBytes()), [PART])


def test_a_fetched_row_without_a_place_is_an_error(raw_parts):
    engine, _ = raw_parts([[{"id": "a"}]])
    with pytest.raises(DatasetError, match=r"no tar_offset or tar_bytes. Fetch the part again"):
        engine.run(ScoreStage(FirstBytes()), [PART])


def test_an_error_ahead_reaches_the_reader():
    def items():
        yield 1
        raise ValueError("bad")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="bad"):
        next(found)


class FromEmbeddings:
    """A scorer that reads what another has embedded."""

    name, version, reads = "sum", 1, ("first.image", "key")
    writes = pa.schema([("sum", pa.float32()), ("key_again", pa.string())])
    resources, config = Resources(cpus=1), RecipeTable()

    def setup(self):
        pass

    def __call__(self, table):
        sums = [sum(row) for row in table["first.image"].to_pylist()]
        return pa.table({"sum": pa.array(sums, pa.float32()), "key_again": table["key"]})


def test_embeddings_are_a_column_for_other_scorers(raw_parts):
    rows = rows_of(9)
    engine, _ = raw_parts([rows])
    engine.run(ScoreStage(FirstBytes()), [PART])
    stage = ScoreStage(FromEmbeddings())
    part = stage.part("00000")
    assert part.inputs == (("fetch", "00000"), ("score-first", "00000"))
    engine.run(stage, [part])
    found = pq.read_table(engine.dataset.path("scores/sum/00000.parquet")).to_pylist()
    for row, scored in zip(rows, found, strict=True):
        wanted = None if row.get("outcome") else float(np.float16(len(row["media"]))) + row["media"][0]
        assert scored["sum"] == wanted
        assert scored["key_again"] in (None, scored["key"])


def test_embeddings_that_are_not_there(tmp_path):
    with pytest.raises(DatasetError, match=r"'clip' has not embedded this part\. Run `pairmill score`"):
        read_embeddings(Store(str(tmp_path)), "clip", "00000", "image")


@pytest.mark.parametrize("damage", [b"", b"no numpy file", "float32"])
def test_embeddings_that_are_damaged(tmp_path, damage):
    path = tmp_path / "scores" / "clip" / "00000.image.npy"
    path.parent.mkdir(parents=True)
    if damage == "float32":
        np.save(path, np.zeros((2, 3), np.float32))
    else:
        path.write_bytes(damage)
    with pytest.raises(DatasetError, match=r"00000\.image\.npy: (not a numpy file|holds float32)"):
        read_embeddings(Store(str(tmp_path)), "clip", "00000", "image")


@given(st.sets(st.integers(0, 3000)), st.integers(1, 3))
def test_rows_of_a_numpy_file(tmp_path_factory, at, width):
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    at = np.array(sorted(at), np.int64)
    values = np.arange(len(at) * width, dtype=np.float16).reshape(-1, width)
    with NpyRows(path, 3001, width) as rows:
        rows.put(at[: len(at) // 2], values[: len(at) // 2])
        rows.put(at[len(at) // 2 :], values[len(at) // 2 :])
    wanted = np.full((3001, width), np.nan, np.float16)
    wanted[at] = values
    np.testing.assert_array_equal(np.load(path), wanted)
