"""The schedule settles every job once, and never asks a host for more at a time than it may."""

import asyncio
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.schedule import Job, Schedule
from pipeline.record import RETRYABLE, Status

STATUSES = sorted({*RETRYABLE, Status.SUCCESS, Status.HTTP_404})


async def run(config, jobs, answers):
    busy, most, tries, settled = Counter(), Counter(), Counter(), []

    async def ask(url, keep_alive):
        host = url.split("/")[2]
        busy[host] += 1
        most[host] = max(most[host], busy[host])
        most["all"] = max(most["all"], sum(busy.values()))
        tries[url] += 1
        await asyncio.sleep(random.choice([0, 0, 0.001]))
        busy[host] -= 1
        return answers(url)

    async def settle(job, answer):
        settled.append((job.url, answer.status))

    await asyncio.wait_for(Schedule(config, ask, settle).run(jobs), 30)
    return most, tries, settled


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(STATUSES)), max_size=40),
    st.integers(1, 8), st.integers(1, 4), st.integers(0, 2), st.integers(1, 10),
)
def test_every_job_once(wanted, concurrency, per_host, retries, give_up):
    config = FetchConfig(
        concurrency=concurrency, per_host=per_host, retries=retries, backoff_s=0.0, give_up_host_after=give_up
    )
    status = {f"http://host{host}/{i}": word for i, (host, word) in enumerate(wanted)}
    jobs = [Job(url, [i]) for i, url in enumerate(status)]
    most, tries, settled = asyncio.run(run(config, jobs, lambda url: Answer(status[url])))
    assert Counter(url for url, _ in settled) == Counter(status.keys())
    assert most["all"] <= concurrency
    assert all(count <= per_host for host, count in most.items() if host != "all")
    assert all(count <= retries + 1 for count in tries.values())
    if give_up == 10 and len(wanted) < 10 and retries == 0:
        assert dict(settled) == status


def test_retry_after_is_waited_for_up_to_the_limit():
    schedule = Schedule(FetchConfig(backoff_s=1.0, max_wait_s=10.0), None, None)
    busy = Job("http://x/", [0])
    assert schedule._retry_wait_s(busy, Answer(Status.HTTP_429, wait_s=7.0)) == 7.0
    assert schedule._retry_wait_s(busy, Answer(Status.HTTP_429, wait_s=11.0)) is None
    assert schedule._retry_wait_s(busy, Answer(Status.HTTP_404)) is None
    waits = [schedule._retry_wait_s(Job("http://x/", [0], tries), Answer(Status.HTTP_5XX)) for tries in (0, 1)]
    assert 0.5 <= waits[0] <= 1.5
    assert 1.0 <= waits[1] <= 3.0
    assert schedule._retry_wait_s(Job("http://x/", [0], 2), Answer(Status.HTTP_5XX)) is None
