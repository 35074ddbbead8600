"""How often one host is asked: at most at the recipe's rate, and at most as often as its robots.txt wants.

A URL whose turn has not come gets the answer `again_s`, and the schedule gives its slot to another host meanwhile.
Turns are given in the order in which they are asked for. All workers of a run keep one pace together: turns come from
`Workspace.turns`, several in one lease, and only hosts that have a pace are asked about there. What a URL waits for at
first is a guess, one interval after the URL before it; only when that is over is a turn reserved for it, so that a part
with many rows of a host does not take the turns of the others for minutes ahead.

A turn that comes too late, by more than a moment, is given up, since the next one may be another worker's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.ingest.fetch.answer import Answer
from pipeline.record import Status
from pipeline.turns import Turns

_EARLY_S = 0.005
"""A timer may fire this much before its time."""
_LATE_S = 0.1
"""So late a turn may be used; doubles with each turn that one URL has to give up, so that it gets there in the end."""
_LEASE_S = 10.0
"""One lease spans no more, where it has more than one turn; its rest is lost where a worker dies."""


@dataclass(slots=True)
class _Waiting:
    """A URL that waits for its guess, or for its turn."""

    since: float
    until: float
    num_lost: int = 0
    delay_s: float | None = None
    """How late the turn may be already, since its lease took this long to come; None while there is no turn."""


@dataclass(slots=True)
class _Host:
    next_guess: float = float("-inf")
    num_waiting: int = 0
    leased: deque[tuple[float, float]] = field(default_factory=deque)
    """Turns not yet given out: when, and how long their lease took to come."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Pace:
    """Gives out turns. `clock` is in seconds. To be used inside one running event loop."""

    def __init__(self, rate_hz: float | None, max_wait_s: float, clock: Callable[[], float], turns: Turns) -> None:
        self._least_s = 0.0 if rate_hz is None else 1.0 / rate_hz
        self._max_wait_s = max_wait_s
        self._clock, self._turns = clock, turns
        self._hosts: dict[str, _Host] = {}
        self._urls: dict[str, _Waiting] = {}

    async def hold(self, url: str, host: str, interval_s: float) -> Answer | None:
        """None where `url` may be asked for now; else when to come again, or that it has to wait for too long.

        Raises: StageError: whoever gives out turns does not answer.
        """
        interval_s = max(interval_s, self._least_s)
        now = self._clock()
        waiting = self._urls.get(url)
        if waiting is None:
            if interval_s == 0.0:
                return None
            state = self._hosts.setdefault(host, _Host())
            guess = max(now, state.next_guess)
            if guess - now > self._max_wait_s:
                return _too_far(interval_s)
            state.next_guess = guess + interval_s
            state.num_waiting += 1
            waiting = self._urls[url] = _Waiting(now, guess)
        if waiting.until > now + _EARLY_S:
            return Answer(Status.DEFERRED, again_s=waiting.until - now)
        state = self._hosts[host]
        while True:
            if waiting.delay_s is None and not await self._take_turn(waiting, host, interval_s):
                del self._urls[url]
                state.num_waiting -= 1
                return _too_far(interval_s)
            again_s = waiting.until - self._clock()
            if waiting.delay_s is None or again_s > _EARLY_S:
                return Answer(Status.DEFERRED, again_s=max(again_s, 0.0))
            if waiting.delay_s - again_s <= _LATE_S * 2**waiting.num_lost:
                del self._urls[url]
                return None
            waiting.num_lost += 1
            waiting.delay_s = None
            state.num_waiting += 1

    async def _take_turn(self, waiting: _Waiting, host: str, interval_s: float) -> bool:
        """Give `waiting` the next turn, or the time to ask for one again; False where that is too far off."""
        state = self._hosts[host]
        async with state.lock:
            while state.leased and state.leased[0][0] < self._clock() - _LATE_S:
                state.leased.popleft()
            if not state.leased:
                come_again = await self._lease(state, host, interval_s)
                if come_again is not None:
                    waiting.until = come_again
                    state.next_guess = max(state.next_guess, come_again + interval_s)
                    return come_again - waiting.since <= self._max_wait_s
            turn, delay_s = state.leased[0]
            if turn - waiting.since > self._max_wait_s:
                return False
            state.leased.popleft()
        waiting.until, waiting.delay_s = turn, delay_s
        state.num_waiting -= 1
        state.next_guess = max(state.next_guess, turn + interval_s)
        return True

    async def _lease(self, state: _Host, host: str, interval_s: float) -> float | None:
        """Reserve turns for those who wait; where there are none yet, when to ask again."""
        num = min(state.num_waiting, max(1, int(_LEASE_S / interval_s)))
        asked = self._clock()
        lease = await asyncio.to_thread(self._turns.reserve, host, interval_s, num)
        now = self._clock()
        state.leased.extend((now + lease.wait_s + k * interval_s, now - asked) for k in range(lease.num))
        return None if lease.num else now + lease.wait_s


def _too_far(interval_s: float) -> Answer:
    detail = f"not tried: at one request in {interval_s:g} s its turn is too far off"
    return Answer(Status.DEFERRED, detail, final=True)
