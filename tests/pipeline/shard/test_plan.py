"""Planning shards, against samples dealt out one by one; and the table of the recipe."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.recipe import check
from pipeline.shard.config import ShardConfig
from pipeline.shard.plan import Planner
from pipeline.tar import BLOCK, TarWriter, member_bytes

counts = st.dictionaries(st.sampled_from(["train", "test", "dev"]), st.integers(1, 30))
RECORD = 20 * BLOCK


def tar_bytes(sizes):
    """Bytes of a finished tar whose samples take `sizes`, by the format: two zero blocks, then whole records."""
    return -(-(sum(sizes) + 2 * BLOCK) // RECORD) * RECORD


def dealt(rows, samples, most_bytes):
    """Shards of (row, size), dealt one by one: a new one begins where the next sample would pass a limit."""
    shards = []
    for row, size in rows:
        full = not shards or len(shards[-1]) == samples
        if not full and most_bytes is not None:
            full = tar_bytes([held for _, held in shards[-1]] + [size]) > most_bytes
        if full:
            shards.append([])
        shards[-1].append((row, size))
    return [[row for row, _ in shard] for shard in shards]


@given(
    buckets=st.lists(counts, max_size=8),
    samples=st.none() | st.integers(1, 25),
    records=st.none() | st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_each_row_lies_in_the_shard_of_its_rank(buckets, samples, records, seed):
    most_bytes = None if records is None else records * RECORD + seed
    rng = np.random.default_rng(seed)
    sizes = [rng.integers(3, 50, sum(bucket.values())) * BLOCK for bucket in buckets]  # some alone pass the limit
    planner = Planner(samples, most_bytes)
    rows = {}  # split -> ((bucket, row), size), by rank
    for number, (bucket, of_rows) in enumerate(zip(buckets, sizes, strict=True)):
        planner.add(str(number), bucket, of_rows)
        layout = [split for split in sorted(bucket) for _ in range(bucket[split])]
        for row, split in enumerate(layout):
            rows.setdefault(split, []).append(((str(number), row), int(of_rows[row])))
    found = {}
    for shard in planner.shards():
        members = [(piece.bucket, row) for piece in shard.slices for row in range(piece.start, piece.stop)]
        assert len(members) == shard.samples
        assert shard.index == len(found.setdefault(shard.split, []))
        found[shard.split].append(members)
    assert found == {split: dealt(all, samples, most_bytes) for split, all in rows.items()}


def test_numbers_go_on_where_finished_shards_end():
    planner = Planner(2, None, {"train": 7})
    planner.add("0", {"test": 1, "train": 3})
    assert [shard.id for shard in planner.shards()] == ["test-00000", "train-00007", "train-00008"]


@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=20))
def test_a_member_takes_what_it_is_said_to(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    with TarWriter(path) as tar:
        for number, size in enumerate(sizes):
            tar.add(f"{number}.bin", bytes(size))
        assert tar.position == sum(map(member_bytes, sizes))
    assert path.stat().st_size == tar_bytes(list(map(member_bytes, sizes)))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"splits": {"train": 0.5}}, "name the others only"),
        ({"splits": {"../x": 0.5}}, "a name is letters"),
        ({"splits": {"a": 0.5, "b": 0.5}}, "less than 1"),
        ({"splits": {"a": 0.0}}, "between 0 and 1"),
        ({"samples": 0}, "samples"),
        ({"bytes": 512}, "bytes is 512"),
        ({"sample": 5}, "Did you mean 'samples'"),
        ({"growth": "both"}, "growth"),
    ],
)
def test_refuses_a_table(table, says):
    with pytest.raises(RecipeError, match=says):
        check(ShardConfig, table, where="recipe.toml")


def test_shards_have_ten_thousand_samples_where_nothing_limits_them():
    assert (ShardConfig().samples, ShardConfig().bytes) == (10_000, None)
    assert ShardConfig(bytes=10**9).samples is None
    assert ShardConfig.model_validate(ShardConfig(bytes=10**9).model_dump()).samples is None
