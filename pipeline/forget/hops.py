"""What each hop's parts become without some samples: which files change, and what their record counts then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import Commit, stamp_of
from pipeline.errors import DatasetError
from pipeline.forget import tables, tars
from pipeline.forget.request import Removal
from pipeline.forget.select import read_some
from pipeline.ingest.fetch.raw import LOST_COMPANIONS
from pipeline.record import CANDIDATE, FETCHED, Status
from pipeline.shard.files import SHARDS, most_frequent
from pipeline.shard.order import ORDERED
from pipeline.shard.without import ShardFiles, shard_without
from pipeline.stage import Workspace
from pipeline.tombstones import blanked


@dataclass
class Rewritten:
    """What a part becomes: its changed files by their names in the dataset, and what its record says of them."""

    files: dict[str, Path] = field(default_factory=dict)
    rows_out: int | None = None
    counts: Mapping[str, int] | None = None
    facts: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Edit:
    """One part to rewrite: its record, what goes, and where to work. `nodes` as in `Rewrite`."""

    old: Commit
    removal: Removal
    work: Workspace
    nodes: Mapping[str, np.ndarray]

    @contextmanager
    def checked(self, name: str) -> Iterator[Path]:
        """A file of the part as a local one. Raises: DatasetError: it is not what the record says."""
        stamp = next(item for item in self.old.files if item.name == name)
        with self.work.dataset.fetched(name) as local:
            found = stamp_of(name, local)
            if found != stamp:
                raise DatasetError(
                    f"{self.work.dataset.url}/{name}: altered: sha256 {found.sha256[:16]}; wanted {stamp.sha256[:16]}. "
                    f"Delete commits/{self.old.stage}/{self.old.part}.json and run `pairmill curate`: the part is made "
                    "anew, without what is forgotten. Then run `pairmill forget` again."
                )
            yield local

    def scratch(self, name: str) -> Path:
        """Where the new file of that name is made."""
        return self.work.scratch / name.replace("/", "-")

    def parquet(self, name: str, edit: Callable[[pa.Table], pa.Table], schema: pa.Schema | None = None) -> Path:
        """A parquet file with every row group edited."""
        with self.checked(name) as old:
            tables.rewrite_parquet(old, self.scratch(name), edit, schema)
        return self.scratch(name)

    def read(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a file, those that it has."""
        return read_some(self.work.dataset, name, columns)

    @property
    def rows(self) -> np.ndarray:
        """Rows that go, of a part that lies row beside row with the raw part of its id; ascending."""
        return self.removal.of_part(self.old.part).column("row").to_numpy()


def rewritten(edit: Edit) -> Rewritten:
    """What a part becomes; nothing where it holds none of the samples."""
    stage = edit.old.stage
    if stage.startswith("score-"):
        return _scores(edit)
    return _HOPS.get(stage, _step)(edit)


def _candidates(edit: Edit) -> Rewritten:
    new, faults = Rewritten(), edit.old.counts.get("fault", 0)
    for name in (stamp.name for stamp in edit.old.files):
        table = edit.read(name, ("key", "fault"))
        mask = edit.removal.holds(table)
        if mask.any():
            faults += int((mask & table.column("fault").is_null().to_numpy()).sum())
            new.files[name] = edit.parquet(
                name, lambda rows: blanked(rows.cast(CANDIDATE), edit.removal.holds(rows)), CANDIDATE
            )
    new.counts = {**edit.old.counts, "fault": faults}
    return new


def _raw(edit: Edit) -> Rewritten:
    rows, name = edit.rows, edit.old.file(".parquet")
    if not len(rows):
        return Rewritten()
    local = edit.parquet(name, lambda table: tables.fetched_without(table, rows), FETCHED)
    after = pq.read_table(local, columns=["outcome", "stored_companions"])
    counts = dict(sorted(Counter(after.column("outcome").to_pylist()).items()))
    new = Rewritten({name: local}, counts.get(Status.SUCCESS, 0), counts, dict(edit.old.facts))
    stats = edit.old.file("_stats.json")
    with edit.checked(stats) as old:
        edit.scratch(stats).write_bytes(tables.stats_without(old.read_bytes(), counts))
    new.files[stats] = edit.scratch(stats)
    before = edit.read(name, ("key", "tar_offset")).take(rows)
    stored = set(before.filter(before.column("tar_offset").is_valid()).column("key").to_pylist())
    if stored:
        new.files[edit.old.file(".tar")] = _wiped(edit, stored)
    if LOST_COMPANIONS in edit.old.facts:
        new.facts = {**edit.old.facts, LOST_COMPANIONS: _lost(after.column("stored_companions"))}
    return new


def _wiped(edit: Edit, stored: set[str]) -> Path:
    """The raw tar with nothing of the samples in their places."""
    tar = edit.old.file(".tar")
    with edit.checked(tar) as old:
        found = list(tars.gaps(old, stored))
        if {gap.key for gap in found} != stored:
            missing = min(stored - {gap.key for gap in found})
            raise DatasetError(
                f"{edit.work.dataset.url}/{tar}: does not hold {missing}, which its parquet places there. "
                f"Delete commits/fetch/{edit.old.part}.json, run `pairmill curate`, and forget again."
            )
        tars.wiped(old, edit.scratch(tar), found)
    return edit.scratch(tar)


def _lost(stored: pa.ChunkedArray) -> dict[str, int]:
    failed = (item["outcome"] for row in stored.to_pylist() for item in row or () if item["outcome"] != Status.SUCCESS)
    return dict(sorted(Counter(failed).items()))


def _verdicts(edit: Edit) -> Rewritten:
    rows, name = edit.rows, edit.old.file(".parquet")
    if not len(rows):
        return Rewritten()
    local = edit.parquet(name, lambda table: tables.judged_without(table, rows))
    after = pq.read_table(local, columns=["keep", "dropped_by"])
    reasons = Counter(after.column("dropped_by").drop_null().to_pylist())
    return Rewritten({name: local}, pc.sum(after.column("keep")).as_py() or 0, dict(sorted(reasons.items())))


def _scores(edit: Edit) -> Rewritten:
    rows, new = edit.rows, Rewritten(counts=dict(edit.old.counts))
    if not len(rows):
        return new
    for name in (stamp.name for stamp in edit.old.files):
        if name.endswith(".npy"):
            with edit.checked(name) as old:
                tables.npy_without(old, edit.scratch(name), rows)
            new.files[name] = edit.scratch(name)
        else:
            new.files[name] = edit.parquet(name, lambda table: tables.nulled(table, rows))
    if "scored" in edit.old.counts:
        was = edit.removal.of_part(edit.old.part).column("was").to_pylist()
        new.counts = {**edit.old.counts, "scored": edit.old.counts["scored"] - was.count(Status.SUCCESS)}
    return new


def _order(edit: Edit) -> Rewritten:
    """Rows of one raw part on their way into shards; what was kept and is in no split goes too."""
    name = edit.old.file(".parquet")
    here = _places(edit, name)
    if not here.any():
        return Rewritten()
    kept = pc.sum(edit.removal.of_part(edit.old.part).column("kept")).as_py() or 0
    counts = Counter(edit.old.counts)
    counts["not_kept"] += kept
    counts["bad_split"] -= kept - int(here.sum())
    local = edit.parquet(name, lambda table: tables.emptied(table, edit.removal.holds(table)), ORDERED)
    return Rewritten({name: local}, edit.old.rows_out - int(here.sum()), dict(counts))


def _sort(edit: Edit) -> Rewritten:
    name = edit.old.file(".parquet")
    here = _places(edit, name)
    counts, scattered = dict(edit.old.counts), _scattered(edit)
    if not len(scattered) and not here.any():
        return Rewritten()
    distinct = len(scattered.unique())
    for reason, rows in {
        "duplicate_key": len(scattered) - distinct,
        "in_earlier_shards": distinct - int(here.sum()),
    }.items():
        if reason in counts:
            counts[reason] -= rows
    new = Rewritten({}, edit.old.rows_out - int(here.sum()), counts)
    if here.any():
        new.files[name] = edit.parquet(name, lambda table: tables.emptied(table, edit.removal.holds(table)))
    return new


def _scattered(edit: Edit) -> pa.ChunkedArray:
    """Keys of the samples that the parts sent into this bucket."""
    found = [pa.array([], pa.string())]
    for part in edit.removal.parts:
        name = f"shuffle/order/scatter/{part}.parquet"
        if edit.work.dataset.exists(name):
            with edit.work.dataset.open(name) as stream:
                table = pq.ParquetFile(stream).read_row_group(int(edit.old.part), columns=["key", "raw_tar"])
            there = edit.removal.holds(table) & table.column("raw_tar").is_valid().to_numpy()
            found += table.column("key").filter(pa.array(there)).chunks
    return pa.chunked_array(found)


def _places(edit: Edit, name: str) -> np.ndarray:
    """Which rows of a table on its way into shards go, and have not gone before, [rows] bool."""
    table = edit.read(name, ("key", "raw_tar"))
    return edit.removal.holds(table) & table.column("raw_tar").is_valid().to_numpy()


def _shard(edit: Edit) -> Rewritten:
    tar = edit.old.file(".tar")
    rows = edit.removal.rows_of_shard(tar.removeprefix(f"{SHARDS}/"))
    if not len(rows):
        return Rewritten()
    index, stats = edit.old.file(".parquet"), edit.old.file("_stats.json")
    with edit.checked(tar) as old_tar, edit.checked(index) as old_index, edit.checked(stats) as old_stats:
        old = ShardFiles(old_tar, old_index, old_stats)
        new = ShardFiles(edit.scratch(tar), edit.scratch(index), edit.scratch(stats))
        left = shard_without(old, new, rows)
    facts = {**edit.old.facts, **({"licence": most_frequent(left.licences)} if "licence" in edit.old.facts else {})}
    return Rewritten({tar: new.tar, index: new.index, stats: new.stats}, left.samples, facts=facts)


def _step(edit: Edit) -> Rewritten:
    """Tables of a global step: rows by key, by part and row, and by values that no row has any more."""
    new = Rewritten()
    nodes = next((found for step, found in edit.nodes.items() if _is_of(edit.old.stage, step)), np.zeros(0, np.uint64))
    for name in (stamp.name for stamp in edit.old.files):
        if name.startswith("shuffle/") and name.endswith(".parquet"):
            table = edit.read(name, ("key", "part", "row", *tables.NODES))
            if table.num_columns and tables.meant(table, edit.removal, nodes).any():
                new.files[name] = edit.parquet(
                    name, lambda rows: rows.filter(pa.array(~tables.meant(rows, edit.removal, nodes)))
                )
    return new


def _is_of(stage: str, step: str) -> bool:
    return stage.replace("-", "_").startswith(f"{step}_")


_HOPS: Mapping[str, Callable[[Edit], Rewritten]] = {
    "ingest": _candidates,
    "fetch": _raw,
    "judge": _verdicts,
    "order": _order,
    "sort": _sort,
    "cut": _shard,
}
