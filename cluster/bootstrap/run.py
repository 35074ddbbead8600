"""Run the loop of a data filtering network, link by link; what is there already, made from the same, is left alone.

    seed --curate--> shards --pretrain--> network --score--> pool --judge, shard--> kept pairs --pretrain--> model

Datasets resume by their commits. A run belongs to its recipe and to the bytes it learns from, so a changed link is a
new run beside the old one, and going back finds the old one. It is finished where its record says so of the very model
that lies in its export:

    runs/network-1f0c3a5b7d9e/finished.json    export: stamp of the model's files; eval: its last evaluation
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.bootstrap.recipe import NETWORK, BootstrapRecipe
from cluster.progress import StageProgress
from cluster.site import Site
from cluster.verbs.train import run_training
from pipeline.curate import DatasetRecipe, check_recipe, curate
from pipeline.engine import ray_session
from pipeline.errors import AskedWrongly, RecipeError, TrainingError
from pipeline.filter.models.checkpoint import Checkpoint
from pipeline.funnel import Funnel
from pipeline.recipe import digest_of
from pipeline.shard.reader import ShardReader
from pipeline.store import Store
from pretrain.checkpoint import newest
from pretrain.export import FOLDER as EXPORT
from pretrain.recipe import TrainingRecipe, differences
from pretrain.session import LINEAGE, stored_recipe

FINISHED = "finished.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the model in it, and what its last evaluation gave."""

    run: str
    export: str
    eval: dict[str, float] | None


@dataclass(frozen=True)
class Bootstrapped:
    """What a loop gave. `train` is None where the recipe ends with the filtered pool."""

    seed: Funnel
    network: Trained
    pool: Funnel
    train: Trained | None


def check_bootstrap(recipe: BootstrapRecipe, site: Site) -> None:
    """Refuse what cannot work, in any link, before the first one starts. Raises: AskedWrongly: naming the link."""
    pool = recipe.judged_pool(f"{recipe.folder}/runs")
    checks: dict[str, Callable[[], Any]] = {
        "seed": lambda: check_recipe(recipe.seed),
        "pool": lambda: check_recipe(pool, later={NETWORK}),
    }
    for name, training in recipe.trainings().items():
        checks[name] = lambda training=training: training.batch_of_rank(site.train.workers)
    for name, fits in checks.items():
        try:
            fits()
        except AskedWrongly as error:
            raise type(error)(f"[{name}] {error}") from None


def bootstrap(recipe: BootstrapRecipe, site: Site, say: Say) -> Bootstrapped:
    """Bring every link up to date, in turn.

    Raises: AskedWrongly: nothing was started. RunFailed: a link failed; running again goes on from there.
    """
    check_bootstrap(recipe, site)
    links = 3 if recipe.train is None else 4
    with ray_session(site.engine):
        say(f"1/{links} seed: curating the pairs that are known to be good")
        seed = _curated(recipe.seed, site, say)
        say(f"2/{links} network: training it on them")
        network = _trained("network", recipe.network, recipe.folder, site, say)
        say(f"3/{links} pool: curating it, judged by the network")
        pool = _curated(recipe.judged_pool(network.run), site, say)
        train = None
        if recipe.train is not None:
            say(f"4/{links} train: training on what is kept")
            train = _trained("train", recipe.train, recipe.folder, site, say)
    return Bootstrapped(seed, network, pool, train)


def _curated(recipe: DatasetRecipe, site: Site, say: Say) -> Funnel:
    progress = StageProgress()
    try:
        funnel = curate(recipe, site.engine, progress=progress).funnel
    finally:
        progress.close()
    say("\n".join(funnel.lines()))
    return funnel


def _trained(name: str, recipe: TrainingRecipe, folder: str, site: Site, say: Say) -> Trained:
    """The finished run of this recipe on this data, trained now where it is not there."""
    run = _run_of(name, recipe, folder)
    found = _finished(run)
    if found is not None:
        say(f"{run} is finished")
        return found
    result = run_training(recipe, site, run)
    reached = newest(Store(run))
    if reached is None or reached.step < recipe.steps:
        step = 0 if reached is None else reached.step
        raise TrainingError(f"{run}: stopped after step {step} of {recipe.steps}. Run again to go on from there.")
    return _finish(run, result["eval"])


def _run_of(name: str, recipe: TrainingRecipe, folder: str) -> str:
    """The run of this recipe on this data, or the folder for a new one.

    Recipes are compared as they resolve today, so that a setting which a later version adds makes no run stale.
    """
    data = ShardReader(recipe.data.url, recipe.data.split).fingerprint
    runs = Path(folder, "runs")
    for run in sorted(runs.glob(f"{name}-*")):
        with contextlib.suppress(RecipeError, TrainingError):  # another version's, or killed before it began
            before = stored_recipe(Store(str(run)))
            same_data = json.loads((run / LINEAGE).read_bytes())["manifest_sha256"] == data
            if same_data and not differences(before.identity(), recipe.identity()):
                return str(run)
    return str(runs / f"{name}-{digest_of([recipe.identity(), data])[:12]}")


def _finished(run: str) -> Trained | None:
    """What the record of a run says, if the model in its export is still the one it speaks of."""
    store = Store(run)
    if not (store.exists(FINISHED) and store.exists(f"{EXPORT}/config.json")):
        return None
    record = json.loads(store.read_bytes(FINISHED))
    if Checkpoint(run, FINISHED).stamp != record["export"]:
        return None
    return Trained(run, store.folder(EXPORT).url, record["eval"])


def _finish(run: str, recalls: dict[str, float] | None) -> Trained:
    """Write the record of a run that has reached its last step."""
    record = {"export": Checkpoint(run, FINISHED).stamp, "eval": recalls}
    store = Store(run)
    store.put_bytes(FINISHED, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    return Trained(run, store.folder(EXPORT).url, recalls)
