"""Writes a raw part: `00042.tar`, `00042.parquet`, `00042_stats.json`, laid out as img2dataset does.

Outcomes come in any order; rows are written in the order of the candidates. What has to wait for its turn is held
in memory up to a budget and beyond that in a scratch file, so memory stays flat however late one row is.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.fetch.outcome import Outcome
from pipeline.record import CANDIDATE, FETCHED, Status
from pipeline.stage import Made
from pipeline.tar import TarWriter

_ADDED = [item for item in FETCHED if item.name not in CANDIDATE.names]
_MEDIA_STATUSES = frozenset(
    {Status.WRONG_TYPE, Status.DECODE_ERROR, Status.TOO_MANY_PIXELS, Status.TOO_SMALL}
)
"""What img2dataset counts as failed to resize; every other failure is one to download."""


class RawWriter:
    """Writes the files of one raw part from the outcomes of its candidates."""

    def __init__(self, part: str, candidates: pa.Table, scratch: Path, memory_bytes: int) -> None:
        self.part = part
        self._candidates = candidates
        self._rows: list[dict[str, Any]] = candidates.select(
            ["key", "source", "source_id", "url", "texts"]
        ).to_pylist()
        self._scratch = scratch
        self._tar = TarWriter(scratch / f"{part}.tar")
        self._columns: dict[str, list[Any]] = {item.name: [] for item in _ADDED}
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
        counts = Counter(self._columns["status"])
        table = self._candidates
        for item in _ADDED:
            table = table.append_column(item, pa.array(self._columns[item.name], item.type))
        table = table.cast(FETCHED)
        parquet = self._scratch / f"{self.part}.parquet"
        pq.write_table(table, parquet, compression="zstd", row_group_size=max(1, table.num_rows))
        stats = self._scratch / f"{self.part}_stats.json"
        stats.write_text(json.dumps(self._stats(counts), indent=4))
        files = {f"raw/{path.name}": path for path in (self._scratch / f"{self.part}.tar", parquet, stats)}
        return Made(files, len(self._rows), counts[Status.SUCCESS], dict(sorted(counts.items())))

    def _write(self, row: Mapping[str, Any], outcome: Outcome) -> None:
        values: dict[str, Any] = {"status": outcome.status.value, "detail": outcome.detail}
        media = outcome.media
        if media is not None:
            name = f"{row['key']}.{media.extension}"
            member = self._tar.add(name, media.data)
            texts = row["texts"] or []
            caption = texts[0]["text"] if texts else ""
            self._tar.add(f"{row['key']}.json", _sample_json(row, outcome, caption))
            self._tar.add(f"{row['key']}.txt", caption.encode())
            values |= {
                "mime": media.mime,
                "width": media.width,
                "height": media.height,
                "original_width": media.original_width,
                "original_height": media.original_height,
                "orientation": media.orientation,
                "duration_s": outcome.duration_s,
                "sha256": outcome.sha256,
                "bytes": outcome.num_bytes,
                "tar_offset": member.data_offset,
                "tar_bytes": member.data_size,
                "member": name,
                "fetched_at": outcome.fetched_at,
            }
        for name, column in self._columns.items():
            column.append(values.get(name))

    def _stats(self, counts: Counter[str]) -> dict[str, Any]:
        end = time.time()
        resize = sum(counts[status] for status in _MEDIA_STATUSES)
        return {
            "count": len(self._rows),
            "successes": counts[Status.SUCCESS],
            "failed_to_download": len(self._rows) - counts[Status.SUCCESS] - resize,
            "failed_to_resize": resize,
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


def _sample_json(row: Mapping[str, Any], outcome: Outcome, caption: str) -> bytes:
    """The sample's facts under img2dataset's names; holds no clock, so the same sample has the same bytes."""
    media = outcome.media
    assert media is not None
    facts = {
        "key": row["key"],
        "caption": caption,
        "url": row["url"],
        "width": media.width,
        "height": media.height,
        "original_width": media.original_width,
        "original_height": media.original_height,
        "sha256": outcome.sha256,
        "source": row["source"],
        "source_id": row["source_id"],
        "texts": row["texts"] or [],
    }
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()
