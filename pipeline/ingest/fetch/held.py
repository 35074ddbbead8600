"""What waits to be written: media until their turn comes, and rows until their companions are there.

Takes the outcomes of rows and of their companions, in any order. Gives one outcome per row, in the order of the rows.
Media are held in memory up to a budget, and beyond that in a scratch file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from pipeline.ingest.fetch.outcome import Outcome, Place
from pipeline.record import Status


class Samples:
    """Rows until their turn comes. A row is complete with its companions, or without a medium."""

    def __init__(self, held: Held, roles: Sequence[Sequence[str]], *, keeps_incomplete: bool) -> None:
        """Take `roles`, those of each row's companions, and whether a row is kept that lacks one."""
        self._held = held
        self._roles = roles
        self._keeps_incomplete = keeps_incomplete
        self._missing = [len(items) for items in roles]
        self._next = 0

    def put(self, place: Place, outcome: Outcome) -> None:
        """Take the outcome of a row, or of a companion."""
        if isinstance(place, tuple):
            row, _ = place
            if row < self._next:
                return  # the row is written, since its medium had failed
            self._missing[row] -= 1
        self._held.put(place, outcome)

    def take(self) -> tuple[int, Outcome] | None:
        """The next row and its outcome, once it is complete."""
        row = self._next
        status = self._held.status(row)
        if status is None or (status == Status.SUCCESS and self._missing[row]):
            return None
        self._next += 1
        outcome = self._held.take(row)
        companions = [self._held.take((row, n)) for n, _ in enumerate(self._roles[row])]
        assert outcome is not None
        return row, outcome if status != Status.SUCCESS else self._whole(row, outcome, companions)

    def _whole(self, row: int, outcome: Outcome, companions: Sequence[Outcome | None]) -> Outcome:
        """A stored row with its companions; or what the first that failed came to, where it may not be without."""
        come = tuple(item for item in companions if item is not None)
        for role, item in zip(self._roles[row], come, strict=True):
            if item.status != Status.SUCCESS and not self._keeps_incomplete:
                return Outcome(item.status, f"companion {role}: {item.detail or item.status}")
        return replace(outcome, companions=come) if come else outcome

    def close(self) -> None:
        """Let go of the scratch file."""
        self._held.close()


class Held:
    """Outcomes by place; media beyond the budget lie in a scratch file."""

    def __init__(self, path: Path, memory_bytes: int) -> None:
        self._path = path
        self._budget = memory_bytes
        self._outcomes: dict[Place, Outcome] = {}
        self._spans: dict[Place, tuple[int, int]] = {}
        self._stream: IO[bytes] | None = None

    def put(self, place: Place, outcome: Outcome) -> None:
        """Keep an outcome."""
        media = outcome.media
        if media is not None and len(media.data) > self._budget:
            if self._stream is None:
                self._stream = self._path.open("w+b")
            offset = self._stream.seek(0, 2)
            self._stream.write(media.data)
            self._spans[place] = (offset, len(media.data))
            outcome = replace(outcome, media=replace(media, data=b""))
        elif media is not None:
            self._budget -= len(media.data)
        self._outcomes[place] = outcome

    def status(self, place: Place) -> Status | None:
        """The status of what is kept there, if anything."""
        outcome = self._outcomes.get(place)
        return None if outcome is None else outcome.status

    def take(self, place: Place) -> Outcome | None:
        """Give back an outcome, and keep it no longer."""
        outcome = self._outcomes.pop(place, None)
        if outcome is None or outcome.media is None:
            return outcome
        span = self._spans.pop(place, None)
        if span is None:
            self._budget += len(outcome.media.data)
            return outcome
        assert self._stream is not None
        self._stream.seek(span[0])
        return replace(outcome, media=replace(outcome.media, data=self._stream.read(span[1])))

    def close(self) -> None:
        """Remove the scratch file."""
        if self._stream is not None:
            self._stream.close()
            self._path.unlink()
            self._stream = None
