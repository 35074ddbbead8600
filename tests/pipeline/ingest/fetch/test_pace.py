"""Turns are given in order, one interval apart, by a clock that the test holds."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.pace import Pace
from pipeline.ingest.fetch.schedule import Job, Schedule
from pipeline.record import Status


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.sampled_from([0.5, 2.0, 10.0]))
def test_every_url_gets_its_turn_and_no_two_come_too_close(hosts, rate_hz):
    now = 0.0
    pace = Pace(rate_hz, 1e9, lambda: now)
    waiting = {(f"{i}", f"host{host}"): 0.0 for i, host in enumerate(hosts)}
    went = {}
    while waiting:
        (url, host), now = min(waiting.items(), key=lambda item: item[1])
        held = pace.hold(url, host, 0.0)
        if held is None:
            went.setdefault(host, []).append(now)
            del waiting[url, host]
        else:
            waiting[url, host] = now + held.again_s
    for times in went.values():
        assert all(b - a >= 1 / rate_hz - 0.006 for a, b in itertools.pairwise(times))
        assert times[-1] <= (len(times) - 1) / rate_hz + 0.006


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_the_schedule_settles_every_job_once_and_waits_for_no_one(concurrency):
    """One host may be asked once in ten seconds and then no more; the others' jobs are all done at once."""
    asked, settled = [], []

    async def run():
        pace = Pace(None, 5.0, asyncio.get_running_loop().time)

        async def ask(url, keep_alive):
            host = url.split("/")[2]
            held = pace.hold(url, host, {"slow": 10.0, "brisk": 0.01}.get(host, 0.0))
            if held is None:
                asked.append(url)
            return held or Answer(Status.SUCCESS)

        async def settle(job, answer):
            settled.append((job.url, answer.status))

        jobs = [Job(f"http://{host}/{i}", [0]) for host in ("slow", "brisk", "free") for i in range(20)]
        await asyncio.wait_for(Schedule(FetchConfig(concurrency=concurrency, per_host=2), ask, settle).run(jobs), 30)
        return jobs

    jobs = asyncio.run(run())
    assert sorted(url for url, _ in settled) == sorted(job.url for job in jobs)
    assert len(asked) == len(set(asked)) == 41
    assert sum(status == Status.DEFERRED for _, status in settled) == 19


def test_no_rate_is_no_wait():
    pace = Pace(None, 0.0, lambda: 0.0)
    assert all(pace.hold(str(i), "host", 0.0) is None for i in range(100))


def test_the_slower_of_two_rates_counts_and_too_far_off_is_said():
    pace = Pace(2.0, 7.0, lambda: 0.0)
    waits = [pace.hold(str(i), "host", 5.0) for i in range(4)]
    assert waits[0] is None
    assert [item.again_s for item in waits[1:]] == [5.0, None, None]
    assert (waits[3].status, waits[3].final) == (Status.DEFERRED, True)
