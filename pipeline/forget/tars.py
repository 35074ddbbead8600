"""Raw tars without some of their samples: every other byte keeps its place.

Rows of many shards say where their media lie in a raw tar, so nothing in it may move: what is forgotten is overwritten
by a member of zeros, of a name that webdataset readers skip.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.tar import BLOCK, header, read_members

FILLER = "__forgotten__"
"""Name of the member that fills a gap: without a dot it is no sample's, and webdataset skips names of this form."""
_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a tar that hold one sample, headers and padding included."""

    key: str
    start: int
    stop: int


def gaps(tar: Path, keys: Collection[str]) -> Iterator[Gap]:
    """Where the samples `keys` lie in a tar, in its order. Raises: ValueError: it is no tar of pairmill."""
    open_: Gap | None = None
    with tar.open("rb") as stream:
        for member in read_members(stream):
            key = member.name.partition(".")[0]
            if open_ is not None and open_.key == key:
                open_ = Gap(key, open_.start, member.end)
                continue
            if open_ is not None:
                yield open_
            open_ = Gap(key, member.offset, member.end) if key in keys else None
    if open_ is not None:
        yield open_


def wiped(old: Path, new: Path, found: Sequence[Gap]) -> None:
    """Write `new`: the bytes of `old` with a filler in each gap."""
    shutil.copyfile(old, new)
    with new.open("r+b") as stream:
        for gap in found:
            stream.seek(gap.start)
            size = gap.stop - gap.start - BLOCK
            stream.write(header(FILLER, size))
            for start in range(0, size, _CHUNK):
                stream.write(b"\0" * min(_CHUNK, size - start))
