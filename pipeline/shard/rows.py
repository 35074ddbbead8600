"""The index of one shard in memory: where each sample lies in the tar, and what is known of it without reading it.

Takes the bytes of a shard's parquet file (`record.SHARD_INDEX`), gives columns by row. Texts are kept flat, with the
place of each sample's first: a shard of ten thousand samples loads in some ten milliseconds and weighs some megabytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_COLUMNS = ["key", "member", "mime", "width", "height", "weight", "sha256", "media_sha256"]
_COLUMNS += ["offset", "media_offset", "media_size"]
_COMPANIONS = [f"companions.list.element.{name}" for name in ("role", "offset", "size")]
"""Only the indexes of shards that hold companions have these."""
TEXT = "texts.list.element.text"


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of N samples without nulls: sample `row` has `flat[starts[row] : starts[row + 1]]`."""

    flat: pa.Array
    starts: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> Texts:
        """From the column `texts` of an index."""
        lists = table.column("texts").combine_chunks()
        parents, words = pc.list_parent_indices(lists), pc.struct_field(pc.list_flatten(lists), "text")
        there = pc.is_valid(words)
        counts = np.bincount(parents.filter(there).to_numpy(), minlength=table.num_rows)
        return cls(words.filter(there), np.concatenate(([0], np.cumsum(counts))))

    def of_row(self, row: int) -> tuple[str, ...]:
        """All texts of one sample."""
        start, stop = int(self.starts[row]), int(self.starts[row + 1])
        return tuple(self.flat.slice(start, stop - start).to_pylist())

    def num_bytes(self) -> np.ndarray:
        """Bytes of each text of `flat`, as UTF-8."""
        return pc.binary_length(self.flat).to_numpy(zero_copy_only=False)


@dataclass(frozen=True, slots=True)
class Index:
    """A shard's index by row; a null number is 0."""

    keys: list[str]
    members: list[str]
    mimes: list[str | None]
    texts: Texts
    width: np.ndarray
    height: np.ndarray
    weight: np.ndarray
    content_id: np.ndarray
    media_sha256: list[str | None]
    start: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    companions: pa.Array | None

    def companions_of(self, row: int) -> list[dict[str, Any]]:
        """Role, offset and size of each."""
        return [] if self.companions is None else self.companions[row].as_py() or []

    def key_twice(self) -> str | None:
        """A key that stands in two rows, or None."""
        if len(set(self.keys)) == len(self.keys):
            return None
        seen: set[str] = set()
        return next(key for key in self.keys if key in seen or seen.add(key))


def load_index(body: bytes, with_companions: bool) -> Index:
    """Read an index. Raises: pyarrow.ArrowException, OSError, KeyError: it is none, or lacks a column."""
    columns = [*_COLUMNS, TEXT, *(_COMPANIONS if with_companions else [])]
    table = pq.ParquetFile(pa.BufferReader(body)).read(columns=columns, use_threads=False)

    def numbers(name: str, dtype: type) -> np.ndarray:
        return np.nan_to_num(table.column(name).to_numpy()).astype(dtype)

    def words(name: str) -> list[Any]:
        return table.column(name).to_pylist()

    keys = words("key")
    return Index(
        keys=keys,
        members=words("member"),
        mimes=words("mime"),
        texts=Texts.of(table),
        width=numbers("width", np.int32),
        height=numbers("height", np.int32),
        weight=numbers("weight", np.float32),
        content_id=np.array([content_id(*pair) for pair in zip(words("sha256"), keys, strict=True)], np.int64),
        media_sha256=words("media_sha256"),
        start=numbers("offset", np.int64),
        offset=numbers("media_offset", np.int64),
        size=numbers("media_size", np.int64),
        companions=table.column("companions").combine_chunks() if "companions" in table.column_names else None,
    )


def content_id(sha256: str | None, key: str) -> int:
    """The first 63 bits of a hex sha256; of the key's where the body's is unknown, so that nothing equals it."""
    digest = sha256 or hashlib.sha256(key.encode()).hexdigest()
    return int(digest[:16], 16) >> 1


def chosen(texts: Texts, rows: Sequence[int] | np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Place in `texts.flat` of one text of each row, by a number in [0, 1) each; -1 where it has none."""
    first, count = texts.starts[rows], np.diff(texts.starts)[rows]
    return np.where(count > 0, first + (draws * count).astype(np.int64), -1)
