"""Tombstones: what `pairmill forget` removed from a dataset, so that no later run brings it back.

    forgotten/<request>/tombstones.parquet    kind and value of each

A tombstone names a key, a URL, a domain with all below it, or the sha256 of a body. Of a URL only a digest is kept, by
which a candidate is known and from which nobody reads an address. A candidate that a tombstone names keeps its key, so
that every row of the list stays accounted for, and loses all else; it is never fetched. What a body's hash names is
dropped once it is received, and never written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.addresses import as_url, domains_of, url_digest
from pipeline.commit import FORGET, read_commits
from pipeline.record import CANDIDATE, Status
from pipeline.store import Store

TOMBSTONE = pa.schema([pa.field("kind", pa.string(), nullable=False), pa.field("value", pa.string(), nullable=False)])
"""`value` of a key and a domain is itself, of a `sha256` its hex digits, of a `url` those of `url_digest`."""
Kind = Literal["key", "url", "domain", "sha256"]
_STAYS = ("key", "source", "medium")
"""What a forgotten row still says."""


@dataclass(frozen=True)
class Tombstones:
    """All tombstones of a dataset; `keys` and `urls` are sorted digests of 16 bytes."""

    keys: np.ndarray
    urls: np.ndarray
    domains: frozenset[str] = frozenset()
    bodies: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(len(self.keys) or len(self.urls) or self.domains or self.bodies)

    def names(self, table: pa.Table) -> np.ndarray:
        """Which rows of a table with the columns key, url, companions and hash are named, [rows] bool."""
        named = _among(self.keys, map(_key_digest, table.column("key").to_pylist()), table.num_rows)
        if len(self.urls) or self.domains:
            named |= self._by_address(table)
        if self.bodies:
            promised = pa.array([f"sha256:{item}" for item in self.bodies])
            named |= pc.is_in(table.column("hash"), value_set=promised).to_numpy()
        return named

    def names_in_shard(self, index: pa.Table) -> np.ndarray:
        """Which samples of a shard are named, by the columns key, url and sha256 of its index, [rows] bool."""
        nothing = pa.nulls(len(index), CANDIDATE.field("companions").type)
        bodies = pc.binary_join_element_wise("sha256", index.column("sha256").cast(pa.string()), ":")
        columns = [index.column("key"), index.column("url"), nothing, bodies]
        return self.names(pa.table(columns, names=["key", "url", "companions", "hash"]))

    def without(self, table: pa.Table) -> pa.Table:
        """Candidates whose named rows keep their key alone."""
        return blanked(table, self.names(table)) if self else table

    def _by_address(self, table: pa.Table) -> np.ndarray:
        """Rows whose medium or whose companions lie at a named address."""
        named = self._addresses(table.column("url").to_pylist())
        for row, companions in enumerate(table.column("companions").to_pylist()):
            if companions:
                named[row] |= self._addresses([item["url"] for item in companions]).any()
        return named

    def _addresses(self, texts: list[str | None]) -> np.ndarray:
        urls = [as_url(text or "") for text in texts]
        named = _among(self.urls, map(url_digest, urls), len(urls))
        if self.domains:
            within = (any(domain in self.domains for domain in domains_of(url)) for url in urls)
            named |= np.fromiter(within, bool, len(urls))
        return named


def blanked(table: pa.Table, named: np.ndarray) -> pa.Table:
    """Candidates of which the rows `named` keep key, source and medium, and have `forgotten` for their fault."""
    if not named.any():
        return table
    mask = pa.array(named)
    instead = {"source_id": "", "fault": Status.FORGOTTEN.value}
    columns = []
    for item in CANDIDATE:
        column = table.column(item.name)
        if item.name not in _STAYS:
            column = pc.if_else(mask, pa.scalar(instead.get(item.name), item.type), column)
        columns.append(column)
    return pa.table(columns, schema=CANDIDATE)


def tombstones_of(values: Mapping[Kind, Iterable[str]]) -> Tombstones:
    """Tombstones by kind, in the form in which they are stored."""
    return Tombstones(
        _sorted(map(_key_digest, values.get("key", ()))),
        _sorted(map(bytes.fromhex, values.get("url", ()))),
        frozenset(values.get("domain", ())),
        frozenset(values.get("sha256", ())),
    )


def read_tombstones(dataset: Store) -> Tombstones:
    """All tombstones of a dataset; read once while no request is added."""
    requests = read_commits(dataset, FORGET)
    if not requests:
        return NO_TOMBSTONES
    remembered = dataset.memory.get("tombstones")
    if remembered is None or remembered[0] != list(requests):
        tables = []
        for commit in requests.values():
            with dataset.open(commit.file("/tombstones.parquet")) as stream:
                tables.append(pq.read_table(stream))
        remembered = (list(requests), tombstones_of(_by_kind(pa.concat_tables(tables))))
        dataset.memory["tombstones"] = remembered
    return remembered[1]


def _by_kind(table: pa.Table) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = {}
    for kind in ("key", "url", "domain", "sha256"):
        found[kind] = table.filter(pc.equal(table.column("kind"), kind)).column("value").to_pylist()
    return found


def _key_digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _sorted(digests: Iterable[bytes]) -> np.ndarray:
    return np.unique(np.array(list(digests), "S16"))


def _among(known: np.ndarray, digests: Iterable[bytes], rows: int) -> np.ndarray:
    """Which of `digests` are among the sorted `known`, [rows] bool."""
    if not len(known):
        return np.zeros(rows, bool)
    wanted = np.array(list(digests), "S16")
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return known[at] == wanted


NO_TOMBSTONES = tombstones_of({})
