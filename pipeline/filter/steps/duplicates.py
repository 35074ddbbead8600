"""Exact duplicates over the whole dataset: of a key, a medium (sha256 of the body), a pair (medium and texts), a URL.

Facts, not opinions: each fetched row learns how many rows share its key, medium, pair and URL, and its rank among them,
0 for the one to keep. URLs are compared letter by letter; a row without one is alone. The rank follows the key, a hash,
so it does not depend on how rows are spread over parts or on the order in which they were fetched. Writes
`scores/duplicates/00042.parquet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.commit import Commit
from pipeline.engine import Engine
from pipeline.filter.steps.facts import raw_rows
from pipeline.filter.steps.groups import groups, place
from pipeline.recipe import RecipeTable
from pipeline.record import Status
from pipeline.shuffle import (
    BUCKET_ROWS,
    Gather,
    Scatter,
    bucket_bits,
    gathered_rows_of,
    local_parquet,
    order_of,
    read_parquet,
    shuffle,
)
from pipeline.stage import Made, Part, Stage, Workspace

KINDS = ("key", "medium", "pair", "url")
COLUMNS = pa.schema([(f"{kind}_{fact}", pa.int64()) for kind in KINDS for fact in ("copies", "rank")])
"""`<kind>_copies`: rows that share it, this one included. `<kind>_rank`: 0 for the row that stands for them."""
KIND_KEY, KIND_MEDIUM, KIND_URL = range(3)
"""What is scattered by; pairs are told apart among the rows of a medium."""


class DuplicatesConfig(RecipeTable):
    """The `[score.duplicates]` table."""

    bucket_rows: int = Field(default=BUCKET_ROWS, ge=1)
    """Rows one worker compares at once; memory is about 300 bytes each. Never changes the result."""


class DuplicatesScatter(Scatter):
    """Up to three rows per fetched row: one to meet rows of the same key, of the same medium and of the same URL."""

    name: ClassVar[str] = "duplicates-scatter"
    version: ClassVar[int] = 2

    def rows(self, part: Part, work: Workspace) -> pa.Table:
        """key, part, row, what is compared (`value`), and for media the hash of the texts."""
        columns = ["key", "outcome", "sha256", "texts", "url"]
        table = read_parquet(work.dataset, f"raw/{part.id}.parquet", columns)
        row = pa.array(np.arange(table.num_rows, dtype=np.int64))
        table = table.append_column("row", row).filter(pc.equal(table.column("outcome"), Status.SUCCESS.value))
        of_url = table.filter(pc.is_valid(table.column("url")))
        pairs = [_text_hash(texts or []) for texts in table.column("texts").to_pylist()]
        no_pairs = [b""] * table.num_rows
        kinds = [
            _compared(part.id, table, KIND_KEY, "key", no_pairs),
            _compared(part.id, table, KIND_MEDIUM, "sha256", pairs),
            _compared(part.id, of_url, KIND_URL, "url", no_pairs[: of_url.num_rows]),
        ]
        return pa.concat_tables(kinds)


class DuplicatesGather(Gather):
    """Ranks the rows of each group; equal values have equal orders, so a group is whole inside one bucket."""

    name: ClassVar[str] = "duplicates-gather"
    version: ClassVar[int] = 2
    by_part: ClassVar[bool] = True

    def reduce(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """part, row, kind and the copies and rank within the key or medium, and within the pair."""
        by_key = [("key", "ascending"), ("part", "ascending"), ("row", "ascending")]
        table = table.sort_by([("kind", "ascending"), ("value", "ascending"), *by_key])
        copies, rank = groups(table, ("kind", "value"))
        table = table.append_column("copies", pa.array(copies)).append_column("rank", pa.array(rank))
        table = table.sort_by([("kind", "ascending"), ("value", "ascending"), ("pair", "ascending"), *by_key])
        pair_copies, pair_rank = groups(table, ("kind", "value", "pair"))
        columns = ["part", "row", "kind", "copies", "rank"]
        table = table.select(columns)
        table = table.append_column("pair_copies", pa.array(pair_copies))
        return table.append_column("pair_rank", pa.array(pair_rank)), {}


class DuplicatesStage(Stage):
    """Writes the facts back beside each raw part. Part: id = raw part, inputs = fetch commit and all buckets."""

    name: ClassVar[str] = "score-duplicates"
    version: ClassVar[int] = 2

    def __init__(self, gather: DuplicatesGather) -> None:
        self.gather = gather

    def make(self, part: Part, work: Workspace) -> Made:
        """Place the gathered facts of one part at their rows."""
        raw = raw_rows(work.dataset, part.id)
        keys, fetched = raw.column("key"), raw.column("fetched")
        found = gathered_rows_of(work.dataset, self.gather, part.id)
        by_key, by_medium, by_url = (
            found.filter(pc.equal(found.column("kind"), kind)) for kind in (KIND_KEY, KIND_MEDIUM, KIND_URL)
        )
        sources = {
            "key_copies": (by_key, "copies"),
            "key_rank": (by_key, "rank"),
            "medium_copies": (by_medium, "copies"),
            "medium_rank": (by_medium, "rank"),
            "url_copies": (by_url, "copies"),
            "url_rank": (by_url, "rank"),
            "pair_copies": (by_medium, "pair_copies"),
            "pair_rank": (by_medium, "pair_rank"),
        }
        columns = {name: place(*sources[name], len(keys)) for name in COLUMNS.names}
        for fact, alone in (("url_copies", 1), ("url_rank", 0)):  # fetched, but from no URL
            columns[fact] = pc.if_else(fetched, pc.fill_null(columns[fact], alone), None)
        local = local_parquet(work.scratch, "scores.parquet", pa.table({"key": keys} | columns))
        later = {kind: pc.sum(pc.greater(columns[f"{kind}_rank"], 0)).as_py() for kind in KINDS}
        counts = {f"{kind}_duplicates": int(number or 0) for kind, number in later.items()}
        return Made({f"scores/duplicates/{part.id}.parquet": local}, len(keys), len(keys), counts)


def find_duplicates(
    engine: Engine, config: DuplicatesConfig, fetched: dict[str, Commit]
) -> tuple[DuplicatesStage, list[Part]]:
    """Run the comparison over all fetched parts; returns the stage that writes back and its parts, to be run."""
    rows = sum(commit.counts.get(Status.SUCCESS.value, 0) for commit in fetched.values())
    scatter = DuplicatesScatter(bucket_bits(3 * rows, config.bucket_rows))
    parts = list(fetched)
    gather = DuplicatesGather(scatter, parts)
    buckets = shuffle(engine, scatter, [Part(part, (("fetch", part),)) for part in parts], gather)
    inputs = tuple((gather.name, bucket) for bucket in buckets)
    return DuplicatesStage(gather), [Part(part, (("fetch", part), *inputs)) for part in parts]


def _compared(part: str, table: pa.Table, kind: int, column: str, pairs: list[bytes]) -> pa.Table:
    """Rows of the scatter that meet others with the same `column`."""
    values, rows = table.column(column).to_pylist(), table.num_rows
    return pa.table(
        {
            "order": pa.array([order_of(value) for value in values], pa.uint64()),
            "key": table.column("key"),
            "part": pa.array([part] * rows, pa.string()),
            "row": table.column("row"),
            "kind": pa.array([kind] * rows, pa.int8()),
            "value": pa.array(values, pa.string()),
            "pair": pa.array(pairs, pa.binary()),
        }
    )


def _text_hash(texts: Sequence[dict[str, str | None]]) -> bytes:
    joined = "\0".join(text["text"] or "" for text in texts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()
