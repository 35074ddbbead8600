"""Writes the uids of the kept rows as a DataComp subset file, which the `datacomp` source and DataComp's tools read.

A subset file is a .npy array of dtype "u8,u8": the two halves of each 32-hex uid, sorted, each once. Kept rows are
spread over buckets by the top bits of their uid, and each bucket is sorted in turn, so memory holds one bucket.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.commit import read_commits
from pipeline.errors import AskedWrongly, DatasetError
from pipeline.shuffle import read_parquet
from pipeline.store import Store

DTYPE = np.dtype("u8,u8")
_BUCKET_BITS = 6
_UID = re.compile(r"[0-9a-f]{32}\Z")


def write_subset(dataset: Store, out: Path) -> int:
    """Write the kept uids of a judged dataset to `out`; returns how many.

    Raises: AskedWrongly: nothing is judged yet. DatasetError: a uid is none, or a verdict is of other rows.
    """
    judged = read_commits(dataset, "judge")
    if not judged:
        raise AskedWrongly(f"{dataset.url}: nothing is judged yet. Run `pairmill judge` with its recipe first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pairmill-subset-", dir=out.parent) as folder:
        buckets = [Path(folder) / f"{number:03d}" for number in range(1 << _BUCKET_BITS)]
        for part, commit in judged.items():
            pairs = _pairs(_kept(dataset, part, commit.file(".parquet")), f"{dataset.url}: part {part}")
            numbers = pairs["f0"] >> np.uint64(64 - _BUCKET_BITS)
            for number in np.unique(numbers).tolist():
                with buckets[number].open("ab") as stream:
                    stream.write(pairs[numbers == number].tobytes())
        rows = 0
        for bucket in buckets:
            pairs = _sorted(np.fromfile(bucket, DTYPE)) if bucket.exists() else np.empty(0, DTYPE)
            pairs.tofile(bucket)
            rows += len(pairs)
        whole = Path(folder) / "subset.npy"
        with whole.open("wb") as stream:
            header = {"descr": DTYPE.descr, "fortran_order": False, "shape": (rows,)}
            np.lib.format.write_array_header_1_0(stream, header)
            for bucket in buckets:
                stream.write(bucket.read_bytes())
        os.replace(whole, out)
    return rows


def _kept(dataset: Store, part: str, verdicts: str) -> pa.ChunkedArray:
    """The uids of the kept rows of one part."""
    verdict = read_parquet(dataset, verdicts, ["key", "keep"])
    raw = read_parquet(dataset, f"raw/{part}.parquet", ["key", "uid"])
    if not raw.column("key").equals(verdict.column("key")):
        raise DatasetError(f"{dataset.url}: the verdict on part {part} is of other rows. Run `pairmill judge` again.")
    return raw.column("uid").filter(verdict.column("keep"))


def _pairs(uids: pa.ChunkedArray, where: str) -> np.ndarray:
    """The two halves of each uid."""
    texts = uids.to_pylist()
    for uid in texts:
        if uid is None or not _UID.match(uid):
            raise DatasetError(f"{where}: the uid {uid!r} is not 32 lower-case hex digits. Run `pairmill fetch` again.")
    halves = np.frombuffer(bytes.fromhex("".join(texts)), ">u8").reshape(-1, 2)
    pairs = np.empty(len(halves), DTYPE)
    pairs["f0"], pairs["f1"] = halves[:, 0], halves[:, 1]
    return pairs


def _sorted(pairs: np.ndarray) -> np.ndarray:
    """Sorted by the first half, then the second; each once, since lists may hold a uid twice."""
    pairs = pairs[np.lexsort((pairs["f1"], pairs["f0"]))]
    first = np.ones(len(pairs), bool)
    first[1:] = pairs[1:] != pairs[:-1]
    return pairs[first]
