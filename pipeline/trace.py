"""A sample's life in a dataset: the row of the list, the fetch, every score, the verdict, the shard and its bytes.

Takes a key, a URL or the sha256 of a body; gives one life per sample that it names, as JSON-like facts. Files are
scanned by the few columns that name rows, many at a time; of what is found, only its own rows are read whole. What was
forgotten has a life too: its key, where it lay, and the request that took it out.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import Commit, read_commits
from pipeline.errors import AskedWrongly, RecipeError
from pipeline.filter.verdicts.expression.parse import ExpressionError
from pipeline.filter.verdicts.expression.render import render
from pipeline.filter.verdicts.rules import VerdictConfig
from pipeline.forget.request import Removal, locate, read_requests
from pipeline.forget.select import Selectors, in_threads, read_some, select
from pipeline.recipe import check
from pipeline.record import CANDIDATE, FETCHED
from pipeline.shard.manifest import MANIFEST, read_manifest
from pipeline.store import Store

_FETCHED = [item.name for item in FETCHED if item.name not in CANDIDATE.names or item.name == "url"]
_LISTED = ["source", "source_id", "medium", "url", "texts", "split", "hash", "fault", "meta"]
_IN_SHARD = ["offset", "size", "member", "media_offset", "media_size", "media_sha256", "weight"]

Facts = dict[str, Any]


@dataclass(frozen=True)
class Traced:
    """The lives of some samples, by key, and where these lie."""

    lives: list[Facts]
    removal: Removal


def trace(dataset: Store, selectors: Selectors) -> Traced:
    """The lives of the samples that `selectors` name, by key.

    Raises: AskedWrongly: a key is unknown, or nothing is named by the URL or hash.
    """
    selected = select(dataset, selectors.checked())
    keys = sorted({*selected.keys.to_pylist(), *selected.forgotten_before})
    if not keys:
        raise AskedWrongly(f"{dataset.url}: holds no sample of that URL or hash. Correct it, or give a key.")
    removal = locate(dataset, pa.array(keys, pa.string()))
    listed = _listed(dataset, removal.keys)
    return Traced([_life(dataset, key, removal, listed.get(key, [])) for key in keys], removal)


def _life(dataset: Store, key: str, removal: Removal, listed: list[Facts]) -> Facts:
    rows = [row for row in removal.samples.to_pylist() if row["key"] == key]
    life: Facts = {"key": key, "listed": listed, "fetched": [], "shards": [], "forgotten": _forgotten(dataset, key)}
    for row in rows:
        if row["part"] is not None:
            life["fetched"].append(_fetched(dataset, row["part"], row["row"]))
    for shard, place in sorted({(row["shard"], row["shard_row"]) for row in rows if row["shard"] is not None}):
        life["shards"].append(_in_shard(dataset, shard, place))
    return life


def _listed(dataset: Store, keys: pa.Array) -> dict[str, list[Facts]]:
    """Key -> the rows of the list that bear it."""
    files = [
        (commit.facts.get("list", part), stamp.name)
        for part, commit in read_commits(dataset, "ingest").items()
        for stamp in commit.files
    ]

    def rows_of(item: tuple[str, str]) -> list[Facts]:
        found = pc.is_in(read_some(dataset, item[1], ("key",)).column("key"), value_set=keys)
        places = pc.indices_nonzero(found)
        if not len(places):
            return []
        rows = read_some(dataset, item[1], ("key", *_LISTED)).take(places).to_pylist()
        return [
            {"list": item[0], "part": item[1], "row": place, **row}
            for place, row in zip(places.to_pylist(), rows, strict=True)
        ]

    by_key: dict[str, list[Facts]] = {}
    for rows in in_threads(rows_of, files):
        for row in rows:
            by_key.setdefault(row.pop("key"), []).append(_said(row))
    return by_key


def _fetched(dataset: Store, part: str, row: int) -> Facts:
    """What became of one row: its record, its scores, its verdict."""
    record = _row(dataset, f"raw/{part}.parquet", row, _FETCHED)
    scores = {}
    for stage in dataset.folders("commits"):
        name = f"scores/{stage.removeprefix('score-')}/{part}.parquet"
        if stage.startswith("score-") and part in read_commits(dataset, stage):
            scores[stage.removeprefix("score-")] = _row(dataset, name, row)
    place = {"part": part, "row": row, "tar": f"raw/{part}.tar" if "tar_offset" in record else None}
    return {**_said(place), **record, "scores": scores, "verdict": _verdict(dataset, part, row)}


def _verdict(dataset: Store, part: str, row: int) -> Facts | None:
    """The verdict on a row, with the rule that it fell to as the recipe has it."""
    judged: Commit | None = read_commits(dataset, "judge").get(part)
    if judged is None:
        return None
    verdict = _row(dataset, judged.file(".parquet"), row)
    rule = _rules(dataset).get(verdict.get("dropped_by", ""))
    return {**verdict, **({"rule": rule} if rule else {})}


def _rules(dataset: Store) -> dict[str, str]:
    """Name -> condition of the rules of the recipe; none of a rule set whose file is gone."""
    try:
        settings = json.loads(dataset.read_bytes("dataset.json"))["recipe"]["verdict"]
        config = check(VerdictConfig, settings, where=f"{dataset.url}/dataset.json")
        return {rule.name: rule.keep or render(rule.condition()) for rule in config.all_rules()}
    except (KeyError, ValueError, RecipeError, ExpressionError):
        return {}


def _in_shard(dataset: Store, shard: str, row: int) -> Facts:
    """Where a sample lies: its tar, the bytes of all its members, those of its medium, its position in the split."""
    index = f"shards/{shard.removesuffix('.tar')}.parquet"
    found = _row(dataset, index, row, _IN_SHARD)
    split = shard.split("/")[0]
    place: Facts = {"tar": f"shards/{shard}", "split": split, "row": row, **found}
    if dataset.exists(MANIFEST):
        before = itertools.takewhile(lambda entry: entry.name != shard, read_manifest(dataset).splits[split].shards)
        place["position"] = sum(entry.samples for entry in before) + row
    return place


def _forgotten(dataset: Store, key: str) -> list[Facts]:
    """The requests that took a sample out, with where it lay as they were made."""
    found = []
    for request in read_requests(dataset):
        asked = {"request": request.id, "asked_at": request.asked_at, "is_done": request.is_done}
        samples = request.removal.samples
        for row in samples.filter(pc.equal(samples.column("key"), key)).to_pylist():
            found.append({**asked, **_said(row)})
    return found


def _row(dataset: Store, name: str, row: int, columns: list[str] | None = None) -> Facts:
    """What one row of a file says."""
    with dataset.open(name) as stream:
        file = pq.ParquetFile(stream)
        names = [item for item in columns or file.schema_arrow.names if item in file.schema_arrow.names]
        said = file.read(columns=names, use_threads=False).slice(row, 1).to_pylist()[0]
    return _said({name: value for name, value in said.items() if columns is not None or name != "key"})


def _said(row: Facts) -> Facts:
    return {name: value for name, value in row.items() if value is not None}
