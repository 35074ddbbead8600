"""Progress for people: a bar on a terminal, one line per interval elsewhere. Words go to stderr."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tqdm import tqdm

INTERVAL_S = 10.0
"""Seconds between lines where there is no terminal."""


class StageProgress:
    """Follows stages by their parts; called as (stage, done, total)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._stage = ""
        self._bar: tqdm | None = None
        self._said_at = 0.0

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` parts of `stage` are there."""
        if self._stream.isatty():
            self._draw(stage, done, total, note)
        else:
            self._say(stage, done, total, note)

    def close(self) -> None:
        """Leave the last bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, stage: str, done: int, total: int, note: str) -> None:
        if self._bar is None or stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = tqdm(
                total=total, desc=f"{stage:<18}", file=self._stream, unit="", ncols=100,
                bar_format="{desc} {bar} {n_fmt}/{total_fmt} {elapsed}{postfix}",
            )
        self._bar.total = total
        self._bar.n = done
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.refresh()

    def _say(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        finished = done == total
        if finished or stage != self._stage or now - self._said_at >= INTERVAL_S:
            if not (stage == self._stage and finished and self._said_at < 0):
                self._stream.write(f"{stage} {done}/{total} {note}".rstrip() + "\n")
                self._stream.flush()
            self._said_at = -1.0 if finished else now
            self._stage = stage
