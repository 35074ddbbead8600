"""The engine: runs a stage over the partitions that are missing or stale, on Ray Data or in this process.

It is the only module of `pipeline` that imports Ray. A Ray dataset holds partition descriptors, never media:
CPU stages run as a task pool, stages that ask for a GPU as an actor pool; in both a process sets a stage up once. What
comes back is commit records. Both places run the same `run_part`, so their output is the same. Stages that ask for
shared turns (pipeline/turns.py) get those of one table: an object of this process, or an actor that restarts where its
node dies.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pickle
import shutil
import sys
import uuid
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Literal

from pydantic import Field

from pipeline.commit import Commit, drop_part, made_by_hash, read_commits
from pipeline.errors import AskedWrongly, DatasetError, PairmillError, StageError
from pipeline.recipe import RecipeTable
from pipeline.stage import SCRATCH, Part, Stage, run_part
from pipeline.store import Store
from pipeline.turns import AHEAD_S, Lease, Turns, TurnTable

log = logging.getLogger(__name__)

_TURNS_ANSWER_S = 60.0
"""Time for an actor to restart on another node."""
MAX_FAILED_PARTS = 10
"""So many failed parts mean that something is wrong with all of them, and end the run."""

Progress = Callable[[str, int, int], None]
"""Called as (stage name, parts done, parts in all), once per finished part."""


Outcome = Commit | PairmillError
"""What became of a part."""


class EngineConfig(RecipeTable):
    """Where stages run; the `[engine]` table of a site."""

    place: Literal["ray", "process"] = "ray"
    """`ray`: Ray Data, local or a cluster. `process`: threads of this process, for tests and debugging."""
    address: str | None = None
    """Address of a running Ray cluster; none starts one on this machine that ends with the run."""
    workers: int | None = Field(default=None, ge=1)
    """The most parts at once; none takes what the CPUs of the cluster allow."""


class Engine:
    """Runs stages of one dataset folder."""

    def __init__(self, dataset: Store, config: EngineConfig, progress: Progress | None = None) -> None:
        self.dataset = dataset
        self.config = config
        self.progress = progress or (lambda stage, done, total: None)
        self.turns = TurnTable()

    def run(self, stage: Stage, parts: Sequence[Part]) -> dict[str, Commit]:
        """Bring every part of `stage` up to date. Returns part id -> commit, in the order of `parts`.

        A part that fails stops no other, until MAX_FAILED_PARTS have failed.

        Raises: PairmillError: the first error of a part; what was finished stays committed.
        """
        finished, pending = self.plan(stage, parts)
        total = len(parts)
        self.progress(stage.name, len(finished), total)
        failed: list[PairmillError] = []
        if pending:
            if self.config.place == "ray":
                outcomes = _run_on_ray(stage, pending, self.dataset, self.config)
            else:
                outcomes = _run_in_process(stage, pending, self.dataset, self.config, self.turns)
            for outcome in outcomes:
                if isinstance(outcome, PairmillError):
                    log.error("stage=%s failed=%s", stage.name, outcome)
                    failed.append(outcome)
                    if len(failed) == MAX_FAILED_PARTS:
                        break
                else:
                    finished[outcome.part] = outcome
                    self.progress(stage.name, len(finished), total)
            outcomes.close()  # parts that have not begun do not begin
        if failed:
            raise failed[0]
        log.info("stage=%s parts=%d done_now=%d", stage.name, total, len(pending))
        return {part.id: finished[part.id] for part in parts}

    def plan(self, stage: Stage, parts: Sequence[Part]) -> tuple[dict[str, Commit], list[tuple[Part, str]]]:
        """What is up to date, and what has to be made with the hash of what will make it."""
        standing = read_commits(self.dataset, stage.name)
        cache: dict[str, dict[str, Commit]] = {}
        finished, pending = {}, []
        of_stage = stage.settings()
        for part in parts:
            inputs = [self._input(cache, *ref) for ref in part.inputs]
            settings = [of_stage, dict(part.facts)]
            made_by = made_by_hash(stage.name, stage.version, settings, inputs)
            commit = standing.get(part.id)
            if commit is not None and commit.made_by == made_by:
                finished[part.id] = commit
            else:
                pending.append((part, made_by))
        return finished, pending

    def each(self, name: str, look: Callable[[Store, Any], Any], items: Sequence[Any]) -> Generator[Any, None, None]:
        """What `look` says of each item, as the answers come, wherever stages run; nothing is published.

        Args:
            name: what the progress calls it. look: a function of a module, called as look(dataset, item).
        Raises: StageError: Ray lost its workers. Whatever `look` raises.
        """
        self.progress(name, 0, len(items))
        if self.config.place == "ray" and items:
            answers = _look_on_ray(name, look, items, self.dataset, self.config)
        else:
            answers = _look_in_process(look, items, self.dataset, self.config)
        for done, answer in enumerate(answers, 1):
            self.progress(name, done, len(items))
            yield answer

    def prune(self, stage: str, wanted: Collection[str]) -> None:
        """Remove parts of `stage` that the plan no longer has, such as those of a list that became shorter."""
        for part, commit in read_commits(self.dataset, stage).items():
            if part not in wanted:
                drop_part(self.dataset, commit)

    def has_gpu(self) -> bool:
        """Whether any node of the Ray session that is open has a GPU; a process asks nobody for its own."""
        if self.config.place != "ray":
            return False
        return importlib.import_module("ray").cluster_resources().get("GPU", 0) > 0

    def clean(self) -> None:
        """Remove what killed workers left in scratch; call while no other run uses the dataset."""
        if self.dataset.is_local:
            shutil.rmtree(self.dataset.local_path(SCRATCH), ignore_errors=True)
            for torn in self.dataset.local_path("commits").glob("*/.*.tmp"):
                torn.unlink(missing_ok=True)

    def _input(self, cache: dict[str, dict[str, Commit]], stage: str, part: str) -> Commit:
        if stage not in cache:
            cache[stage] = read_commits(self.dataset, stage)
        commit = cache[stage].get(part)
        if commit is None:
            raise DatasetError(f"{self.dataset.url}: {stage} part {part} is not committed. Run {stage} first.")
        return commit


def _run_in_process(
    stage: Stage, pending: list[tuple[Part, str]], dataset: Store, config: EngineConfig, turns: Turns
) -> Generator[Outcome, None, None]:
    stage.setup()
    with ThreadPoolExecutor(config.workers or os.cpu_count() or 1) as pool:
        futures = [pool.submit(_attempt, stage, part, made_by, dataset, turns) for part, made_by in pending]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _look_in_process(
    look: Callable[[Store, Any], Any], items: Sequence[Any], dataset: Store, config: EngineConfig
) -> Generator[Any, None, None]:
    with ThreadPoolExecutor(config.workers or os.cpu_count() or 1) as pool:
        futures = [pool.submit(look, dataset, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _look_task(row: dict[str, Any], look: Callable[[Store, Any], Any], dataset: Store) -> dict[str, Any]:
    try:
        return {"answer": pickle.dumps(look(dataset, pickle.loads(row["item"])))}
    except PairmillError as error:
        return {"answer": pickle.dumps(error)}


def _look_on_ray(
    name: str, look: Callable[[Store, Any], Any], items: Sequence[Any], dataset: Store, config: EngineConfig
) -> Generator[Any, None, None]:
    with ray_session(config):
        ray_data = importlib.import_module("ray.data")
        rows = [{"item": pickle.dumps(item)} for item in items]
        source = ray_data.from_items(rows, override_num_blocks=len(rows))
        most = None if config.workers is None else min(config.workers, len(rows))
        answers = source.map(_look_task, fn_args=(look, dataset), concurrency=most, num_cpus=1)
        for row in _rows_of(answers, name):
            answer = pickle.loads(row["answer"])
            if isinstance(answer, PairmillError):
                raise answer
            yield answer


def _rows_of(answers: Any, name: str) -> Generator[dict[str, Any], None, None]:
    """The rows of a Ray dataset as they come; what ends it early is one error of ours."""
    try:
        yield from answers.iter_rows()
    except Exception as error:
        last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise StageError(f"{name}: Ray lost its workers: {last[0]}") from error


class _RayWorker:
    """One worker of a stage on Ray: sets up once, then makes the parts it is handed."""

    def __init__(self, stage: Stage, dataset: Store, turns: Turns | None) -> None:
        self.stage, self.dataset, self.turns = stage, dataset, turns
        stage.setup()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        part, made_by = pickle.loads(row["task"])
        return {"outcome": pickle.dumps(_attempt(self.stage, part, made_by, self.dataset, self.turns))}


_set_up: dict[str, _RayWorker] = {}
"""Of this process on Ray: run -> what is set up for it. One at most, so that old weights do not stay."""


def _run_task(row: dict[str, Any], run: str, stage: Stage, dataset: Store, turns: Turns | None) -> dict[str, Any]:
    """As `_RayWorker`, for tasks: Ray hands them one by one to processes that it keeps."""
    if run not in _set_up:
        _set_up.clear()
        _set_up[run] = _RayWorker(stage, dataset, turns)
    return _set_up[run](row)


class _TurnsActor:
    """The table of turns on Ray. One that was lost with its node comes back knowing nothing, and begins slowly."""

    def __init__(self) -> None:
        is_restarted = importlib.import_module("ray").get_runtime_context().was_current_actor_reconstructed
        self._table = TurnTable(quiet_s=AHEAD_S if is_restarted else 0.0)

    def reserve(self, name: str, interval_s: float, num: int) -> Lease:
        return self._table.reserve(name, interval_s, num)


class _RayTurns:
    """The turns of an actor, for workers on any node. Goes with the driver."""

    def __init__(self) -> None:
        ray = importlib.import_module("ray")
        # a call that is made again only loses turns
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        self._actor = ray.remote(**options)(_TurnsActor).remote()

    def reserve(self, name: str, interval_s: float, num: int) -> Lease:
        """As `TurnTable`. Raises: StageError: the actor does not answer."""
        ray = importlib.import_module("ray")
        try:
            return ray.get(self._actor.reserve.remote(name, interval_s, num), timeout=_TURNS_ANSWER_S)
        except ray.exceptions.RayError as error:
            raise StageError(
                f"turns: the actor that keeps the pace of hosts gave no answer ({type(error).__name__}); wanted one "
                f"within {_TURNS_ANSWER_S:g} s. Look at the nodes of the Ray cluster, and run again."
            ) from error


def _run_on_ray(
    stage: Stage, pending: list[tuple[Part, str]], dataset: Store, config: EngineConfig
) -> Generator[Outcome, None, None]:
    with ray_session(config):
        _check_fits(stage)
        ray_data = importlib.import_module("ray.data")
        rows = [{"task": pickle.dumps(task)} for task in pending]
        source = ray_data.from_items(rows, override_num_blocks=len(rows))
        shared = stage, dataset, _RayTurns() if stage.resources.turns == "shared" else None
        options: dict[str, Any] = {"num_cpus": stage.resources.cpus}
        if stage.resources.memory_gb:
            options["memory"] = stage.resources.memory_gb * 1e9
        if stage.resources.gpus:
            actors = min(len(rows), config.workers or len(rows))
            options["num_gpus"] = stage.resources.gpus
            done = source.map(
                _RayWorker, fn_constructor_args=shared, concurrency=(1, actors), **options
            )
        else:
            # Ray warns where more tasks are allowed than there are parts
            most = None if config.workers is None else min(config.workers, len(rows))
            done = source.map(_run_task, fn_args=(uuid.uuid4().hex, *shared), concurrency=most, **options)
        for row in _rows_of(done, stage.name):
            yield pickle.loads(row["outcome"])


def _check_fits(stage: Stage) -> None:
    """Refuse a stage that no node could ever run; Ray would wait for such a node without a word."""
    ray = importlib.import_module("ray")
    wanted = {"CPU": stage.resources.cpus, "GPU": stage.resources.gpus, "memory": stage.resources.memory_gb * 1e9}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for node in nodes:
        if all(node.get(name, 0) >= amount for name, amount in wanted.items()):
            return
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
    asked = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount)
    found = ", ".join(f"{most[name]:g} {name}" for name, amount in wanted.items() if amount)
    raise AskedWrongly(
        f"{stage.name}: one worker wants {asked}, and the largest node of the Ray cluster has {found}. "
        "Lower what the stage asks for in the recipe, or name a site with larger nodes."
    )


@contextlib.contextmanager
def ray_session(config: EngineConfig) -> Iterator[None]:
    """A Ray that is there for the block: the one already connected, the cluster at `address`, or one of our own."""
    if config.place != "ray":
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if config.address is None and "ray" not in sys.modules:  # Ray reads it when it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    ray = importlib.import_module("ray")
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.address is None:
        ray.init(address="local", include_dashboard=False, **quiet)
    else:
        ray.init(address=config.address, **quiet)
    context = importlib.import_module("ray.data").DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a failure reaches the user as our own error
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()


def _attempt(stage: Stage, part: Part, made_by: str, dataset: Store, turns: Turns | None) -> Outcome:
    """Make one part; an error is an answer, so that it travels as it is and stops no other part."""
    try:
        return run_part(stage, part, made_by, dataset, turns)
    except PairmillError as error:
        return error
    except Exception as error:
        log.exception("stage=%s part=%s", stage.name, part.id)
        return StageError(f"{stage.name} part {part.id}: {type(error).__name__}: {error}")
