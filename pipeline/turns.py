"""Turns: who may ask a host next, when several workers want to keep one pace together.

Takes a name, such as a host, and how far apart its turns are to be. Gives a lease: some turns in a row that nobody else
gets. A lease says how long to wait, never at what time, since only the table's own clock is read: the clocks of the
workers' machines may differ. The engine gives every stage a table that all its workers share (`Workspace.turns`).

What a restart of the table forgets may still be used by someone: a table that starts anew gives out nothing until every
turn of the old one is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

AHEAD_S = 120.0
"""No turn is given out for longer ahead, which is also how long a restarted table waits."""
_MOST_NAMES = 100_000


@dataclass(frozen=True, slots=True)
class Lease:
    """`num` turns, the first in `wait_s` seconds, the others one interval apart. Of none: come again in `wait_s`."""

    wait_s: float
    num: int


class Turns(Protocol):
    """What gives out turns."""

    def reserve(self, name: str, interval_s: float, num: int) -> Lease:
        """The next turns of `name`, `num` at most. Raises: StageError: whoever gives out turns does not answer."""
        ...


class TurnTable:
    """Turns of one process, for any number of threads.

    `quiet_s` is how long nothing is given out at first. `clock` is in seconds and never goes back.
    """

    def __init__(self, quiet_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._before = clock() + quiet_s if quiet_s else None
        """The latest turn of names not in the table."""

    def reserve(self, name: str, interval_s: float, num: int) -> Lease:
        """The next turns of `name`, `num` at most."""
        with self._lock:
            now = self._clock()
            last = self._last.get(name, self._before)
            first = now if last is None else max(now, last + interval_s)
            if first > now + AHEAD_S:
                # while others use what is given out up to then; in small steps where the interval alone is that long
                return Lease(max(AHEAD_S / 2, first - now - AHEAD_S), 0)
            num = max(1, min(num, 1 + int((now + AHEAD_S - first) / interval_s)))
            if len(self._last) >= _MOST_NAMES:
                self._last = {key: at for key, at in self._last.items() if at > now - 10 * AHEAD_S}
            self._last[name] = first + (num - 1) * interval_s
            return Lease(first - now, num)
