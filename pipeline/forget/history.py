"""Where samples lay in the shards of an earlier day, from what requests to forget wrote down.

A training run knows its shards by a manifest. Since then requests may have taken samples out of some of them, which
moved others up. Shards are followed by name and sha256 from what they were to what they are; one that was cut anew in
between cannot be followed, and then nobody can say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.forget.request import FOLDER, Removal, Request, read_requests
from pipeline.shard.manifest import MANIFEST, Manifest, ShardEntry, read_manifest
from pipeline.store import Store


@dataclass(frozen=True)
class FormerPlaces:
    """Where samples lay in one split: key -> position in [0, samples). `unknown`: shards that cannot be followed."""

    places: Mapping[str, int]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trail:
    """A shard of an earlier manifest: where its positions begin, what was taken out since, whether it still stands."""

    start: int
    requests: tuple[Request, ...]
    stands: bool


def former_places(dataset: Store, then: Manifest, split: str, removal: Removal) -> FormerPlaces:
    """Where the samples of `removal`, as they lie today or as they were forgotten, lay in a split of `then`."""
    requests = [request for request in read_requests(dataset) if request.is_done]
    now = {entry.name: entry.sha256 for entry in read_manifest(dataset).entries} if dataset.exists(MANIFEST) else {}
    trails, start = {}, 0
    for entry in then.splits[split].shards if split in then.splits else ():
        trails[entry.name] = _trail(entry, start, requests, now)
        start += entry.samples
    places: dict[str, int] = {}
    wanted = set(removal.keys.to_pylist())
    for key, shard, row in _shard_rows(removal):
        trail = trails.get(shard)
        if trail is not None and trail.stands:
            places[key] = trail.start + _before(row, trail.requests, shard)
    for shard, trail in trails.items():
        for number, request in enumerate(trail.requests):
            for key, name, row in _shard_rows(request.removal):
                if name == shard and key in wanted:
                    places[key] = trail.start + _before(row, trail.requests[:number], shard)
    return FormerPlaces(places, tuple(name for name, trail in trails.items() if not trail.stands))


def manifest_of(dataset: Store, fingerprint: str) -> Manifest | None:
    """The manifest with that fingerprint: today's, or one that a request to forget kept."""
    names = [f"{FOLDER}/{request.id}/manifest.json" for request in read_requests(dataset)]
    for name in (MANIFEST, *names):
        if dataset.exists(name):
            found = Manifest.from_json(dataset.read_bytes(name), f"{dataset.url}/{name}")
            if found.fingerprint() == fingerprint:
                return found
    return None


def _trail(entry: ShardEntry, start: int, requests: Iterable[Request], now: Mapping[str, str]) -> _Trail:
    sha256, since = entry.sha256, []
    for request in requests:
        before, after = request.shards.get(entry.name, (None, ""))
        if before == sha256:
            since.append(request)
            sha256 = after
    return _Trail(start, tuple(since), now.get(entry.name) == sha256)


def _before(row: int, requests: Sequence[Request], shard: str) -> int:
    """The row that a sample had before `requests`, of the row that it has after them."""
    for request in reversed(requests):
        for gone in request.removal.rows_of_shard(shard).tolist():
            row += gone <= row
    return row


def _shard_rows(removal: Removal) -> Iterable[tuple[str, str, int]]:
    """(key, shard, row) of those samples that lie in shards."""
    there = removal.samples.filter(removal.samples.column("shard").is_valid())
    return zip(*(there.column(name).to_pylist() for name in ("key", "shard", "shard_row")), strict=True)

