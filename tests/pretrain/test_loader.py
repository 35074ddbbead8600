import io
import json
import logging
import os
import time
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import DatasetError
from pipeline.shard.reader import Example, ShardReader
from pretrain.data.stream import Stream
from pretrain.loader import DataConfig, LoaderConfig, Share, TrainLoader, choose_text, stand_ins
from pretrain.transform import AugmentConfig

AUGMENT = AugmentConfig(min_area_ratio=0.5, max_aspect=1.3, flip_prob=0.5)


class Letters:
    """A tokenizer of one id a word."""

    def rows(self, texts):
        return [[1, *(2 + sum(word.encode()) % 1000 for word in text.split()), 0] for text in texts]

    def padded(self, rows, multiple=1):
        width = -(-max(map(len, rows)) // multiple) * multiple
        return torch.tensor([row + [0] * (width - len(row)) for row in rows])


def loader(url, batch_size, rank=0, world=1, threads=2, **data):
    data = DataConfig(url=str(url), eval_split="validation", **{"text_pad_multiple": 16, **data})
    readers = [ShardReader(source.url, source.split) for source in data.sources()]
    stream, share = Stream(readers, data.stream(7, batch_size)), Share(rank, world, 16)
    config = LoaderConfig(threads=threads, batches_ahead=3)
    return TrainLoader(stream, Letters(), share, data=data, augment=AUGMENT, config=config)


def taken(made, count):
    batches = made.batches()
    found = list(islice(batches, count))
    batches.close()
    return found


def assert_same(left, right):
    assert left.keys == right.keys
    for name in ("images_BCHW", "tokens_BL", "image_ids_B", "text_ids_B"):
        assert torch.equal(getattr(left, name), getattr(right, name))


def test_batches_do_not_depend_on_threads_start_or_world(scenes):
    one, many = taken(loader(scenes, 12, threads=1), 16), taken(loader(scenes, 12, threads=4), 16)
    halves = [taken(loader(scenes, 12, rank, 2), 16) for rank in (0, 1)]
    for single, other, left, right in zip(one, many, *halves, strict=True):
        assert_same(single, other)
        assert single.keys == left.keys + right.keys
        for name in ("images_BCHW", "tokens_BL", "image_ids_B", "text_ids_B"):
            assert torch.equal(getattr(single, name), torch.cat([getattr(left, name), getattr(right, name)]))
        assert single.images_BCHW.shape == (12, 3, 16, 16)
        assert single.images_BCHW.dtype == torch.uint8
        assert single.num_broken == 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    per_rank=st.integers(1, 6),
    worlds=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    threads=st.integers(1, 3),
    stop=st.integers(0, 9),
    weights=st.sampled_from(["ignore", "repeat"]),
    buckets=st.sampled_from([None, 3]),
)
def test_a_stop_at_any_step_changes_nothing_at_any_world(scenes, per_rank, worlds, threads, stop, weights, buckets):
    """Saved at W ranks, gone on with at W': each step's global batch is that of a run that never stopped."""
    size, how = per_rank * 6, {"weights": weights, "text_buckets": buckets}
    whole = taken(loader(scenes, size, **how), stop + 3)
    before = [loader(scenes, size, rank, worlds[0], threads, **how) for rank in range(worlds[0])]
    for rank in before:
        taken(rank, stop)
    states = [json.dumps(rank.state()) for rank in before]
    assert len(set(states)) == 1
    after = [loader(scenes, size, rank, worlds[1], threads, **how) for rank in range(worlds[1])]
    for rank in after:
        rank.go_on(json.loads(states[0]))
    shares = [taken(rank, 3) for rank in after]
    for step, wanted in enumerate(whole[stop:]):
        assert wanted.keys == tuple(key for share in shares for key in share[step].keys)
        assert torch.equal(wanted.images_BCHW, torch.cat([share[step].images_BCHW for share in shares]))
        assert torch.equal(wanted.text_ids_B, torch.cat([share[step].text_ids_B for share in shares]))


def test_another_batch_size_goes_on_with_what_is_left_of_the_epoch(scenes):
    first, then = loader(scenes, 12), loader(scenes, 20)
    keys = [key for batch in taken(first, 5) for key in batch.keys]
    then.go_on(first.state())
    keys += [key for batch in taken(then, 5) for key in batch.keys]
    assert len(set(keys)) == len(keys) == 160


def test_batches_go_on_where_they_were_let_go(scenes):
    whole, parted = taken(loader(scenes, 12), 5), loader(scenes, 12)
    for left, right in zip(whole, taken(parted, 2) + taken(parted, 3), strict=True):
        assert_same(left, right)
    assert parted.waited_s > 0
    parted.go_on(24)
    assert_same(taken(parted, 1)[0], whole[2])


def test_another_epoch_gives_other_crops_and_other_texts(scenes):
    batches = taken(loader(scenes, 160), 2)
    order = [np.argsort(batch.keys, kind="stable") for batch in batches]
    assert sorted(batches[0].keys) == sorted(batches[1].keys)
    first, second = (batch.images_BCHW[torch.tensor(rows)] for batch, rows in zip(batches, order, strict=True))
    assert (first != second).flatten(1).any(dim=1).float().mean() > 0.9
    texts = [batch.text_ids_B[torch.tensor(rows)] for batch, rows in zip(batches, order, strict=True)]
    assert 0.1 < (texts[0] != texts[1]).float().mean() < 0.5


def test_the_same_file_has_the_same_id(scenes):
    assert len(set(taken(loader(scenes, 160), 1)[0].image_ids_B.tolist())) == 152


def test_a_mixture_gives_each_dataset_its_share(scenes, tmp_path, write_shards_to):
    write_shards_to(tmp_path, {"more": [(jpeg(number), "image/jpeg", ["other words"]) for number in range(30)]})
    mixture = [{"url": scenes, "weight": 3}, {"url": str(tmp_path), "split": "more", "weight": 1}]
    made = loader(scenes, 16, mixture=mixture)
    batches = taken(made, 20)
    of_second = {example.key for example in ShardReader(str(tmp_path), "more").read(range(30))}
    keys = [key for batch in batches for key in batch.keys]
    assert [sum(key in of_second for key in batch.keys) for batch in batches] == [4] * 20
    assert [place["epoch"] for place in made.state()["datasets"]] == [1, 2]
    first_epoch = [key for key in keys if key in of_second][:30]
    assert set(first_epoch) == of_second


def test_texts_are_padded_to_a_multiple(scenes):
    for batch in taken(loader(scenes, 12, text_pad_multiple=8), 4):
        assert batch.tokens_BL.shape[1] % 8 == 0
    lengths = {batch.tokens_BL.shape[1] for batch in taken(loader(scenes, 1, text_pad_multiple=1), 20)}
    assert lengths == {6, 7}


def jpeg(number):
    out = io.BytesIO()
    Image.effect_noise((40, 30), 10 + number).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def with_damage(folder, write_shards_to, broken):
    """Forty samples in four shards; `broken` names those whose bytes are torn."""
    bodies = [jpeg(number)[:60] if number in broken else jpeg(number) for number in range(40)]
    write_shards_to(folder, {"train": [(body, "image/jpeg", [f"number {n}"]) for n, body in enumerate(bodies)]}, 10)
    return [example.key for example in ShardReader(str(folder)).read(range(40))]


def test_a_broken_image_ends_the_stream_with_its_key(tmp_path, write_shards_to):
    write_shards_to(tmp_path, {"train": [(b"\xff\xd8 torn", "image/jpeg", ["a scene"])] * 4})
    with pytest.raises(DatasetError, match=r"sample \w{32}: cannot decode image/jpeg of 7 bytes.*pairmill verify"):
        taken(loader(tmp_path, 4), 1)


def test_a_sample_without_text_ends_the_stream_with_its_key(tmp_path, write_shards_to):
    write_shards_to(tmp_path, {"train": [(jpeg(0), "image/jpeg", [])] * 4})
    with pytest.raises(DatasetError, match=r"sample \w{32}: has no text, so no pair. Drop such rows"):
        taken(loader(tmp_path, 4), 1)


def test_broken_samples_are_skipped_counted_and_told(tmp_path, write_shards_to, caplog):
    keys = with_damage(tmp_path, write_shards_to, broken={3, 17, 21})
    made = loader(tmp_path, 10, broken="skip")
    with caplog.at_level(logging.WARNING):
        batches = taken(made, 8)
    assert sum(batch.num_broken for batch in batches) == 6
    seen = {key for batch in batches for key in batch.keys}
    assert seen == set(keys) - {keys[3], keys[17], keys[21]}
    assert len([record for record in caplog.records if "cannot decode" in record.message]) == 3
    sides = [taken(loader(tmp_path, 10, rank, 2, broken="skip"), 8) for rank in (0, 1)]
    for step, batch in enumerate(batches):  # where no stand-in came over from the other half, batches are the same
        assert batch.num_broken == sum(side[step].num_broken for side in sides)
        assert {key for side in sides for key in side[step].keys} == set(batch.keys)


@pytest.mark.parametrize("damage", ["tar gone", "tar cut", "index gone", "index of another"])
def test_a_broken_shard_is_skipped_and_named(tmp_path, write_shards_to, caplog, damage):
    keys = with_damage(tmp_path, write_shards_to, broken=())
    tar, index = (tmp_path / f"shards/train/00001.{suffix}" for suffix in ("tar", "parquet"))
    if damage == "tar cut":
        tar.write_bytes(tar.read_bytes()[:4096])
    elif damage == "index of another":
        index.write_bytes(index.with_name("00002.parquet").read_bytes())
    else:
        (tar if damage == "tar gone" else index).unlink()
    with pytest.raises(DatasetError, match=r"shards/train/00001\.(tar|parquet): .*copy shards/train/00001.tar"):
        taken(loader(tmp_path, 10), 4)
    with caplog.at_level(logging.WARNING):
        batches = taken(loader(tmp_path, 10, broken="skip"), 4)
    assert sum(batch.num_broken for batch in batches) == 10
    assert {key for batch in batches for key in batch.keys} == set(keys[:10] + keys[20:])
    assert len(caplog.records) == 1
    assert "00001" in caplog.records[0].message


def test_a_shard_that_hangs_is_skipped_until_it_answers(tmp_path, write_shards_to):
    keys = with_damage(tmp_path, write_shards_to, broken=())
    index = tmp_path / "shards/train/00001.parquet"
    body = index.read_bytes()
    index.unlink()
    os.mkfifo(index)  # opening it for reading waits for someone who writes
    made = loader(tmp_path, 20, threads=1, broken="skip", slow_s=0.3)
    batches = made.batches()
    epoch = list(islice(batches, 2))
    assert sum(batch.num_broken for batch in epoch) == 10
    assert {key for batch in epoch for key in batch.keys} == set(keys[:10] + keys[20:])
    index.with_suffix(".back").write_bytes(body)
    end_of_waiting = os.open(index, os.O_WRONLY)
    os.replace(index.with_suffix(".back"), index)
    os.close(end_of_waiting)
    seen, until = set(), time.monotonic() + 60
    while seen != set(keys) and time.monotonic() < until:
        seen |= set(next(batches).keys)
    assert seen == set(keys)
    batches.close()


def test_more_broken_samples_than_the_recipe_bears_end_the_run(scenes):
    made = loader(scenes, 4, broken="skip", max_broken=3)
    made.count_broken(3)
    assert made.state()["broken"] == 3
    with pytest.raises(DatasetError, match=r"4 broken samples, data.max_broken bears 3.*repair them"):
        made.count_broken(1)


def test_a_batch_without_a_whole_sample_is_told(tmp_path, write_shards_to):
    with_damage(tmp_path, write_shards_to, broken=set(range(40)))
    with pytest.raises(DatasetError, match="none of the 10 samples of a batch can be used"):
        taken(loader(tmp_path, 10, broken="skip"), 1)


@given(size=st.integers(1, 12), data=st.data())
def test_whole_samples_stand_in(size, data):
    broken = sorted(data.draw(st.sets(st.integers(0, size - 1), max_size=size - 1)))
    for row, other in zip(broken, stand_ins(broken, size), strict=True):
        between = range(row + 1, other) if other > row else [*range(row + 1, size), *range(other)]
        assert other not in broken
        assert set(between) <= set(broken)


def test_one_of_several_texts_is_chosen():
    example = Example("k", b"", "", 1, 1, ("one", "two", "three"), 1.0, 0)
    assert [choose_text(example, draw) for draw in (0.0, 0.34, 0.999)] == ["one", "two", "three"]
    assert choose_text(Example("k", b"", "", 1, 1, (), 1.0, 0), 0.5) is None


def test_settings_without_effect_are_refused():
    with pytest.raises(ValueError, match="slow_s has no effect while broken"):
        DataConfig(url="a", eval_split="b", slow_s=1.0)
    twice = [{"url": "a", "weight": 1}, {"url": "a", "weight": 2}]
    with pytest.raises(ValueError, match="mixture names one split twice"):
        DataConfig(url="a", eval_split="b", mixture=twice)
    with pytest.raises(ValueError, match="round them"):
        DataConfig(url="a", eval_split="b", mixture=[{"url": "a", "weight": 0.12345678}, {"url": "b", "weight": 1}])
