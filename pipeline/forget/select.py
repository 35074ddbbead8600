"""What to forget -> the samples that it names, by a scan of every file that says where its rows come from.

Takes keys, URLs, domains, hashes of bodies, and a condition on the columns of the record and the scores. Looks at
candidates, at the fetched record and at the indexes of shards, one file per thread at a time, so a dataset that was
merged from shards alone is searched too. Gives the keys: a sample is all that bears its key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.addresses import as_domain, as_url, url_digest
from pipeline.commit import Commit, read_commits
from pipeline.errors import AskedWrongly
from pipeline.filter.verdicts.expression.check import Expression, Kind, Known, compile_expression
from pipeline.filter.verdicts.expression.evaluate import Batch, passes
from pipeline.filter.verdicts.expression.parse import ExpressionError
from pipeline.filter.verdicts.expression.read import read_columns, values_of
from pipeline.record import CANDIDATE, FETCHED, Status
from pipeline.store import Store
from pipeline.tombstones import Tombstones, tombstones_of

THREADS = 16
"""Files that are read at once: of a bucket, most of the time is waiting."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WANTED = ("key", "url", "companions", "hash", "sha256", "media_sha256", "outcome", "fault")
"""Columns that are looked at, where a file has them."""
_TYPES = {name: CANDIDATE.field(name).type for name in ("key", "url", "companions", "hash")}
_MOST_HOSTS = 64
"""Hosts that a column is searched for before its URLs are taken apart one by one."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Selectors:
    """What is asked for; a sample that any of them names is meant."""

    keys: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    """Compared without scheme, fragment and the case of the host; a companion's URL counts as its sample's."""
    domains: tuple[str, ...] = ()
    """Each with all domains below it."""
    sha256: tuple[str, ...] = ()
    """Of bodies as they were received, or of media as they lie in shards."""
    where: str | None = None
    """A condition in the language of verdicts; the rows that it names are known by their keys afterwards."""

    def __bool__(self) -> bool:
        return bool(self.keys or self.urls or self.domains or self.sha256 or self.where)

    def checked(self) -> Selectors:
        """The same in the form in which they are compared. Raises: AskedWrongly: one is not what it says."""
        for url in self.urls:
            if as_url(url).raw_host is None:
                raise AskedWrongly(f"{url!r} is no URL; wanted one such as https://example.org/photo.jpg.")
        for domain in self.domains:
            if "/" in domain or not domain.strip(". "):
                raise AskedWrongly(f"{domain!r} is no domain; wanted one such as example.org, or a URL.")
        hashes = tuple(item.lower().removeprefix("sha256:") for item in self.sha256)
        for item in hashes:
            if _SHA256.fullmatch(item) is None:
                raise AskedWrongly(f"{item!r} is no sha256; wanted 64 hex digits.")
        return Selectors(self.keys, self.urls, tuple(as_domain(item) for item in self.domains), hashes, self.where)

    def tombstones(self) -> dict[str, list[str]]:
        """Kind -> values, in the form in which tombstones are stored."""
        urls = sorted({url_digest(as_url(url)).hex() for url in self.urls})
        named = {"key": self.keys, "domain": self.domains, "sha256": self.sha256}
        return {"url": urls, **{kind: sorted(set(values)) for kind, values in named.items()}}


def from_lines(lines: Iterable[str]) -> Selectors:
    """Selectors out of a list of keys, URLs and sha256, one per line; what `#` begins is a comment."""
    found: dict[str, list[str]] = {"keys": [], "urls": [], "sha256": []}
    for line in lines:
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        is_hash = _SHA256.fullmatch(entry.lower().removeprefix("sha256:")) is not None
        found["urls" if "://" in entry else "sha256" if is_hash else "keys"].append(entry)
    return Selectors(**{name: tuple(values) for name, values in found.items()})


@dataclass(frozen=True)
class Selected:
    """The keys that are meant, and what keeps their samples out: see `tombstones`.

    `forgotten_before` are keys that were asked for and are no longer there.
    """

    keys: pa.Array
    tombstones: Mapping[str, Sequence[str]]
    """Kind -> values. Keys of what was named by key or condition alone: a list that is numbered anew gives its keys to
    other samples. Hashes of bodies as they were received too, where they were named as they lie in shards."""
    forgotten_before: frozenset[str] = frozenset()


@dataclass
class _Search:
    """What each file is searched for."""

    wanted: Tombstones
    keys: pa.Array
    hosts: tuple[str, ...]
    bodies: pa.Array
    gone: set[str] = field(default_factory=set)
    received: set[str] = field(default_factory=set)


def select(
    dataset: Store, selectors: Selectors, progress: Callable[[int, int], None] = lambda done, total: None
) -> Selected:
    """The samples that `selectors`, checked, name.

    Raises: AskedWrongly: a key is in no file of the dataset; the condition does not fit the columns there are.
    """
    search = _search_of(selectors)
    condition = None if selectors.where is None else _condition(dataset, selectors.where)
    files = list(row_files(dataset))
    by_name = bool(selectors.keys or selectors.urls or selectors.domains or selectors.sha256)
    parts = list(read_commits(dataset, "fetch")) if condition is not None else []
    found: set[str] = set()
    for done, keys in enumerate(in_threads(lambda name: _keys_in(dataset, name, search), files if by_name else []), 1):
        found |= keys
        progress(done, len(files) + len(parts))
    _check_known(dataset, selectors, found | search.gone)
    of_condition: set[str] = set()
    for done, keys in enumerate(in_threads(lambda part: _keys_where(dataset, part, condition), parts), 1):
        of_condition |= keys
        progress(len(files) + done, len(files) + len(parts))
    tombstones = selectors.tombstones()
    tombstones["key"] = sorted(of_condition | found.intersection(selectors.keys))
    tombstones["sha256"] = sorted(search.received | set(selectors.sha256))
    return Selected(
        pa.array(sorted(found | of_condition), pa.string()), tombstones,
        frozenset(search.gone.intersection(selectors.keys) - found),
    )  # fmt: skip


def row_files(dataset: Store) -> Iterator[str]:
    """Names of the files whose rows say which URL they are of: candidates, fetched records, indexes of shards."""
    for stage in ("ingest", "fetch", "cut"):
        for commit in read_commits(dataset, stage).values():
            yield from (stamp.name for stamp in commit.files if stamp.name.endswith(".parquet"))


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """What `work` gives for each item, in order; a few items ahead are under way."""
    with ThreadPoolExecutor(THREADS) as pool:
        coming = [pool.submit(work, item) for item in items[: 2 * THREADS]]
        for place in range(len(items)):
            yield coming.pop(0).result()
            if place + 2 * THREADS < len(items):
                coming.append(pool.submit(work, items[place + 2 * THREADS]))


def read_some(dataset: Store, name: str, columns: Iterable[str]) -> pa.Table:
    """The columns that a parquet file has, of those named."""
    with dataset.open(name) as stream:
        file = pq.ParquetFile(stream)
        return file.read(columns=[item for item in columns if item in file.schema_arrow.names], use_threads=False)


def _search_of(selectors: Selectors) -> _Search:
    wanted = tombstones_of(selectors.tombstones())  # type: ignore[arg-type]
    hosts = {as_url(url).raw_host or "" for url in selectors.urls} | set(selectors.domains)
    return _Search(
        wanted, pa.array(selectors.keys, pa.string()), tuple(sorted(hosts)), pa.array(selectors.sha256, pa.string())
    )


def _keys_in(dataset: Store, name: str, search: _Search) -> set[str]:
    """Keys of the rows of one file that are meant; notes those that are forgotten already."""
    table = read_some(dataset, name, _WANTED)
    gone = _gone(table)
    if gone is not None:
        before = table.filter(gone)
        search.gone.update(before.filter(_is_in(before, "key", search.keys)).column("key").to_pylist())
        table = table.filter(pc.invert(gone))
    named = reduce(pc.or_, [_is_in(table, column, search.bodies) for column in ("sha256", "media_sha256")])
    if "media_sha256" in table.column_names:
        search.received.update(table.filter(named).column("sha256").drop_null().to_pylist())
    certain = table.filter(named).column("key").to_pylist()
    maybe = table.filter(_maybe(table, search))
    columns = [
        maybe.column(name) if name in maybe.column_names else pa.nulls(len(maybe), type_)
        for name, type_ in _TYPES.items()
    ]
    exact = search.wanted.names(pa.table(columns, names=list(_TYPES)))
    return {*certain, *maybe.column("key").filter(pa.array(exact)).to_pylist()}


def _maybe(table: pa.Table, search: _Search) -> pa.ChunkedArray:
    """Rows worth a second look: by whole columns, and missing none."""
    named = _is_in(table, "key", search.keys)
    if len(search.bodies) and "hash" in table.column_names:
        named = pc.or_(named, pc.is_valid(table.column("hash")))
    if not search.hosts:
        return named
    if len(search.hosts) > _MOST_HOSTS:
        return pc.or_(named, pc.is_valid(table.column("url")))
    url = table.column("url")
    by_host = [pc.match_substring(url, host, ignore_case=True) for host in search.hosts]
    by_host.append(pc.invert(pc.string_is_ascii(url)))  # a host in another script has an ASCII form too
    named = reduce(pc.or_, [named, *(pc.fill_null(item, False) for item in by_host)])
    return pc.or_(named, pc.is_valid(table.column("companions"))) if "companions" in table.column_names else named


def _is_in(table: pa.Table, column: str, values: pa.Array) -> pa.ChunkedArray:
    if column not in table.column_names or not len(values):
        return pa.chunked_array([pa.array(np.zeros(len(table), bool))])
    return pc.is_in(table.column(column), value_set=values)


def _gone(table: pa.Table) -> pa.ChunkedArray | None:
    """Rows that were forgotten before; None of a file that keeps no such rows."""
    for column in ("outcome", "fault"):
        if column in table.column_names:
            return pc.fill_null(pc.equal(table.column(column), Status.FORGOTTEN.value), False)
    return None


def _check_known(dataset: Store, selectors: Selectors, known: set[str]) -> None:
    unknown = [key for key in selectors.keys if key not in known]
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise AskedWrongly(
            f"{dataset.url}: holds no sample with the key {unknown[0]!r}{more}. Look it up by "
            "`pairmill trace --url`, or leave it out."
        )


def _condition(dataset: Store, text: str) -> Expression:
    """The condition, checked against the columns that lie in the dataset. Raises: AskedWrongly."""
    try:
        found = compile_expression(text, Kind.BOOLEAN, Known(_columns(dataset)))
    except ExpressionError as error:
        raise AskedWrongly(f"--where: {error.within(text)}") from None
    if found.wholes:
        raise AskedWrongly(
            f"--where: {found.wholes[0].key} is a number of the whole dataset, which changes as it is forgotten. Write "
            "the number itself; the report and dataset.json name it."
        )
    return found


def _columns(dataset: Store) -> Mapping[str, pa.Field]:
    fields = {f"record.{item.name}": item for item in FETCHED}
    for stage in dataset.folders("commits"):
        if stage.startswith("score-"):
            scorer = stage.removeprefix("score-")
            commit: Commit | None = next(iter(read_commits(dataset, stage).values()), None)
            if commit is not None:
                with dataset.open(commit.file(".parquet")) as stream:
                    fields |= {f"{scorer}.{item.name}": item for item in pq.read_schema(stream) if item.name != "key"}
    return fields


def _keys_where(dataset: Store, part: str, condition: Expression | None) -> set[str]:
    """Keys of the rows of one part that meet the condition and are not forgotten yet."""
    assert condition is not None
    table = read_columns(dataset, part, condition.columns, record=("key", "outcome"))
    keys = table.column("record.key").combine_chunks()
    batch = Batch(table.num_rows, values_of(table, condition.columns), {}, keys)
    there = pc.not_equal(table.column("record.outcome"), Status.FORGOTTEN.value).to_numpy()
    return set(keys.filter(pa.array(passes(condition.root, batch) & there)).to_pylist())
