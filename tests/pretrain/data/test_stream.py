"""The stream as a property over shards, sizes, weights, buckets, batch sizes and places to stop."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DatasetError, TrainingError
from pipeline.shard.permute import EpochOrder
from pretrain.data.stream import DatasetStream, Stream, StreamConfig


class Shards:
    """A reader that holds numbers alone."""

    def __init__(self, sizes, window=2, weights=None, name="a"):
        self.sizes, self.window_shards, self.num_samples = sizes, window, sum(sizes)
        self.given = np.ones(self.num_samples) if weights is None else np.resize(weights, self.num_samples)
        self.fingerprint = name * 64

    def windows(self, *, seed, epoch):
        return EpochOrder(self.sizes, self.window_shards, seed=seed, epoch=epoch)

    def weights(self, positions):
        return self.given[positions].astype(np.float32)

    def text_bytes(self, positions, draws):
        return (positions * 7919) % 13


def rows_of(picks):
    columns = (picks.dataset, picks.epoch, picks.position, picks.copy)
    return list(zip(*(column.tolist() for column in columns), strict=True))


sizes = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any)
weights = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.7, 3.0]), min_size=1, max_size=7).filter(any)


@st.composite
def streams(draw):
    """A function that makes the same stream again and again."""
    readers = [
        Shards(draw(sizes), draw(st.integers(1, 3)), draw(weights), name)
        for name in "abc"[: draw(st.integers(1, 3))]
    ]  # fmt: skip
    config = StreamConfig(
        seed=draw(st.integers(0, 2**40)),
        batch_size=draw(st.integers(1, 7)),
        parts=tuple(draw(st.integers(1, 5)) for _ in readers),
        weights=draw(st.sampled_from(["ignore", "repeat"])),
        bucket_batches=draw(st.sampled_from([None, 2, 4])),
    )
    if config.weights == "repeat":
        for reader in readers:
            if not reader.given.any():
                reader.given[0] = 1.0
    return lambda batch_size=config.batch_size: Stream(
        readers, StreamConfig(config.seed, batch_size, config.parts, config.weights, config.bucket_batches)
    )


@given(make=streams(), cuts=st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_any_cuts_give_one_stream(make, cuts):
    whole, pieces = make(), make()
    assert rows_of(whole.take(sum(cuts))) == [row for cut in cuts for row in rows_of(pieces.take(cut))]


@given(make=streams(), taken=st.integers(0, 120), more=st.integers(1, 60), as_number=st.booleans())
def test_it_goes_on_anywhere_from_json_or_a_number(make, taken, more, as_number):
    whole = make()
    whole.take(taken)
    state = taken if as_number else json.loads(json.dumps(whole.state()))
    resumed = make()
    resumed.take(5)
    resumed.go_on(state)
    assert rows_of(resumed.take(more)) == rows_of(whole.take(more))
    assert resumed.state()["position"] == taken + more


@given(make=streams(), taken=st.integers(0, 60), batch_size=st.integers(1, 7))
def test_another_batch_size_goes_on_with_what_is_left(make, taken, batch_size):
    whole = make()
    whole.take(taken)
    other = make(batch_size)
    other.go_on(json.loads(json.dumps(whole.state())))
    assert rows_of(other.take(70)) == rows_of(whole.take(70))


@given(make=streams(), taken=st.integers(0, 60), stops=st.lists(st.integers(1, 9), max_size=4))
def test_stopping_often_changes_nothing(make, taken, stops):
    whole, broken = make(), make()
    broken.take(taken)
    parts = []
    for stop in stops:
        state = broken.state()
        broken = make()
        broken.go_on(state)
        parts += rows_of(broken.take(stop))
    whole.take(taken)
    assert parts == rows_of(whole.take(sum(stops)))


@given(sizes=sizes, window=st.integers(1, 3), seed=st.integers(0, 99), epochs=st.integers(1, 3))
def test_every_epoch_is_the_split_once(sizes, window, seed, epochs):
    reader = Shards(sizes, window)
    stream = Stream([reader], StreamConfig(seed, 4))
    for epoch in range(epochs):
        rows = rows_of(stream.take(reader.num_samples))
        assert sorted(rows) == [(0, epoch, position, 0) for position in range(reader.num_samples)]


@given(sizes=st.lists(sizes, min_size=2, max_size=3), seed=st.integers(0, 99), count=st.integers(0, 80))
def test_each_dataset_of_a_mixture_is_read_in_its_own_order(sizes, seed, count):
    readers = [Shards(of, name=name) for of, name in zip(sizes, "abc", strict=False)]
    rows = rows_of(Stream(readers, StreamConfig(seed, 4, (1, 2, 3)[: len(readers)])).take(count))
    for number, reader in enumerate(readers):
        mine = [row for row in rows if row[0] == number]
        assert mine == rows_of(DatasetStream(reader, number, seed, "ignore").take(len(mine)))


@given(make_weights=weights, sizes=sizes, seed=st.integers(0, 99), epochs=st.integers(1, 6))
def test_a_weight_is_how_often_a_sample_comes(make_weights, sizes, seed, epochs):
    reader = Shards(sizes, 2, make_weights)
    if not reader.given.any():
        reader.given[:] = 1.0
    stream = DatasetStream(reader, 0, seed, "repeat")
    rows = []
    while not rows or rows[-1][1] < epochs:  # one sample of the next epoch
        rows += rows_of(stream.take(1))
    found = Counter((row[1], row[2]) for row in rows[:-1])
    for position, weight in enumerate(reader.given.astype(np.float32)):
        of_epochs = [found[epoch, position] for epoch in range(epochs)]
        assert set(of_epochs) <= {int(weight), int(weight) + 1}
        assert abs(sum(of_epochs) - epochs * weight) < 1 + 1e-4
    assert len(set(rows)) == len(rows)  # each copy has its own number, and with it its own crop


def test_weights_of_one_are_the_split_once():
    rows = rows_of(DatasetStream(Shards([5, 6, 7], 2), 0, 3, "repeat").take(18))
    assert sorted(rows) == [(0, 0, position, 0) for position in range(18)]


def test_nothing_to_train_on_is_told():
    with pytest.raises(DatasetError, match="no sample has a weight above 0"):
        DatasetStream(Shards([4, 4], weights=[0.0]), 0, 0, "repeat").take(1)
    with pytest.raises(DatasetError, match="no sample has a weight above 0"):
        DatasetStream(Shards([4, 4], weights=[0.0]), 0, 0, "repeat").seek(3)
    with pytest.raises(DatasetError, match="holds no sample to train on"):
        Stream([Shards([0])], StreamConfig(0, 1))


def test_a_batch_holds_texts_of_like_lengths():
    reader = Shards([40] * 4, 2)
    sorted_, plain = (Stream([reader], StreamConfig(1, 10, bucket_batches=b)).take(160) for b in (8, None))
    assert sorted(rows_of(sorted_)) == sorted(rows_of(plain))

    def padding(picks):
        lengths = reader.text_bytes(picks.position, None).reshape(-1, 10)
        return (lengths.max(axis=1, keepdims=True) - lengths).sum()

    assert padding(sorted_) < 0.3 * padding(plain)


def test_states_of_other_data_or_laws_are_refused():
    stream = Stream([Shards([9])], StreamConfig(0, 3))
    state = stream.state()
    with pytest.raises(TrainingError, match=r"state is of datasets with manifests b{12}; here are a{12}"):
        stream.go_on(Stream([Shards([9], name="b")], StreamConfig(0, 3)).state())
    with pytest.raises(TrainingError, match="state is of law 0, wanted 1"):
        stream.go_on({**state, "law": 0})
    assert len(json.dumps(state)) < 200


def test_the_middle_of_a_large_epoch_is_made_without_the_start():
    """A thousand shards of ten thousand: only the window that is asked for is shuffled."""
    asked = []

    class Counting(EpochOrder):
        def window(self, number):
            asked.append(number)
            return super().window(number)

    class Large(Shards):
        def windows(self, *, seed, epoch):
            return Counting(self.sizes, self.window_shards, seed=seed, epoch=epoch)

    stream = Stream([Large([10_000] * 1000, 8)], StreamConfig(0, 256))
    stream.go_on(5_000_100)
    stream.take(256)
    assert asked == [62]
