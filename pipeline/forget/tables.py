"""Tables without some of their rows: what each hop's parquet and numpy files become when samples are forgotten.

Where files of several hops lie row beside row (candidates, raw, scores, verdicts) a row stays, with its key and nothing
else, so that every row of the list is accounted for and no other moves. What was sorted for shards keeps its place too,
so that the plan of the shards stands. Elsewhere the row goes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.forget.request import Removal
from pipeline.ingest.fetch.dialect import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE, SUCCESS, their_message, their_status
from pipeline.record import Status

NODES = ("node", "other", "hash")
"""Columns of global steps that name what rows are compared by: a perceptual hash, or the hash of a text."""
_SORTED_STAYS = ("order", "key", "split", "tar_bytes")
"""What a place in the order of shards still says: enough for the plan, and nothing of the sample."""


def rewrite_parquet(old: Path, new: Path, edit: Callable[[pa.Table], pa.Table], schema: pa.Schema | None) -> None:
    """Write `new` from `old`, row group by row group: a scatter finds its buckets by their number.

    Args:
        schema: that of the record, where the file is of a hop; a file gives back other names for the items of lists.
    """
    with pq.ParquetFile(old) as file:
        schema = file.schema_arrow if schema is None else schema
        with pq.ParquetWriter(new, schema, compression="zstd") as writer:
            for group in range(file.num_row_groups):
                table = edit(file.read_row_group(group)).cast(schema)
                writer.write_table(table, row_group_size=max(table.num_rows, 1))


def fetched_without(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """A raw part's record whose `rows` (numbers) are forgotten, as a fetch that knew the tombstones writes it."""
    mask = np.zeros(table.num_rows, bool)
    mask[rows] = True
    outcome = Status.FORGOTTEN.value
    said: dict[str, Any] = {
        "source_id": "",
        "fault": outcome,
        "outcome": outcome,
        "status": their_status(outcome),
        "error_message": their_message(outcome, None),
    }
    columns = []
    for item in table.schema:
        column = table.column(item.name)
        if item.name == "uid":
            column = pc.if_else(pa.array(mask), table.column("key"), column)
        elif item.name not in ("key", "source", "medium"):
            column = pc.if_else(pa.array(mask), pa.scalar(said.get(item.name), item.type), column)
        columns.append(column)
    return pa.table(columns, schema=table.schema)


def stats_without(stats: bytes, outcomes: Mapping[str, int]) -> bytes:
    """The stats of a raw part by its outcomes of now; its clock stays."""
    theirs: Counter[str] = Counter()
    for outcome, rows in outcomes.items():
        theirs[their_status(outcome)] += rows
    said = json.loads(stats)
    said |= {
        "successes": theirs[SUCCESS],
        "failed_to_download": theirs[FAILED_TO_DOWNLOAD],
        "failed_to_resize": theirs[FAILED_TO_RESIZE],
        "status_dict": dict(sorted(outcomes.items())),
    }
    return json.dumps(said, indent=4).encode()


def nulled(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Scores of which `rows` say nothing but the key."""
    mask = np.zeros(table.num_rows, bool)
    mask[rows] = True
    columns = [
        table.column(item.name)
        if item.name == "key"
        else pc.if_else(pa.array(mask), pa.scalar(None, item.type), table.column(item.name))
        for item in table.schema
    ]
    return pa.table(columns, schema=table.schema)


def judged_without(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Verdicts that drop `rows` for being forgotten."""
    mask = np.zeros(table.num_rows, bool)
    mask[rows] = True
    said: dict[str, Any] = {"keep": False, "dropped_by": f"fetch:{Status.FORGOTTEN}", "weight": 0.0}
    columns = [
        pc.if_else(pa.array(mask), pa.scalar(said[item.name], item.type), table.column(item.name))
        if item.name in said
        else table.column(item.name)
        for item in table.schema
    ]
    return pa.table(columns, schema=table.schema)


def emptied(table: pa.Table, mask: np.ndarray) -> pa.Table:
    """Rows on their way into shards, of which those of `mask` keep their place alone."""
    columns = [
        table.column(item.name)
        if item.name in _SORTED_STAYS
        else pc.if_else(pa.array(mask), pa.scalar(None, item.type), table.column(item.name))
        for item in table.schema
    ]
    return pa.table(columns, schema=table.schema)


def meant(table: pa.Table, removal: Removal, nodes: np.ndarray) -> np.ndarray:
    """Rows of a global step's table that go, [rows] bool: by key, by raw part and row, by one of `nodes`."""
    mask = np.zeros(table.num_rows, bool)
    if "key" in table.column_names:
        mask |= removal.holds(table)
    if "part" in table.column_names and "row" in table.column_names:
        part = pc.index_in(table.column("part"), value_set=pa.array(removal.parts, pa.string()))
        place = pc.fill_null(part, -1).to_numpy().astype(np.int64) << 32 | table.column("row").to_numpy()
        mask |= np.isin(place, removal.places)
    for name in NODES:
        if len(nodes) and name in table.column_names and table.schema.field(name).type == pa.uint64():
            mask |= np.isin(table.column(name).to_numpy(), nodes)
    return mask


def npy_without(old: Path, new: Path, rows: np.ndarray) -> None:
    """A .npy matrix of floats with NaN in `rows`."""
    found = np.load(old, mmap_mode="r", allow_pickle=False)
    kept = np.lib.format.open_memmap(new, mode="w+", dtype=found.dtype, shape=found.shape, version=(1, 0))
    step = max(1, (16 << 20) // max(found[:1].nbytes, 1))
    for start in range(0, len(found), step):
        kept[start : start + step] = found[start : start + step]
    kept[rows] = np.nan
    kept.flush()
