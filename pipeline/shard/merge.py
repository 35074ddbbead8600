"""One dataset out of several: their shards, byte for byte, under new numbers and a manifest of their own.

    A/shards/train/00000.tar, B/shards/train/00000.tar  --Merge-->  OUT/shards/train/00000.tar, 00001.tar

The shards of a split follow one another as their datasets do. A bucket copies them by itself, a folder may link them;
what passes through here is hashed on its way. A key that several of the datasets hold ends the merge, or stays in the
first of them: then a shard that loses samples is written anew, and all others stay as they are. Running again goes on,
and takes in datasets that were added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pipeline.commit import read_commits
from pipeline.engine import Engine
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.shard.cut import Cut
from pipeline.shard.key_log import KeyLog, hashes_of, keys_of
from pipeline.shard.manifest import Manifest, Merged, read_manifest
from pipeline.shard.merge_stage import By, Merge, SourceShard
from pipeline.shard.publish import Publish
from pipeline.shard.survey import Survey, refusals
from pipeline.shard.write import make_shards
from pipeline.store import Store

_FORMAT = 1
_SHOWN = 5
Duplicates = Literal["refuse", "first"]


def merge(
    engine: Engine, urls: Sequence[str], name: str, *, duplicates: Duplicates = "refuse", by: By = "copy"
) -> Manifest:
    """Bring the engine's dataset to hold what the datasets at `urls` hold, in their order.

    Raises: AskedWrongly: the folder is another dataset, or a key is in two of the datasets and they are to be refused.
        DatasetError: a dataset is not finished, or not what its manifest says.
    """
    sources = [Store(url) for url in urls]
    manifests = [read_manifest(source) for source in sources]
    if by == "link" and not (engine.dataset.is_local and all(source.is_local for source in sources)):
        raise AskedWrongly("--by link: files are linked on one machine alone; buckets copy by themselves: --by copy.")
    shards = _shards(manifests)
    twice = _twice(engine, sources, shards)
    if duplicates == "refuse" and twice:
        raise AskedWrongly(_told_of(twice, sources, shards))
    dropped: dict[int, list[int]] = {}
    for _, number, row, _ in twice:
        dropped.setdefault(number, []).append(row)
    shards = [replace(shard, drop=tuple(sorted(dropped.get(i, ())))) for i, shard in enumerate(shards)]
    _claim(engine.dataset, name, sources, manifests)
    return _bring_over(engine, Merge([_address(source) for source in sources], by), name, manifests, shards)


def _bring_over(
    engine: Engine, stage: Merge, name: str, manifests: Sequence[Manifest], shards: Sequence[SourceShard]
) -> Manifest:
    left = [shard for shard in shards if shard.samples]
    first = np.cumsum([0, *(len(manifest.generations) for manifest in manifests)]).tolist()
    numbers: dict[str, int] = {}
    counts: dict[int, dict[str, int]] = {}
    parts = []
    for shard in left:
        index, generation = numbers.get(shard.split, 0), first[shard.source] + shard.generation
        numbers[shard.split] = index + 1
        of_split = counts.setdefault(generation, {})
        of_split[shard.split] = of_split.get(shard.split, 0) + 1
        parts.append(stage.part(shard, index, generation, manifests[shard.source].name))
    make_shards(engine, stage, parts)
    generations, sources = [], []
    for source, manifest in enumerate(manifests):
        samples = sum(shard.samples for shard in left if shard.source == source)
        sources.append(Merged(manifest.name, manifest.fingerprint(), samples))
        for number, generation in enumerate(manifest.generations):
            named = generation.dataset or manifest.name
            generations.append(replace(generation, shards=counts.get(first[source] + number, {}), dataset=named))
    publish = Publish(name, generations, sources)
    engine.run(publish, [publish.part([part.id for part in parts], _refused(stage.urls))])
    return read_manifest(engine.dataset)


def _shards(manifests: Sequence[Manifest]) -> list[SourceShard]:
    """All shards in the order of the merged dataset: split by split, dataset by dataset."""
    found = []
    for split in sorted({name for manifest in manifests for name in manifest.splits}):
        for source, manifest in enumerate(manifests):
            if split in manifest.splits:
                of = [i for i, item in enumerate(manifest.generations) for _ in range(item.shards.get(split, 0))]
                entries = manifest.splits[split].shards
                if len(of) != len(entries):
                    raise DatasetError(f"{manifest.name}: the manifest contradicts itself. Verify that dataset.")
                found += [SourceShard(source, split, entry, of[i]) for i, entry in enumerate(entries)]
    return found


_Twice = tuple[str, int, int, int]
"""A key that is there already: key, number of the shard, row, and number of the shard that has the first."""


def _twice(engine: Engine, sources: Sequence[Store], shards: Sequence[SourceShard]) -> list[_Twice]:
    """Keys that more than one shard holds; the first is that of the first dataset, whatever its split."""
    order = sorted(range(len(shards)), key=lambda number: (shards[number].source, number))
    addresses = [_address(source) for source in sources]
    items = [(number, addresses[shards[number].source], shards[number].entry.index) for number in order]
    with KeyLog() as keys:
        for number, hashes in engine.each("keys", _hashes, items):
            keys.add(number, hashes)
        suspects = keys.suspects()
    first: dict[str, int] = {}
    found = []
    for number in (number for number in order if number in suspects):
        listed = keys_of(sources[shards[number].source], shards[number].entry.index)
        for row, (key, value) in enumerate(zip(listed, hashes_of(listed).tolist(), strict=True)):
            if value in suspects[number]:
                if key in first:
                    found.append((key, number, row, first[key]))
                first.setdefault(key, number)
    return found


def _address(source: Store) -> str:
    """Where workers with other working folders find it."""
    return source.root if source.is_local else source.url


def _hashes(_: Store, item: tuple[int, str, str]) -> tuple[int, np.ndarray]:
    number, url, index = item
    return number, hashes_of(keys_of(Store(url), index))


def _told_of(twice: Sequence[_Twice], sources: Sequence[Store], shards: Sequence[SourceShard]) -> str:
    def place(number: int) -> str:
        return f"{sources[shards[number].source].url}/{shards[number].entry.tar}"

    shown = "; ".join(f"{key} is in {place(first)} and in {place(number)}" for key, number, _, first in twice[:_SHOWN])
    more = f"; and {len(twice) - _SHOWN:,} more" if len(twice) > _SHOWN else ""
    return (
        f"{len(twice):,} samples have a key that another has: {shown}{more}. Wanted each key once: merge with "
        "--duplicates first to keep the sample of the dataset that is named first."
    )


def _claim(dataset: Store, name: str, sources: Sequence[Store], manifests: Sequence[Manifest]) -> None:
    """Write dataset.json, or refuse a folder that is another dataset."""
    if dataset.exists("dataset.json"):
        there = json.loads(dataset.read_bytes("dataset.json"))
        if there.get("name") != name or "merged" not in there:
            raise AskedWrongly(
                f"{dataset.url}: holds the dataset {there.get('name')!r}, which is no merge called {name!r}. "
                "Name another folder, or delete this one."
            )
    elif read_commits(dataset, Cut.name):
        raise AskedWrongly(f"{dataset.url}: holds shards, and no dataset.json. Name another folder.")
    merged = [
        {"name": manifest.name, "url": source.url, "manifest_sha256": manifest.fingerprint()}
        for source, manifest in zip(sources, manifests, strict=True)
    ]
    card = {"format": _FORMAT, "name": name, "merged": merged, "recipe": {}}
    dataset.put_bytes("dataset.json", json.dumps(card, indent=1, sort_keys=True).encode())


def _refused(urls: Sequence[str]) -> dict[str, Any]:
    """The refusals of all datasets together, where all of them still say."""
    surveyed = [list(read_commits(Store(url), Survey.name).values()) for url in urls]
    if not all(surveyed):
        return {}
    return {"refused": refusals(commit for commits in surveyed for commit in commits)}
