"""Writes a raw part: `00042.tar`, `00042.parquet`, `00042_stats.json`, laid out as img2dataset does.

Outcomes come in any order; rows are written in the order of the candidates. What has to wait for its turn is held
in memory up to a budget and beyond that in a scratch file, so memory stays flat however late one row is.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.ingest.fetch.dialect import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE, SUCCESS, their_message, their_status
from pipeline.ingest.fetch.held import Held, Samples
from pipeline.ingest.fetch.outcome import Outcome, Place
from pipeline.record import CANDIDATE, FETCHED, Status
from pipeline.stage import Made
from pipeline.tar import TarWriter
from pipeline.tombstones import NO_TOMBSTONES, Tombstones, blanked

_STORED = (
    "width", "height", "original_width", "original_height", "exif", "sha256",
    "mime", "duration_s", "orientation", "bytes", "tar_offset", "tar_bytes", "member", "fetched_at",
    "stored_companions",
)  # fmt: skip
"""Columns that only a row with a medium has."""

LOST_COMPANIONS = "lost_companions"
"""The fact of a raw part's commit that says how many companions of its stored rows failed: outcome -> companions."""

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

    def __init__(
        self,
        part: str,
        candidates: pa.Table,
        scratch: Path,
        memory_bytes: int,
        companions: Literal["drop_row", "keep_row", "ignore"] = "ignore",
        tombstones: Tombstones = NO_TOMBSTONES,
    ) -> None:
        """Take `companions`, what becomes of them as in FetchConfig; unless ignored, each has to have its outcome.

        A row whose body `tombstones` names is written as forgotten.
        """
        self.part = part
        self._candidates = candidates
        needed = (candidates[name].to_pylist() for name in ("key", "source", "source_id", "url", "texts"))
        self._rows = [_Row(*values[:4], values[4] or []) for values in zip(*needed, strict=True)]
        self.scratch = scratch
        self._tar = TarWriter(scratch / f"{part}.tar")
        self._outcomes: list[str] = []
        self._details: list[str | None] = []
        self._stored: list[tuple[Any, ...]] = []
        listed = candidates["companions"].to_pylist() if companions != "ignore" else [None] * len(self._rows)
        self.companions: list[list[dict[str, Any]]] = [items or [] for items in listed]
        """Role and URL of those of each row that have to have an outcome."""
        self._lost: Counter[str] = Counter()
        self._forgotten_bodies = tombstones.bodies
        held = Held(scratch / f"{part}.held", memory_bytes)
        roles = [[item["role"] for item in items] for items in self.companions]
        self._samples = Samples(held, roles, keeps_incomplete=companions == "keep_row")
        self._start = time.time()

    def put(self, place: Place, outcome: Outcome) -> None:
        """Take the outcome of a row or of a companion, and write what is now in turn."""
        self._samples.put(place, outcome)
        while (ready := self._samples.take()) is not None:
            row, whole = ready
            if whole.sha256 in self._forgotten_bodies:
                whole = Outcome(Status.FORGOTTEN)
            if whole.status == Status.FORGOTTEN:
                self._rows[row] = _Row(self._rows[row].key, self._rows[row].source, "", None, [])
            self._write(self._rows[row], self.companions[row], whole)

    def abandon(self) -> None:
        """Close what is open, after a failure; the scratch folder goes with its owner."""
        self._samples.close()
        self._tar.__exit__(RuntimeError, None, None)

    def finish(self) -> Made:
        """Complete the three files. Every row must have had its outcome."""
        self._samples.close()
        if len(self._outcomes) != len(self._rows):
            raise RuntimeError(f"raw part {self.part}: {len(self._outcomes)} outcomes for {len(self._rows)} rows")
        self._tar.close()
        counts = Counter(self._outcomes)
        parquet = self.scratch / f"{self.part}.parquet"
        pq.write_table(self._table(), parquet, compression="zstd", row_group_size=max(1, len(self._rows)))
        stats = self.scratch / f"{self.part}_stats.json"
        stats.write_text(json.dumps(self._stats(counts), indent=4))
        files = {f"raw/{path.name}": path for path in (self.scratch / f"{self.part}.tar", parquet, stats)}
        facts = {LOST_COMPANIONS: dict(sorted(self._lost.items()))} if self._lost else {}
        return Made(files, len(self._rows), counts[Status.SUCCESS], dict(sorted(counts.items())), facts)

    def _write(self, row: _Row, companions: Sequence[Mapping[str, Any]], outcome: Outcome) -> None:
        self._outcomes.append(outcome.status.value)
        self._details.append(outcome.detail)
        media = outcome.media
        if media is None:
            return
        name = f"{row.key}.{media.extension}"
        member = self._tar.add(name, media.data)
        stored = self._add_companions(row.key, [item["role"] for item in companions], outcome.companions)
        self._tar.add(f"{row.key}.json", _sample_json(row, outcome))
        self._tar.add(f"{row.key}.txt", (row.caption or "").encode())
        self._stored.append(
            (
                media.width, media.height, media.original_width, media.original_height, outcome.exif, outcome.sha256,
                media.mime, outcome.duration_s, media.orientation, outcome.num_bytes,
                member.data_offset, member.data_size, name, outcome.fetched_at,
                stored or None,
            )
        )  # fmt: skip

    def _add_companions(self, key: str, roles: Sequence[str], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Write those that came as `{key}.{role}.png`, the second of a role as `{key}.{role}.2.png`."""
        stored, seen = [], Counter[str]()
        for role, outcome in zip(roles, outcomes, strict=True):
            seen[role] += 1
            facts = {"role": role, "outcome": outcome.status.value, "detail": outcome.detail}
            media = outcome.media
            if media is None:
                self._lost[outcome.status.value] += 1
            else:
                number = f".{seen[role]}" if seen[role] > 1 else ""
                member = self._tar.add(f"{key}.{role}{number}.{media.extension}", media.data)
                facts |= {
                    "member": member.name, "offset": member.data_offset, "bytes": member.data_size,
                    "width": media.width, "height": media.height, "sha256": outcome.sha256,
                }  # fmt: skip
            stored.append(facts)
        return stored

    def _table(self) -> pa.Table:
        """All rows as FETCHED, built column by column."""
        candidates = blanked(self._candidates, np.array(self._outcomes, object) == Status.FORGOTTEN.value)
        facts = list(zip(self._outcomes, self._details, candidates["medium"].to_pylist(), strict=True))
        columns: dict[str, Any] = {name: candidates[name] for name in CANDIDATE.names}
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
