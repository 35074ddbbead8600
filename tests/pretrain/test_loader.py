from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from pipeline.shard.reader import Example, ShardReader
from pretrain.loader import LoaderConfig, StreamConfig, TrainLoader, choose_text
from pretrain.transform import AugmentConfig

AUGMENT = AugmentConfig(min_area_ratio=0.5, max_aspect=1.3, flip_prob=0.5)


class Positions:
    """A reader that holds numbers alone."""

    def __init__(self, num_samples):
        self.num_samples = num_samples

    def order(self, *, seed, epoch):
        return np.random.default_rng([seed, epoch]).permutation(self.num_samples)


def tokens(texts):
    return torch.tensor([[len(text), sum(text.encode()) % 1000] for text in texts])


def loader(reader, batch_size, rank=0, world=1, threads=2):
    stream = StreamConfig(7, batch_size, 16, AUGMENT, rank, world)
    return TrainLoader(reader, tokens, stream, LoaderConfig(threads=threads, batches_ahead=3))


@given(
    num_samples=st.integers(1, 40),
    per_rank=st.integers(1, 5),
    world=st.integers(1, 4),
    start=st.integers(0, 30),
)
def test_the_stream_is_every_epoch_once_whatever_the_world(num_samples, per_rank, world, start):
    reader, size = Positions(num_samples), per_rank * world
    whole = loader(reader, size)
    ranks = [loader(reader, size, rank, world) for rank in range(world)]
    seen = []
    for step in range(start, start + 12):
        shares = [place for rank in ranks for place in rank.places(step)]
        assert shares == whole.places(step)
        seen += shares
    first = start * size
    wanted = []
    for epoch in range((first + len(seen)) // num_samples + 1):
        wanted += [(epoch, int(position)) for position in reader.order(seed=7, epoch=epoch)]
    assert seen == wanted[first : first + len(seen)]


def test_batches_do_not_depend_on_threads_start_or_world(scenes):
    reader = ShardReader(scenes, "train")
    one, many = loader(reader, 12, threads=1), loader(reader, 12, threads=4)
    halves = [loader(reader, 12, rank, 2) for rank in (0, 1)]
    streams = [one.batches(0), many.batches(0), *(half.batches(0) for half in halves)]
    batches = [list(islice(stream, 16)) for stream in streams]
    for stream in streams:
        stream.close()
    for single, other, left, right in zip(*batches, strict=True):
        assert single.keys == other.keys == left.keys + right.keys
        for name in ("images_BCHW", "tokens_BL", "image_ids_B", "text_ids_B"):
            whole = getattr(single, name)
            assert torch.equal(whole, getattr(other, name))
            assert torch.equal(whole, torch.cat([getattr(left, name), getattr(right, name)]))
        assert single.images_BCHW.shape == (12, 3, 16, 16)
        assert single.images_BCHW.dtype == torch.uint8
    resumed = many.batches(9)
    assert torch.equal(next(resumed).images_BCHW, batches[0][9].images_BCHW)
    resumed.close()


def test_another_epoch_gives_other_crops_and_other_texts(scenes):
    reader = ShardReader(scenes, "train")
    batches = [loader(reader, reader.num_samples).batch(step) for step in (0, 1)]
    order = [np.argsort(batch.keys, kind="stable") for batch in batches]
    assert sorted(batches[0].keys) == sorted(batches[1].keys)
    first, second = (batch.images_BCHW[torch.tensor(rows)] for batch, rows in zip(batches, order, strict=True))
    assert (first != second).flatten(1).any(dim=1).float().mean() > 0.9
    texts = [batch.text_ids_B[torch.tensor(rows)] for batch, rows in zip(batches, order, strict=True)]
    assert 0.1 < (texts[0] != texts[1]).float().mean() < 0.5


def test_the_same_file_has_the_same_id(scenes):
    batch = loader(ShardReader(scenes, "train"), 160).batch(0)
    assert len(set(batch.image_ids_B.tolist())) == 152


def test_what_cannot_be_used_names_its_key():
    empty = Example("k" * 32, b"", "image/jpeg", 1, 1, (), 1.0, 0)
    with pytest.raises(DatasetError, match=r"sample k{32}: has no text"):
        choose_text(empty, np.random.default_rng(0))


def test_a_broken_image_ends_the_stream_with_its_key(tmp_path, write_shards_to):
    write_shards_to(tmp_path, {"train": [(b"\xff\xd8 torn", "image/jpeg", ["a scene"])] * 4})
    reader = ShardReader(str(tmp_path), "train")
    stream = loader(reader, 4).batches(0)
    with pytest.raises(DatasetError, match=r"sample \w{32}: cannot decode image/jpeg of 7 bytes.*pairmill verify"):
        next(stream)
