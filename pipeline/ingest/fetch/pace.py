"""How often one host is asked: at most at the recipe's rate, and at most as often as its robots.txt wants.

A URL whose turn has not come gets the answer `again_s`, and the schedule gives its slot to another host meanwhile.
Turns are given in the order in which they are asked for. Each worker keeps the pace of its own part.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.ingest.fetch.answer import Answer
from pipeline.record import Status

_EARLY_S = 0.005
"""A timer may fire this much before its time."""


class Pace:
    """Gives out turns. `clock` is in seconds."""

    def __init__(self, rate_hz: float | None, max_wait_s: float, clock: Callable[[], float]) -> None:
        self._least_s = 0.0 if rate_hz is None else 1.0 / rate_hz
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._free_at: dict[str, float] = {}
        self._turns: dict[str, float] = {}

    def hold(self, url: str, host: str, interval_s: float) -> Answer | None:
        """None where `url` may be asked for now; else when to come again, or that it has to wait for too long."""
        interval_s = max(interval_s, self._least_s)
        now = self._clock()
        turn = self._turns.pop(url, None)
        if turn is None:
            if interval_s == 0.0:
                return None
            turn = max(now, self._free_at.get(host, now))
            if turn - now > self._max_wait_s:
                detail = f"not tried: at one request in {interval_s:g} s its turn is too far off"
                return Answer(Status.DEFERRED, detail, final=True)
            self._free_at[host] = turn + interval_s
        if turn <= now + _EARLY_S:
            return None
        self._turns[url] = turn
        return Answer(Status.DEFERRED, again_s=turn - now)
