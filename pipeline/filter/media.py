"""Stored media of a raw part, for scorers: read by byte range in bounded batches, the next one ahead of its use.

Takes rows of `raw/00042.parquet` with `tar_offset` and `tar_bytes`. Gives the same rows in the same order, cut into
batches with the column `media`: the bytes as they lie in `raw/00042.tar`. Rows of a part lie in its tar in row order,
so a batch is one read of a local file, or one request to a store.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa

from pipeline.errors import DatasetError
from pipeline.store import Store

MEDIA = "media"
"""The pseudo-column a scorer names in `reads` to be given the stored bytes."""
PLACES = ("tar_offset", "tar_bytes")
"""Columns of the fetched record that say where the bytes lie."""
BATCH_BYTES = 32 << 20
"""The most bytes of media in one batch; a larger medium is a batch of its own. Two batches are in memory at once."""
_GAP_BYTES = 256 << 10
"""Ranges closer than this are read as one: what a request's latency costs in bytes."""

T = TypeVar("T")


def media_batches(
    dataset: Store, tar: str, rows: pa.Table, *, max_rows: int, max_bytes: int = BATCH_BYTES
) -> Iterator[pa.Table]:
    """`rows` in batches of at most `max_rows` rows and `max_bytes` bytes, each with the column `media`.

    Args:
        tar: name of the raw tar in the dataset.
        rows: fetched rows, with the columns PLACES, which the batches no longer have.
    Raises: StoreError: the tar is missing, or ends before the bytes that a row speaks of.
        DatasetError: a row does not say where its bytes lie.
    """
    if rows.column("tar_offset").null_count or rows.column("tar_bytes").null_count:
        raise DatasetError(f"{dataset.url}/{tar}: a fetched row has no tar_offset or tar_bytes. Fetch the part again.")
    offsets = rows.column("tar_offset").to_numpy()
    sizes = rows.column("tar_bytes").to_numpy()
    kept = rows.drop_columns(list(PLACES))
    for start, end in batch_bounds(sizes, max_rows, max_bytes):
        media = _read(dataset, tar, offsets[start:end], sizes[start:end])
        yield kept.slice(start, end - start).append_column(MEDIA, pa.array(media, pa.binary()))


def batch_bounds(sizes: np.ndarray, max_rows: int, max_bytes: int) -> Iterator[tuple[int, int]]:
    """First row and row after the last of each batch; every batch has a row."""
    ends = np.cumsum(sizes, dtype=np.int64)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        fitting = int(np.searchsorted(ends, before + max_bytes, side="right"))
        end = min(max(fitting, start + 1), start + max_rows, len(sizes))
        yield start, end
        start = end


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one being made in a thread while the present one is used."""
    with ThreadPoolExecutor(1) as pool:
        end = object()
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def _read(dataset: Store, tar: str, offsets: np.ndarray, sizes: np.ndarray) -> list[bytes]:
    """The bytes of each range, in the order given; ranges that lie close together in one read."""
    found = [b""] * len(offsets)
    order = np.argsort(offsets, kind="stable")
    ends = offsets + sizes
    first = 0
    while first < len(order):
        last, end = first, int(ends[order[first]])
        while last + 1 < len(order) and offsets[order[last + 1]] - end <= _GAP_BYTES:
            last += 1
            end = max(end, int(ends[order[last]]))
        start = int(offsets[order[first]])
        data = dataset.read_range(tar, start, end - start)
        for row in order[first : last + 1].tolist():
            found[row] = data[offsets[row] - start : ends[row] - start]
        first = last + 1
    return found
