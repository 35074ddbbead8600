"""A request to forget, as it is committed before anything is touched: from then on its tombstones hold.

    forgotten/00000/tombstones.parquet    kind, value: what must not come back
    forgotten/00000/samples.parquet       where each sample lay: raw part and row, shard and row
    forgotten/00000/manifest.json         the manifest of the shards as they were, where there was one
    forgotten/00000/shards.json           once all is done: shard -> [sha256 before, sha256 after]
    commits/forget/00000.json             facts: when it was asked, how many selectors of each kind, whether all is done

Nothing in it says what the samples were: a key is a hash, of URLs there are digests, a condition is not kept.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import FORGET, Commit, publish, read_commit, read_commits, stamp_of, write_commit
from pipeline.errors import DatasetError
from pipeline.forget.select import Selected, Selectors, in_threads, read_some
from pipeline.recipe import digest_of
from pipeline.shard.manifest import MANIFEST
from pipeline.shard.publish import Publish
from pipeline.shuffle import local_parquet
from pipeline.stage import Made, scratch_folder
from pipeline.store import Store
from pipeline.tombstones import TOMBSTONE

FOLDER = "forgotten"
SAMPLES = pa.schema(
    [
        ("key", pa.string()),
        ("part", pa.string()),
        ("row", pa.int64()),
        ("was", pa.string()),
        ("kept", pa.bool_()),
        ("shard", pa.string()),
        ("shard_row", pa.int64()),
    ]
)
"""One row per row that bears a key. `part`, `row` are of the raw part, `was` its outcome there, `kept` the verdict;
`shard`, `shard_row` say where the sample lay as the request was made. Each is null where there was none."""


@dataclass(frozen=True)
class Removal:
    """The samples that a request takes out, and where they lie: `samples` as SAMPLES, sorted by key."""

    samples: pa.Table

    @cached_property
    def keys(self) -> pa.Array:
        """Each key once."""
        return self.samples.column("key").combine_chunks().unique()

    @cached_property
    def parts(self) -> list[str]:
        """The raw parts that hold some of them, sorted."""
        return sorted(self.samples.column("part").drop_null().unique().to_pylist())

    @cached_property
    def shards(self) -> list[str]:
        """The shards that hold some of them, by the names of their tars, sorted."""
        return sorted(self.samples.column("shard").drop_null().unique().to_pylist())

    @cached_property
    def places(self) -> np.ndarray:
        """Each raw row as (number of its part in `parts`) << 32 | row, ascending."""
        known = self.samples.filter(self.samples.column("part").is_valid())
        part = pc.index_in(known.column("part"), value_set=pa.array(self.parts, pa.string()))
        return np.unique(part.to_numpy().astype(np.int64) << 32 | known.column("row").to_numpy())

    def of_part(self, part: str) -> pa.Table:
        """Those of one raw part, by row."""
        return self.samples.filter(pc.equal(self.samples.column("part"), part)).sort_by("row")

    def rows_of_shard(self, shard: str) -> np.ndarray:
        """Rows of the index of a shard, ascending."""
        found = self.samples.filter(pc.equal(self.samples.column("shard"), shard)).column("shard_row")
        return np.unique(found.to_numpy())

    def holds(self, table: pa.Table) -> np.ndarray:
        """Which rows of a table with the column `key` are meant, [rows] bool."""
        return pc.is_in(table.column("key"), value_set=self.keys).to_numpy()


def locate(
    dataset: Store, keys: pa.Array, progress: Callable[[int, int], None] = lambda done, total: None
) -> Removal:
    """Where the samples of these keys lie: in raw parts, and in shards."""
    fetched, cut = read_commits(dataset, "fetch"), read_commits(dataset, "cut")
    raw = [commit.part for commit in fetched.values()]
    shards = [commit.file(".tar").removeprefix("shards/") for commit in cut.values()]
    total, found = len(raw) + len(shards), []
    for done, table in enumerate(in_threads(lambda part: _in_part(dataset, part, keys), raw), 1):
        found.append(table)
        progress(done, total)
    in_raw = pa.concat_tables([*found, SAMPLES.empty_table().select(["key", "part", "row", "was", "kept"])])
    found = []
    for done, table in enumerate(in_threads(lambda shard: _in_shard(dataset, shard, keys), shards), 1):
        found.append(table)
        progress(len(raw) + done, total)
    in_shards = pa.concat_tables([*found, SAMPLES.empty_table().select(["key", "shard", "shard_row"])])
    joined = pa.table({"key": keys}).join(in_raw, "key").join(in_shards, "key")
    order = [("key", "ascending"), ("part", "ascending"), ("row", "ascending")]
    return Removal(joined.select(SAMPLES.names).cast(SAMPLES).sort_by(order))


def _in_part(dataset: Store, part: str, keys: pa.Array) -> pa.Table:
    table = read_some(dataset, f"raw/{part}.parquet", ("key", "outcome"))
    at = np.flatnonzero(pc.is_in(table.column("key"), value_set=keys).to_numpy())
    kept = pa.nulls(len(at), pa.bool_())
    judged = read_commit(dataset, "judge", part) if len(at) else None
    if judged is not None:
        verdict = read_some(dataset, judged.file(".parquet"), ("keep",)).column("keep")
        kept = verdict.take(at) if len(verdict) == len(table) else kept
    found = table.take(at)
    columns = [found.column("key"), pa.array([part] * len(at), pa.string()), at, found.column("outcome"), kept]
    return pa.table(columns, names=["key", "part", "row", "was", "kept"])


def _in_shard(dataset: Store, shard: str, keys: pa.Array) -> pa.Table:
    table = read_some(dataset, f"shards/{shard.removesuffix('.tar')}.parquet", ("key",))
    at = np.flatnonzero(pc.is_in(table.column("key"), value_set=keys).to_numpy())
    columns = [table.column("key").take(at).cast(pa.string()), pa.array([shard] * len(at), pa.string()), at]
    return pa.table(columns, names=["key", "shard", "shard_row"])


@dataclass(frozen=True)
class Request:
    """A committed request."""

    dataset: Store
    commit: Commit

    @property
    def id(self) -> str:
        """Its number, which names its folder and its record."""
        return self.commit.part

    @property
    def is_done(self) -> bool:
        """Whether every part was rewritten."""
        return bool(self.commit.facts["done"])

    @property
    def asked_at(self) -> str:
        """When it was made, in UTC."""
        return str(self.commit.facts["asked_at"])

    @cached_property
    def removal(self) -> Removal:
        """What it takes out."""
        name = f"{FOLDER}/{self.id}/samples.parquet"
        return _read_removal(self.dataset, name, self.commit.made_by)

    @cached_property
    def shards(self) -> dict[str, list[str]]:
        """Shard -> sha256 before and after; of a request that is done."""
        return json.loads(self.dataset.read_bytes(f"{FOLDER}/{self.id}/shards.json"))


def read_requests(dataset: Store) -> list[Request]:
    """All requests of a dataset, in the order in which they were made."""
    return [Request(dataset, commit) for commit in read_commits(dataset, FORGET).values()]


def read_request(dataset: Store, number: str) -> Request:
    """One request. Raises: DatasetError: there is none of that number."""
    commit = read_commit(dataset, FORGET, number)
    if commit is None:
        raise DatasetError(f"{dataset.url}: request {number} to forget is gone. Bring back commits/{FORGET}.")
    return Request(dataset, commit)


@lru_cache(4)
def _read_removal(dataset: Store, name: str, made_by: str) -> Removal:
    """Read once per process; `made_by` tells one request from another of its number."""
    with dataset.open(name) as stream:
        return Removal(pq.read_table(stream))


def commit_request(dataset: Store, selectors: Selectors, selected: Selected, removal: Removal) -> Request:
    """Write a request down. Whatever it names is kept out of the dataset from now on."""
    number = f"{len(read_commits(dataset, FORGET)):05d}"
    rows = [(kind, value) for kind, values in sorted(selected.tombstones.items()) for value in values]
    table = pa.table([[kind for kind, _ in rows], [value for _, value in rows]], schema=TOMBSTONE)
    facts: dict[str, Any] = {"asked_at": datetime.now(UTC).isoformat(timespec="seconds"), "asked": _asked(selectors)}
    facts |= {"done": False, "told": _told(dataset)}
    with scratch_folder(dataset) as scratch:
        files = {
            f"{FOLDER}/{number}/tombstones.parquet": local_parquet(scratch, "tombstones.parquet", table),
            f"{FOLDER}/{number}/samples.parquet": local_parquet(scratch, "samples.parquet", removal.samples),
        }
        if dataset.exists(MANIFEST):
            files[f"{FOLDER}/{number}/manifest.json"] = scratch / "manifest.json"
            (scratch / "manifest.json").write_bytes(dataset.read_bytes(MANIFEST))
        rows_of = len(removal.samples)
        made = Made(files, rows_of, 0, {"samples": len(removal.keys), "shards": len(removal.shards)}, facts)
        return Request(dataset, publish(dataset, FORGET, number, digest_of([number, facts["asked_at"], rows]), made))


def commit_done(request: Request, shards: Mapping[str, list[str]]) -> Request:
    """Write down that all of a request is carried out."""
    name = f"{FOLDER}/{request.id}/shards.json"
    with tempfile.TemporaryDirectory(prefix="pairmill-") as temporary:
        local = Path(temporary) / "shards.json"
        local.write_text(json.dumps(dict(shards), indent=1, sort_keys=True) + "\n")
        stamp = stamp_of(name, local)
        request.dataset.put_file(local, name)
    files = (*(item for item in request.commit.files if item.name != name), stamp)
    done = replace(request.commit, files=files, facts={**request.commit.facts, "done": True})
    write_commit(request.dataset, done)
    return Request(request.dataset, done)


def _told(dataset: Store) -> Any:
    """What the card said of the stages before the shards, for the card that takes its place."""
    published = read_commit(dataset, Publish.name, "all")
    return None if published is None else published.facts.get("told")


def _asked(selectors: Selectors) -> dict[str, Any]:
    """How many selectors of each kind: what they say stands in the tombstones, as far as it may be kept."""
    found = {name: len(getattr(selectors, name)) for name in ("keys", "urls", "domains", "sha256")}
    return {**{name: number for name, number in found.items() if number}, **({"where": 1} if selectors.where else {})}

