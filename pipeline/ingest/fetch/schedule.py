"""Which URL is asked for next: bounded in all, bounded per host, retries later, and hosts that never answer left alone.

A job enters the queue only once its host has a slot for it, so no worker ever waits for a slow host while another
host has work. A retry gives its slot back while it waits.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.record import RETRYABLE, Status

_NO_ANSWER = frozenset({Status.DNS_ERROR, Status.CONNECT_ERROR, Status.TIMEOUT, Status.HTTP_429})
"""What says that a host does not want, or is not able, to answer at all."""


@dataclass(slots=True)
class Job:
    """One URL and the rows of the part that want it as their medium."""

    url: str
    rows: list[int]
    tries: int = 0
    companions: list[tuple[int, int]] = field(default_factory=list)
    """The rows that want it as a companion: (row, place among the row's companions)."""
    host: str = field(init=False)
    """What counts as one host: name and port."""

    def __post_init__(self) -> None:
        try:
            self.host = urlsplit(self.url).netloc.rpartition("@")[2].lower()
        except ValueError:
            self.host = ""


class Schedule:
    """Runs jobs to their final answers."""

    def __init__(
        self,
        config: FetchConfig,
        ask: Callable[[str, bool], Awaitable[Answer]],
        settle: Callable[[Job, Answer], Awaitable[None]],
        is_wanted: Callable[[Job], bool] = lambda job: True,
    ) -> None:
        """Take `is_wanted`, which is asked of each job before its URL is: what others came to may have made it idle."""
        self._config = config
        self._ask, self._settle, self._is_wanted = ask, settle, is_wanted
        self._queue: asyncio.Queue[Job | None] = asyncio.Queue()
        self._waiting: dict[str, deque[Job]] = defaultdict(deque)
        self._active: dict[str, int] = defaultdict(int)
        self._failures: dict[str, int] = defaultdict(int)
        self._last_failure: dict[str, Status] = {}
        self._unsettled: Counter[str] = Counter()

    async def run(self, jobs: Sequence[Job]) -> None:
        """Settle every job, each exactly once.

        `ask` is called with the URL and whether its host has further jobs: most hosts of a list occur once, and
        their connections, kept alive, would use up the process's sockets.
        """
        if not jobs:
            return
        self._unsettled.update(job.host for job in jobs)
        for job in jobs:
            self._add(job)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._config.concurrency, len(jobs))):
                group.create_task(self._work())

    def _add(self, job: Job) -> None:
        host = job.host
        if self._active[host] < self._config.per_host:
            self._active[host] += 1
            self._queue.put_nowait(job)
        else:
            self._waiting[host].append(job)

    def _free_slot(self, host: str) -> None:
        if self._waiting[host]:
            self._queue.put_nowait(self._waiting[host].popleft())
        else:
            self._active[host] -= 1

    async def _work(self) -> None:
        while (job := await self._queue.get()) is not None:
            answer = await self._answer(job)
            self._free_slot(job.host)
            if answer.again_s is not None:
                asyncio.get_running_loop().call_later(answer.again_s, self._add, job)
                continue
            wait_s = self._retry_wait_s(job, answer)
            if wait_s is not None:
                job.tries += 1
                asyncio.get_running_loop().call_later(wait_s, self._add, job)
                continue
            await self._settle(job, answer)
            self._unsettled[job.host] -= 1
            if self._unsettled[job.host] == 0:
                del self._unsettled[job.host]
            if not self._unsettled:
                self._queue.put_nowait(None)
        self._queue.put_nowait(None)  # for the next worker

    async def _answer(self, job: Job) -> Answer:
        if not self._is_wanted(job):
            return Answer(Status.DEFERRED, "not tried: no row has a use for it", final=True)
        host = job.host
        failures = self._failures[host]
        if failures >= self._config.give_up_host_after:
            return Answer(self._last_failure[host], f"not tried: the host failed {failures} times in a row", final=True)
        answer = await self._ask(job.url, self._unsettled[host] > 1)
        if answer.status in _NO_ANSWER:
            self._failures[host] += 1
            self._last_failure[host] = answer.status
        elif answer.again_s is None:
            self._failures[host] = 0
        return answer

    def _retry_wait_s(self, job: Job, answer: Answer) -> float | None:
        """Seconds until the next try; None where the answer is final."""
        config = self._config
        if answer.final or answer.status not in RETRYABLE or job.tries >= config.retries:
            return None
        if answer.wait_s is not None and answer.wait_s > config.max_wait_s:
            return None
        backoff_s = min(config.backoff_s * 2**job.tries, config.max_wait_s) * random.uniform(0.5, 1.5)
        return max(backoff_s, answer.wait_s or 0.0)
