"""Positions in the shards of an earlier day, against a copy of the dataset that was kept from that day."""

import shutil

import pyarrow as pa

from pipeline.forget.carry_out import forget
from pipeline.forget.history import former_places, manifest_of
from pipeline.forget.request import locate
from pipeline.forget.select import Selectors, select
from pipeline.shard.manifest import read_manifest
from pipeline.shard.reader import ShardReader
from pipeline.store import Store

from .conftest import PROCESS, raw_rows


def places_today(dataset, split):
    reader = ShardReader(dataset.url, split)
    return {example.key: place for place, example in enumerate(reader.read(range(reader.num_samples)))}


def test_every_sample_is_found_where_it_lay(plain_world, copy_of, tmp_path):
    _, dataset = copy_of(plain_world)
    keys = [row["key"] for row in raw_rows(dataset)]
    days = []
    for numbers in ((3, 4, 21), (0, 26, 27, 28, 40), (5,), ()):
        shutil.copytree(dataset.url, tmp_path / f"day-{len(days)}")
        days.append((Store(str(tmp_path / f"day-{len(days)}")), read_manifest(dataset)))
        forget(dataset, Selectors(keys=tuple(keys[n] for n in numbers)), PROCESS)
    wanted = select(dataset, Selectors(keys=tuple(keys)))
    assert len(wanted.forgotten_before) == 9
    removal = locate(dataset, pa.array(sorted(keys)))
    for then, manifest in days:
        assert manifest_of(dataset, manifest.fingerprint()) == manifest
        for split in ("train", "validation"):
            found = former_places(dataset, manifest, split, removal)
            assert found.unknown == ()
            assert dict(found.places) == places_today(then, split)


def test_shards_that_were_cut_anew_are_named(plain_world, copy_of):
    world, dataset = copy_of(plain_world)
    manifest, keys = read_manifest(dataset), [row["key"] for row in raw_rows(dataset)]
    world.curate("shard.seed=1")
    found = former_places(dataset, manifest, "train", locate(dataset, pa.array(sorted(keys))))
    assert found.places == {}
    assert len(found.unknown) == len(manifest.splits["train"].shards)
