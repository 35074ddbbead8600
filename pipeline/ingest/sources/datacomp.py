"""DataComp and CommonPool: parquet files of uid, url, text, sizes, CLIP scores, face boxes and sha256.

With a subset file (a .npy array of dtype "u8,u8", the two halves of each uid, sorted), only its rows are read. The
file is mapped, not loaded: pages of it may fill free memory, but need none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.parquet import (
    batch_rows,
    column_values,
    parquet_batches,
    parquet_columns,
    parquet_rows,
)
from pipeline.ingest.sources.rows import Row, RowRegion, RowText
from pipeline.ingest.sources.source import Source, SourceConfig, need_columns

_UID = re.compile(r"[0-9a-f]{32}\Z")
_PAIR = np.dtype("u8,u8")
_OWN = ("uid", "url", "text", "sha256", "face_bboxes")
_PROBES = 100_000
_WANTED = "Wanted .npy of dtype 'u8,u8', sorted, as DataComp publishes it."


class DatacompConfig(SourceConfig):
    """Settings of the `datacomp` source."""

    subset: str | None = None
    """A subset file (.npy) of uids, in a folder that all machines see; rows that it does not name are not read. None
    reads all rows."""


class Datacomp(Source):
    """DataComp, CommonPool and lists of their shape. A row's identifier is its uid."""

    Config = DatacompConfig
    suffixes = (".parquet",)
    licence = "CC-BY 4.0 for the list; each image and text keeps its own"
    citation = "Gadre et al. 2023, DataComp, arXiv:2304.14108"
    config: DatacompConfig

    def check(self) -> None:
        """Look at the subset file too."""
        if self.config.subset is not None:
            _check_sorted(_open_subset(self.config.subset), self.config.subset)
        super().check()

    def check_file(self, file: ListFile) -> None:
        """The columns uid, url and text must be there."""
        need_columns(file.path, parquet_columns(file.path), ["uid", "url", "text"])

    def further(self, path: str) -> list[str]:
        """The subset file decides which rows are read."""
        return [] if self.config.subset is None else [self.config.subset]

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per row, or per row of the subset; a uid that is none gives a fault in either case."""
        if self.config.subset is None:
            yield from (_row(number, row) for number, row in enumerate(parquet_rows(file.path)))
            return
        first = 0
        subset = _open_subset(self.config.subset)
        for batch in parquet_batches(file.path):
            wanted = _wanted(column_values(batch.column("uid")), subset)
            for number, row in zip(wanted, batch_rows(batch.take(pa.array(wanted, pa.int64()))), strict=True):
                yield _row(first + number, row)
            first += batch.num_rows


def _row(number: int, row: dict[str, Any]) -> Row:
    uid = row["uid"]
    is_uid = isinstance(uid, str) and _UID.match(uid)
    regions: list[RowRegion] = []
    fault = None if is_uid else "uid: not 32 lower-case hex digits"
    try:
        regions = _faces(row.get("face_bboxes"), row.get("original_width"), row.get("original_height"))
    except (TypeError, ValueError, OverflowError):
        fault = "face_bboxes: not lists of four numbers, or no original size to scale them by"
    meta = {name: value for name, value in row.items() if name not in _OWN}
    texts = (RowText(row["text"], "alt"),)
    return Row(
        number, row["url"], texts, uid if is_uid else None, row.get("sha256"), meta=meta, fault=fault, regions=regions
    )


def _faces(boxes: Any, width: Any, height: Any) -> list[RowRegion]:
    """Boxes (left, top, right, bottom) relative to the image, as regions in pixels of the original."""
    regions = []
    for box in boxes or ():
        left, top, right, bottom = (float(value) for value in box)
        pixels = (left * width, top * height, (right - left) * width, (bottom - top) * height)
        regions.append(RowRegion(pixels, "face"))
    return regions


def _wanted(uids: list[Any], subset: np.ndarray) -> list[int]:
    """Places of the uids that are in the subset, or are none."""
    good = [i for i, uid in enumerate(uids) if isinstance(uid, str) and _UID.match(uid)]
    pairs = np.array([(int(uids[i][:16], 16), int(uids[i][16:], 16)) for i in good], _PAIR)
    if not len(subset) or not good:
        return sorted(set(range(len(uids))) - set(good))
    places = np.minimum(np.searchsorted(subset, pairs), len(subset) - 1)
    missing = {i for i, is_in in zip(good, subset[places] == pairs, strict=True) if not is_in}
    return [i for i in range(len(uids)) if i not in missing]


def _open_subset(path: str) -> np.ndarray:
    """The subset file, mapped. Raises: SourceError: it is none, or lies in a bucket."""
    if "://" in path:
        raise SourceError(f"{path}: a subset file is mapped into memory; copy it to a folder that all machines see.")
    try:
        subset = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SourceError(f"{path}: not a subset file: {error}. {_WANTED}") from None
    if not isinstance(subset, np.ndarray):  # an archive of arrays
        raise SourceError(f"{path}: not a subset file: {type(subset).__name__}. {_WANTED}")
    if subset.dtype != _PAIR or subset.ndim != 1:
        raise SourceError(
            f"{path}: not a subset file: an array of {subset.dtype}, {subset.ndim} dimensions. {_WANTED}"
        )
    return subset


def _check_sorted(subset: np.ndarray, path: str) -> None:
    """Look at the order of up to a hundred thousand uids, evenly spread."""
    if not len(subset):
        raise SourceError(f"{path}: names no uid, so no row would be read.")
    probes = subset[np.linspace(0, len(subset) - 1, min(len(subset), _PROBES)).astype(np.int64)]
    if not np.array_equal(np.sort(probes), probes):
        raise SourceError(f"{path}: not sorted, so uids cannot be found in it. Sort it: np.save(path, np.sort(array)).")
