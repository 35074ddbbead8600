"""The pace of a host is kept by all workers of a run together: threads, and Ray workers on two nodes.

The server's own log decides. It is compared with lower bounds only: a slow machine makes requests later, never denser.
"""

import itertools
import time

import pyarrow.parquet as pq
import pytest

from pipeline import engine as engine_module
from pipeline.engine import Engine, EngineConfig, ray_session
from pipeline.errors import StageError
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.media.image import ImageConfig
from pipeline.stage import Part
from pipeline.store import Store

INTERVAL_S = 0.5
PARTS, ROWS = 2, 4
OWN = {"per_host_rate_hz": 1 / INTERVAL_S, "robots": "ignore"}
THEIRS = {"robots": "respect"}


@pytest.fixture
def paced(web, draw, tmp_path, candidates_of):
    """A host that wants a pace, a dataset of two parts that want its pictures, and when each was asked for."""
    body, asked = draw.encoded(draw.photo()), []

    async def picture(request, writer):
        asked.append(time.monotonic())
        writer.write(draw.head(length=len(body)) + body)

    rules = f"User-agent: *\nCrawl-delay: {INTERVAL_S}\n".encode()
    web.raw("/robots.txt", draw.head(length=len(rules)) + rules)
    dataset, parts = Store(str(tmp_path / "dataset")), []
    for number in range(PARTS):
        paths = [f"/{number}/{i}" for i in range(ROWS)]
        web.pages |= dict.fromkeys(paths, picture)
        name, local = f"candidates/{number}.parquet", tmp_path / "part.parquet"
        pq.write_table(candidates_of([web.url(path) for path in paths]), local)
        dataset.put_file(local, name)
        parts.append(Part(f"{number:05d}", (), {"candidates": name}))
    return dataset, parts, asked


def run(web, paced, config, pace):
    """Fetch all parts; the times of the requests, from the start of the run."""
    dataset, parts, asked = paced
    stage = Fetch(
        FetchConfig(ports=(web.port,), allow_private=("127.0.0.1",), tdmrep="ignore", **pace), ImageConfig()
    )
    began = time.monotonic()
    commits = Engine(dataset, config).run(stage, parts)
    assert {commit.counts["success"] for commit in commits.values()} == {ROWS}
    return sorted(at - began for at in asked)


def assert_paced(times):
    assert len(times) == PARTS * ROWS
    assert all(at >= i * INTERVAL_S - 0.01 for i, at in enumerate(times)), times  # counted from the start of the run
    assert all(b - a >= INTERVAL_S / 2 for a, b in itertools.pairwise(times)), times


@pytest.mark.parametrize("pace", [OWN, THEIRS], ids=["our rate", "their Crawl-delay"])
def test_threads_keep_one_pace(web, paced, pace):
    assert_paced(run(web, paced, EngineConfig(place="process", workers=2), pace))


@pytest.mark.ray
def test_ray_workers_on_two_nodes_keep_one_pace(web, paced, ray_of_two_nodes):
    config = EngineConfig(place="ray", address=ray_of_two_nodes)
    with ray_session(config):
        assert_paced(run(web, paced, config, OWN))


@pytest.mark.ray
def test_an_actor_that_was_lost_comes_back_slowly_and_one_that_does_not_is_an_error(ray_of_two_nodes):
    import ray

    config = EngineConfig(place="ray", address=ray_of_two_nodes)
    with ray_session(config):
        turns = engine_module._RayTurns()
        assert turns.reserve("host", 0.5, 3).num == 3
        ray.kill(turns._actor, no_restart=False)
        lease = until(lambda lease: lease.num == 0, turns)
        assert lease.wait_s >= 60.0
        ray.kill(turns._actor, no_restart=True)
        with pytest.raises(StageError, match=r"turns: the actor .* gave no answer .*run again"):
            until(lambda lease: False, turns)


def until(is_so, turns):
    """Ask for turns until the answer is so: a kill is an order, and the actor may answer until it is carried out."""
    for _ in range(300):
        lease = turns.reserve("host", 0.5, 3)
        if is_so(lease):
            break
        time.sleep(0.1)
    return lease


def test_who_gives_no_turns_fails_the_part_and_says_so(web, paced):
    class Gone:
        def reserve(self, name, interval_s, num):
            raise StageError("turns: no answer. Run again.")

    dataset, parts, asked = paced
    engine = Engine(dataset, EngineConfig(place="process"))
    engine.turns = Gone()
    config = FetchConfig(ports=(web.port,), allow_private=("127.0.0.1",), tdmrep="ignore", **OWN)
    with pytest.raises(StageError, match="turns: no answer"):
        engine.run(Fetch(config, ImageConfig()), parts)
    assert asked == []
