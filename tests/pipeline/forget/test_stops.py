"""A request that is stopped at any write, or killed at any moment, is finished by whatever runs next."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pipeline.forget.carry_out import forget
from pipeline.forget.request import read_requests
from pipeline.forget.select import Selectors
from pipeline.shard.verify import verify
from pipeline.store import Store

from .conftest import PROCESS, all_files, files_that_say, raw_rows

ADVICE = "Run `pairmill forget DATASET`, or `pairmill curate` with its recipe: either finishes it."


def without_clock(files):
    """All but what a clock wrote, and the folders that only exist while something is under way."""
    return {name: data for name, data in files.items() if not name.startswith(("forgotten/", "commits/forget/"))}


@pytest.mark.parametrize(
    "call", ["put_bytes", "move", *(pytest.param(call, marks=pytest.mark.slow) for call in ("put_file", "delete"))]
)
def test_a_stop_at_a_write_is_finished_by_the_next_run(plain_world, copy_of, tmp_path, stopped_at, call):
    world, whole = copy_of(plain_world)
    rows = raw_rows(whole)
    keys, marks = (rows[2]["key"], rows[14]["key"]), [b"zq002x", b"zq014x", rows[2]["media"][-120:-20]]
    untouched = all_files(whole)
    forget(whole, Selectors(keys=keys), PROCESS)
    wanted = without_clock(all_files(whole))
    rng, stops = random.Random(call), 0
    for number in (0, *sorted(rng.sample(range(1, 50), 3))):
        for name in [*all_files(whole)]:
            whole.delete(name)
        for name, data in untouched.items():
            whole.put_bytes(name, data)
        whole = Store(whole.url)
        if not stopped_at(call, number, forget, whole, Selectors(keys=keys), PROCESS):
            break
        stops += 1
        whole = Store(whole.url)
        problems = verify(whole)
        if any(not request.is_done for request in read_requests(whole)):
            assert [problem.part for problem in problems] == ["commits/forget/00000.json"]
            assert str(problems[0]).endswith(ADVICE)
        else:
            assert problems == []
        if stops % 2 and read_requests(whole):
            world.curate()
        forget(whole, Selectors(keys=keys) if not read_requests(whole) else Selectors(), PROCESS)
        assert verify(whole) == []
        assert {mark: files for mark, files in files_that_say(whole, marks).items() if files} == {}
        assert without_clock(all_files(whole)) == wanted
    assert stops > 1


def test_killed_at_any_moment_it_is_finished(plain_world, copy_of):
    world, dataset = copy_of(plain_world)
    rows = raw_rows(dataset)
    keys = [rows[n]["key"] for n in (1, 13, 25, 37)]
    marks = [f"zq{n:03d}x".encode() for n in (1, 13, 25, 37)]
    command = [sys.executable, "-m", "cluster.cli", "forget", dataset.url, "--on", "process"]
    asked = [*command, *(part for key in keys for part in ("--key", key))]
    rng, kills = random.Random(5), 0
    for _ in range(6):
        process = subprocess.Popen(asked, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and not dataset.exists("commits/forget/00000.json"):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.5)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        asked = command
        requests = read_requests(Store(dataset.url))
        if requests and requests[0].is_done:
            break
    assert kills > 0
    if not read_requests(Store(dataset.url))[0].is_done:
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    dataset = Store(dataset.url)
    assert verify(dataset) == []
    assert {mark: files for mark, files in files_that_say(dataset, marks).items() if files} == {}
    files = all_files(dataset)
    world.curate()
    assert {name: data for name, data in all_files(dataset).items() if files.get(name) != data} == {}
