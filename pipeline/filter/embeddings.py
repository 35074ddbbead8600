"""Embeddings beside the scores: `scores/<scorer>/00042.image.npy` and `00042.text.npy`, plain float16 numpy files.

Shape [rows of the raw part, D], one row per raw row in order. Rows have unit length (before they were rounded to
float16), or hold NaN where nothing was embedded. `NpyRows` writes such a file from the top down; `read_embeddings` is
how everyone reads one.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import pyarrow as pa

from pipeline.errors import DatasetError
from pipeline.store import Store

NULL_CHUNK_ROWS = 1024


def embeddings_name(scorer: str, part: str, which: str) -> str:
    """Name in the dataset of the embeddings of one part; `which` is `image` or `text`."""
    return f"scores/{scorer}/{part}.{which}.npy"


def read_embeddings(dataset: Store, scorer: str, part: str, which: str) -> np.ndarray:
    """The embeddings of one part, float16 [rows, D]; of a local dataset as a map of the file, not a copy.

    Raises: DatasetError: the scorer has not embedded this part, or the file is damaged.
    """
    name = embeddings_name(scorer, part, which)
    if not dataset.exists(name):
        raise DatasetError(
            f"{dataset.url}/{name}: not found, so scorer {scorer!r} has not embedded this part. "
            f"Run `pairmill score` with a recipe that has the scorer {scorer!r}."
        )
    return read_npy(dataset, name)


def read_npy(dataset: Store, name: str) -> np.ndarray:
    """A matrix of embeddings by the name of its file; of a local dataset as a map of the file, not a copy.

    Raises: DatasetError: the file is damaged.
    """
    try:
        if dataset.is_local:
            found = np.load(dataset.local_path(name), mmap_mode="r", allow_pickle=False)
        else:
            found = np.load(io.BytesIO(dataset.read_bytes(name)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DatasetError(f"{dataset.url}/{name}: not a numpy file: {error}. Score the part again.") from None
    if found.ndim != 2 or found.dtype != np.float16:
        raise DatasetError(
            f"{dataset.url}/{name}: holds {found.dtype} of shape {found.shape}; wanted float16 [rows, width]. "
            "Delete it, and score the part again."
        )
    return found


def as_lists(rows: np.ndarray) -> pa.FixedSizeListArray:
    """[B, D] as a column of fixed-size lists, as scorers hand embeddings on."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).reshape(-1)), rows.shape[1])


def as_matrix(column: pa.ChunkedArray | pa.FixedSizeListArray) -> np.ndarray:
    """What `as_lists` made a column of."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(lists.flatten()).reshape(len(lists), lists.type.list_size)


class NpyRows:
    """A float16 .npy file of a known shape, written row by row from the top; what is left out holds NaN."""

    def __init__(self, path: Path, num_rows: int, width: int) -> None:
        self._stream: IO[bytes] = path.open("wb")
        self._shape = (num_rows, width)
        self._next = 0
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._stream, {**header, "shape": self._shape})

    def put(self, at: np.ndarray, rows: np.ndarray) -> None:
        """Write `rows` at the row numbers `at`: ascending, and behind all that were put before."""
        if not len(at):
            return
        num_rows, width = self._shape
        if at[0] < self._next or at[-1] >= num_rows or rows.shape != (len(at), width):
            raise ValueError(f"rows {at[0]}..{at[-1]} of shape {rows.shape} do not follow row {self._next}")
        start = int(at[0])
        self._skip_to(start)
        block = np.full((int(at[-1]) + 1 - start, width), np.nan, np.float16)
        block[at - start] = rows
        self._stream.write(block.tobytes())
        self._next = int(at[-1]) + 1

    def close(self) -> None:
        """Fill up to the last row."""
        self._skip_to(self._shape[0])
        self._stream.close()

    def _skip_to(self, row: int) -> None:
        while self._next < row:
            count = min(NULL_CHUNK_ROWS, row - self._next)
            self._stream.write(np.full((count, self._shape[1]), np.nan, np.float16).tobytes())
            self._next += count

    def __enter__(self) -> NpyRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stream.close()
