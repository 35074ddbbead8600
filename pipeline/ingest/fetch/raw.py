"""Writes a raw part: `00042.tar`, `00042.parquet`, `00042_stats.json`, laid out as img2dataset does.

Outcomes come in any order; rows are written in the order of the candidates. What has to wait for its turn is held
in memory up to a budget and beyond that in a scratch file, so memory stays flat however late one row is.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.ingest.fetch.dialect import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE, SUCCESS, their_message, their_status
from pipeline.ingest.fetch.outcome import Outcome
from pipeline.record import CANDIDATE, FETCHED, Status
from pipeline.stage import Made
from pipeline.tar import TarWriter

_STORED = (
    "width", "height", "original_width", "original_height", "exif", "sha256",
    "mime", "duration_s", "orientation", "bytes", "tar_offset", "tar_bytes", "member", "fetched_at",
)  # fmt: skip
"""Columns that only a row with a medium has."""

_UID = re.compile(r"[0-9a-f]{32}")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True)
class _Row:
    """What the tar needs of a candidate."""

    key: str
    source: str
    source_id: str
    url: str | None
    texts: list[dict[str, Any]]

    @property
    def caption(self) -> str | None:
        """The first text."""
        return self.texts[0]["text"] if self.texts else None

    @property
    def uid(self) -> str:
        """The list's identifier where it has the form of DataComp's, else the key, which has it too."""
        return self.source_id if _UID.fullmatch(self.source_id) else self.key


class RawWriter:
    """Writes the files of one raw part from the outcomes of its candidates."""

    def __init__(self, part: str, candidates: pa.Table, scratch: Path, memory_bytes: int) -> None:
        self.part = part
        self._candidates = candidates
        needed = (candidates[name].to_pylist() for name in ("key", "source", "source_id", "url", "texts"))
        self._rows = [_Row(*values[:4], values[4] or []) for values in zip(*needed, strict=True)]
        self.scratch = scratch
        self._tar = TarWriter(scratch / f"{part}.tar")
        self._outcomes: list[str] = []
        self._details: list[str | None] = []
        self._stored: list[tuple[Any, ...]] = []
        self._held = _Held(scratch / f"{part}.held", memory_bytes)
        self._next = 0
        self._start = time.time()

    def put(self, row: int, outcome: Outcome) -> None:
        """Take the outcome of a row, and write what is now in turn."""
        self._held.put(row, outcome)
        while (ready := self._held.take(self._next)) is not None:
            self._write(self._rows[self._next], ready)
            self._next += 1

    def abandon(self) -> None:
        """Close what is open, after a failure; the scratch folder goes with its owner."""
        self._held.close()
        self._tar.__exit__(RuntimeError, None, None)

    def finish(self) -> Made:
        """Complete the three files. Every row must have had its outcome."""
        self._held.close()
        if self._next != len(self._rows):
            raise RuntimeError(f"raw part {self.part}: {self._next} outcomes for {len(self._rows)} rows")
        self._tar.close()
        counts = Counter(self._outcomes)
        parquet = self.scratch / f"{self.part}.parquet"
        pq.write_table(self._table(), parquet, compression="zstd", row_group_size=max(1, len(self._rows)))
        stats = self.scratch / f"{self.part}_stats.json"
        stats.write_text(json.dumps(self._stats(counts), indent=4))
        files = {f"raw/{path.name}": path for path in (self.scratch / f"{self.part}.tar", parquet, stats)}
        return Made(files, len(self._rows), counts[Status.SUCCESS], dict(sorted(counts.items())))

    def _write(self, row: _Row, outcome: Outcome) -> None:
        self._outcomes.append(outcome.status.value)
        self._details.append(outcome.detail)
        media = outcome.media
        if media is None:
            return
        name = f"{row.key}.{media.extension}"
        member = self._tar.add(name, media.data)
        self._tar.add(f"{row.key}.json", _sample_json(row, outcome))
        self._tar.add(f"{row.key}.txt", (row.caption or "").encode())
        self._stored.append(
            (
                media.width, media.height, media.original_width, media.original_height, outcome.exif, outcome.sha256,
                media.mime, outcome.duration_s, media.orientation, outcome.num_bytes,
                member.data_offset, member.data_size, name, outcome.fetched_at,
            )
        )  # fmt: skip

    def _table(self) -> pa.Table:
        """All rows as FETCHED, built column by column."""
        mediums = self._candidates["medium"].to_pylist()
        facts = list(zip(self._outcomes, self._details, mediums, strict=True))
        columns: dict[str, Any] = {name: self._candidates[name] for name in CANDIDATE.names}
        columns |= {
            "caption": pa.array([row.caption for row in self._rows], pa.string()),
            "uid": pa.array([row.uid for row in self._rows], pa.string()),
            "status": pa.array([their_status(outcome) for outcome in self._outcomes]),
            "error_message": pa.array([their_message(*fact) for fact in facts], pa.string()),
            "outcome": pa.array(self._outcomes, pa.string()),
            "detail": pa.array(self._details, pa.string()),
            "phash": pa.nulls(len(facts), pa.uint64()),
        }
        is_stored = np.array([outcome == Status.SUCCESS for outcome in self._outcomes], bool)
        places = pa.array(np.cumsum(is_stored) - 1, mask=~is_stored)
        values = zip(*self._stored, strict=True) if self._stored else ((),) * len(_STORED)
        for name, column in zip(_STORED, values, strict=True):
            columns[name] = pc.take(pa.array(column, FETCHED.field(name).type), places)
        return pa.table([columns[item.name] for item in FETCHED], schema=FETCHED)

    def _stats(self, counts: Counter[str]) -> dict[str, Any]:
        """What img2dataset's stats say; the keys of `status_dict` are our words."""
        end = time.time()
        theirs: Counter[str] = Counter()
        for outcome, rows in counts.items():
            theirs[their_status(outcome)] += rows
        return {
            "count": len(self._rows),
            "successes": theirs[SUCCESS],
            "failed_to_download": theirs[FAILED_TO_DOWNLOAD],
            "failed_to_resize": theirs[FAILED_TO_RESIZE],
            "duration": end - self._start,
            "start_time": self._start,
            "end_time": end,
            "status_dict": dict(sorted(counts.items())),
        }


class _Held:
    """Outcomes that wait for their turn; media beyond the budget lie in a scratch file."""

    def __init__(self, path: Path, memory_bytes: int) -> None:
        self._path = path
        self._budget = memory_bytes
        self._outcomes: dict[int, Outcome] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._stream: IO[bytes] | None = None

    def put(self, row: int, outcome: Outcome) -> None:
        media = outcome.media
        if media is not None and len(media.data) > self._budget:
            if self._stream is None:
                self._stream = self._path.open("w+b")
            offset = self._stream.seek(0, 2)
            self._stream.write(media.data)
            self._places[row] = (offset, len(media.data))
            outcome = replace(outcome, media=replace(media, data=b""))
        elif media is not None:
            self._budget -= len(media.data)
        self._outcomes[row] = outcome

    def take(self, row: int) -> Outcome | None:
        outcome = self._outcomes.pop(row, None)
        if outcome is None or outcome.media is None:
            return outcome
        place = self._places.pop(row, None)
        if place is None:
            self._budget += len(outcome.media.data)
            return outcome
        assert self._stream is not None
        self._stream.seek(place[0])
        return replace(outcome, media=replace(outcome.media, data=self._stream.read(place[1])))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._path.unlink()
            self._stream = None


def _sample_json(row: _Row, outcome: Outcome) -> bytes:
    """The sample's facts, img2dataset's first; holds no clock, so the same sample has the same bytes."""
    media = outcome.media
    assert media is not None
    facts = {
        "caption": row.caption,
        "url": row.url,
        "key": row.key,
        "status": SUCCESS,
        "error_message": None,
        "width": media.width,
        "height": media.height,
        "original_width": media.original_width,
        "original_height": media.original_height,
        "exif": outcome.exif,
        "sha256": outcome.sha256,
        "uid": row.uid,
        "source": row.source,
        "source_id": row.source_id,
        "texts": row.texts,
    }
    return _encode(facts).encode()
