"""Planning shards from bucket counts, against ranks counted one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commit import Commit
from pipeline.errors import RecipeError
from pipeline.recipe import check
from pipeline.shard.plan import ShardConfig, plan_shards

counts = st.dictionaries(st.sampled_from(["train", "test", "dev"]), st.integers(1, 30))


def commit(samples):
    return Commit("sort", "x", "", (), 0, 0, {}, {"samples": samples})


@given(buckets=st.lists(counts, max_size=8), samples=st.integers(1, 25))
def test_each_row_lies_in_the_shard_of_its_rank(buckets, samples):
    planned = plan_shards({str(i): commit(bucket) for i, bucket in enumerate(buckets)}, samples)
    rows = {}  # split -> (bucket, row), by rank
    for number, bucket in enumerate(buckets):
        layout = [split for split in sorted(bucket) for _ in range(bucket[split])]
        for row, split in enumerate(layout):
            rows.setdefault(split, []).append((str(number), row))
    found = {}
    for shard in planned:
        members = [(piece.bucket, row) for piece in shard.slices for row in range(piece.start, piece.stop)]
        assert len(members) == shard.samples
        assert shard.index == len(found.setdefault(shard.split, []))
        found[shard.split].append(members)
    wanted = {split: [all[i : i + samples] for i in range(0, len(all), samples)] for split, all in rows.items()}
    assert found == wanted


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"splits": {"train": 0.5}}, "name the others only"),
        ({"splits": {"../x": 0.5}}, "a name is letters"),
        ({"splits": {"a": 0.5, "b": 0.5}}, "less than 1"),
        ({"splits": {"a": 0.0}}, "between 0 and 1"),
        ({"samples": 0}, "samples"),
        ({"sample": 5}, "Did you mean 'samples'"),
    ],
)
def test_refuses_a_table(table, says):
    with pytest.raises(RecipeError, match=says):
        check(ShardConfig, table, where="recipe.toml")
