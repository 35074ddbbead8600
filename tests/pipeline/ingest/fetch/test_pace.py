"""Turns are given in order, one interval apart, over all parts that share them; by a clock that the test holds."""

import asyncio
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.pace import Pace
from pipeline.ingest.fetch.schedule import Job, Schedule
from pipeline.record import Status
from pipeline.turns import TurnTable


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def run_down(paces, clock, urls, intervals=None):
    """Hold each (pace number, url, host) until it goes or is deferred; pass the time between. Returns url -> when."""

    async def run():
        waiting = dict.fromkeys(urls, clock.now)
        went = {}
        while waiting:
            item, at = min(waiting.items(), key=lambda pair: pair[1])
            clock.now = max(clock.now, at)
            number, url, host = item
            held = await paces[number].hold(url, host, (intervals or {}).get(host, 0.0))
            if held is None or held.final:
                went[url] = clock.now if held is None else None
                del waiting[item]
            else:
                waiting[item] = clock.now + held.again_s
        return went

    return asyncio.run(run())


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30),
    st.sampled_from([0.5, 2.0, 10.0]),
)
@settings(max_examples=40)
def test_every_url_gets_its_turn_and_no_two_come_too_close(rows, rate_hz):
    """Three parts share the turns of three hosts."""
    clock = Clock()
    table = TurnTable(clock=clock)
    paces = [Pace(rate_hz, 1e9, clock, table) for _ in range(3)]
    urls = [(part, f"{i}", f"host{host}") for i, (part, host) in enumerate(rows)]
    went = run_down(paces, clock, urls)
    for wanted in {host for _, _, host in urls}:
        times = sorted(went[url] for _, url, host in urls if host == wanted)
        assert all(b - a >= 1 / rate_hz - 0.006 for a, b in itertools.pairwise(times))
        parts = len({part for part, _, host in urls if host == wanted})
        if parts == 1:
            assert times[-1] - 1000.0 <= (len(times) - 1) / rate_hz + 0.006


def test_one_part_goes_in_order():
    clock = Clock()
    urls = [(0, f"{i}", "host") for i in range(50)]
    went = run_down([Pace(2.0, 1e9, clock, TurnTable(clock=clock))], clock, urls)
    assert list(went) == [url for _, url, _ in urls]


def test_a_part_with_many_rows_of_a_host_leaves_turns_to_the_others():
    """The other part comes when the first has reserved what it could, and is done long before it."""
    clock = Clock()
    table = TurnTable(clock=clock)
    paces = [Pace(1.0, 1e9, clock, table), Pace(1.0, 1e9, clock, table)]
    urls = [*((0, f"many{i}", "host") for i in range(200)), *((1, f"few{i}", "host") for i in range(10))]
    went = run_down(paces, clock, urls)
    assert max(at for url, at in went.items() if url.startswith("few")) - 1000.0 < 60.0


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_the_schedule_settles_every_job_once_and_waits_for_no_one(concurrency):
    """One host may be asked once in ten seconds and then no more; the others' jobs are all done at once."""
    asked, settled = [], []

    async def run():
        pace = Pace(None, 5.0, asyncio.get_running_loop().time, TurnTable())

        async def ask(url, keep_alive):
            host = url.split("/")[2]
            held = await pace.hold(url, host, {"slow": 10.0, "brisk": 0.01}.get(host, 0.0))
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


def test_who_has_no_pace_asks_for_no_turns():
    async def run():
        pace = Pace(None, 0.0, lambda: 0.0, None)
        return [await pace.hold(str(i), "host", 0.0) for i in range(100)]

    assert asyncio.run(run()) == [None] * 100


def test_the_slower_of_two_rates_counts_and_too_far_off_is_said():
    async def run():
        clock = Clock()
        pace = Pace(2.0, 7.0, clock, TurnTable(clock=clock))
        return [await pace.hold(str(i), "host", 5.0) for i in range(4)]

    waits = asyncio.run(run())
    assert waits[0] is None
    assert [item.again_s for item in waits[1:]] == [5.0, None, None]
    assert (waits[3].status, waits[3].final) == (Status.DEFERRED, True)


def test_a_turn_that_others_hold_for_too_long_is_too_far_off():
    """The guess was that the host is free."""
    clock = Clock()
    table = TurnTable(clock=clock)
    table.reserve("host", 1.0, 50)
    went = run_down([Pace(1.0, 30.0, clock, table)], clock, [(0, "a", "host")])
    assert went == {"a": None}


@pytest.mark.parametrize("late_s", [0.5, 3.0])
def test_a_turn_that_comes_too_late_is_given_up_but_not_for_ever(late_s):
    """A service, or a loop, so slow that no turn comes in time still lets a URL through, later each time."""
    clock, asked = Clock(), []

    class Slow:
        table = TurnTable(clock=clock)

        def reserve(self, name, interval_s, num):
            lease = self.table.reserve(name, interval_s, num)
            asked.append(clock.now)
            clock.now += late_s
            return lease

    went = run_down([Pace(1.0, 1e9, clock, Slow())], clock, [(0, "a", "host")])
    assert went["a"] is not None
    assert 1 < len(asked) <= 7


def test_leases_make_calls_few():
    clock, calls = Clock(), []

    class Counted(TurnTable):
        def reserve(self, *what):
            calls.append(what)
            return super().reserve(*what)

    urls = [(0, f"{i}", "host") for i in range(200)]
    run_down([Pace(10.0, 1e9, clock, Counted(clock=clock))], clock, urls)
    assert len(calls) <= 5


def test_the_table_gives_each_turn_once_to_any_number_of_threads():
    clock = Clock()
    table = TurnTable(clock=clock)

    def reserve(seed):
        drawn = random.Random(seed)
        leases = [(table.reserve("host", 0.01, drawn.randint(1, 5))) for _ in range(50)]
        return [round(lease.wait_s / 0.01) + k for lease in leases for k in range(lease.num)]

    with ThreadPoolExecutor(8) as pool:
        turns = [turn for found in pool.map(reserve, range(8)) for turn in found]
    assert sorted(turns) == list(range(len(turns)))


def test_the_table_reserves_no_more_than_two_minutes_and_says_when_to_come_again():
    clock = Clock()
    table = TurnTable(clock=clock)
    first = table.reserve("host", 10.0, 100)
    assert (first.wait_s, first.num) == (0.0, 13)
    assert table.reserve("host", 10.0, 1).num == 0
    clock.now += table.reserve("host", 10.0, 1).wait_s
    again = table.reserve("host", 10.0, 100)
    assert (again.wait_s, again.num) == (70.0, 6)
    assert table.reserve("other", 10.0, 1) == table.reserve("third", 3600.0, 1)


def test_a_table_that_starts_anew_waits_for_the_turns_that_it_has_forgotten():
    clock = Clock()
    table = TurnTable(quiet_s=120.0, clock=clock)
    waited = 0.0
    while not (lease := table.reserve("host", 10.0, 1)).num:
        clock.now += lease.wait_s
        waited += lease.wait_s
    assert waited + lease.wait_s >= 120.0 + 10.0
