"""The trainer: one function that Ray Train and torchrun both run on every worker.

    train_func({"recipe": <resolved TrainingRecipe as a dict>, "run": <run folder>})

It prepares the run, resumes where there is a checkpoint, trains, evaluates, checkpoints, and leaves an exported
model. Everything a step needs is a function of the recipe and the step number: batch, learning rate, randomness. A
resumed run therefore takes up the weights and the optimizer and nothing else, and gives the same bits.
"""

from __future__ import annotations

import hashlib
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch

from pipeline.errors import TrainingError
from pipeline.recipe import check
from pipeline.store import Store
from pretrain.batch import Batch, Inputs
from pretrain.checkpoint import Checkpoint, Saves, check_world, load, prune, save
from pretrain.data.stream import Stream
from pretrain.evals.held_out import held_out
from pretrain.evals.rerank import Split
from pretrain.evals.retrieval import Transforms
from pretrain.export import Lineage, write_export
from pretrain.loader import Share, TrainLoader
from pretrain.metrics import Metrics
from pretrain.momentum import WithTeacher
from pretrain.objectives.table import objectives
from pretrain.recipe import TrainingRecipe
from pretrain.schedule import lr_ratio
from pretrain.session import Session, fresh_model, fresh_teacher, prepared
from pretrain.world import World, joined
from pretrain.zero import ZeroEngine

log = logging.getLogger(__name__)


def train_func(config: dict[str, Any]) -> dict[str, Any]:
    """Train on this worker; every worker of the run calls it with the same `config`.

    Args:
        config: `recipe`, the resolved recipe as a dictionary; `run`, the folder or URL of the run.
    Returns: `step` reached, `stopped` (asked to stop early), `eval` (None if stopped) and `export`, its URL.
    Raises: RecipeError, DatasetError: before the first step. TrainingError: the run cannot go on.
    """
    recipe = check(TrainingRecipe, config["recipe"], where="training recipe")
    run = Store(config["run"])
    with joined() as world:
        recipe.batch_of_rank(world.size)
        with prepared(recipe, run, world) as session:
            return _train(session)


def _train(session: Session) -> dict[str, Any]:
    recipe, run, world = session.recipe, session.run, session.world
    engine = ZeroEngine(fresh_model(recipe, session.tokenizer.vocabulary), recipe.engine_settings(), world.device)
    teacher = fresh_teacher(session)
    state = engine if teacher is None else WithTeacher(engine, teacher)
    loader = _loader(session)
    step = 0
    if session.resume is not None:
        check_world(session.resume, world.size, run.url)
        load(run, state, session.resume)
        step = session.resume.step
        loader.go_on(session.resume.loader)
        log.info("resumed run=%s step=%d", run.url, step)
    saved, evaluated, recalls = step, -1, None
    metrics = Metrics(run, step) if world.rank == 0 else None
    words = session.tokenizer.words() if recipe.objective.hides_words() else None
    objective = objectives(recipe.objective, words, recipe.model.vision.patch_px)
    stop = False

    with _asked_to_stop() as asked, closing(loader.batches()) as batches:
        while step < recipe.steps and not stop:
            start, waited = time.perf_counter(), loader.waited_s
            batch = next(batches)
            waited = loader.waited_s - waited
            torch.manual_seed(_step_seed(recipe.seed, step, world.rank))
            inputs = objective.ask(Inputs.of(batch.to(world.device)))
            if teacher is not None:
                inputs = teacher.teach(inputs, step)
            features = engine.forward(inputs)
            loss = objective(features, inputs)
            stops, broken, total, *parts = world.sums([float(asked.is_set()), float(batch.num_broken), *loss.values()])
            loader.count_broken(int(broken))
            _check_finite("loss", total, step, batch, world)
            lr = recipe.optimizer.lr * lr_ratio(recipe.schedule, step, recipe.steps)
            report = engine.step(loss.total, lr)
            if report.applied:
                _check_finite("grad_norm", report.grad_norm, step, batch, world)
            for name, (low, high) in objective.ranges.items():
                engine.clamp(name, low, high)
            if teacher is not None:
                teacher.follow(engine, inputs)
            step += 1
            stop = stops > 0
            if metrics is not None:
                seconds = time.perf_counter() - start
                values = {
                    "loss": total / world.size,
                    **{f"loss/{name}": part / world.size for name, part in zip(loss.parts, parts, strict=True)},
                    "lr": lr,
                    **({} if features.scale is None else {"logit_scale": float(features.scale.detach())}),
                    "grad_norm": report.grad_norm,
                    "skipped": 0 if report.applied else 1,
                    "samples_per_s": recipe.batch_size / seconds,
                    "loader_wait": waited / seconds,
                    "broken": loader.num_broken,
                }
                metrics.step(step, values)
            if step % recipe.eval.every_steps == 0 or step == recipe.steps:
                recalls, evaluated = evaluated_recalls(session, engine), step
                if metrics is not None:
                    metrics.evaluation(step, recalls)
            if step % recipe.checkpoint.every_steps == 0 or step == recipe.steps or stop:
                _save(session, state, loader, step)
                saved = step
                if metrics is not None:
                    metrics.publish()

    if stop and step < recipe.steps:
        log.info("stopped run=%s step=%d checkpoint=%d", run.url, step, saved)
        recalls, export = None, None
    else:
        if evaluated != step or recalls is None:  # resumed after the last step: all is done but this
            recalls = evaluated_recalls(session, engine)
        export = _export(session, engine, step, recalls)
    if metrics is not None:
        metrics.close()
    engine.close()
    return {"step": step, "stopped": stop and step < recipe.steps, "eval": recalls, "export": export}


def evaluated_recalls(session: Session, engine: ZeroEngine) -> dict[str, float]:
    """What is measured on the held-out split, over all ranks."""
    recipe = session.recipe
    transforms = Transforms(recipe.model.vision.side_px, session.tokenizer)
    split = Split(session.held_out, transforms, recipe.eval, session.world)
    return held_out(engine.answer, recipe.objective.needs().keys(), split)


def _loader(session: Session) -> TrainLoader:
    recipe, world = session.recipe, session.world
    stream = Stream(session.sources, recipe.data.stream(recipe.seed, recipe.batch_size))
    share = Share(world.rank, world.size, recipe.model.vision.side_px, pinned=world.device.type == "cuda")
    return TrainLoader(
        stream, session.tokenizer, share, data=recipe.data, augment=session.augment, config=recipe.loader
    )


def _save(session: Session, state: Saves, loader: TrainLoader, step: int) -> None:
    recipe, world, stream = session.recipe, session.world, loader.state()
    record = Checkpoint(step, world.size, stream["position"], recipe.zero.stage, (), stream)
    save(session.run, state, record, world)
    if world.rank == 0:
        prune(session.run, recipe.checkpoint.keep)


def _export(session: Session, engine: ZeroEngine, step: int, recalls: dict[str, float]) -> str:
    state = engine.full_state()
    if session.world.rank == 0:
        lineage = Lineage(session.recipe, session.held_out.fingerprint, step, recalls)
        write_export(session.run, session.tokenizer_folder, state, lineage)
    session.world.barrier()
    return session.run.folder("export").url


def _check_finite(name: str, value: float, step: int, batch: Batch, world: World) -> None:
    """Raises: TrainingError on every rank: training has diverged, and no checkpoint of it is written."""
    if math.isfinite(value):
        return
    keys = [key for share in world.gather(batch.keys) for key in share]
    raise TrainingError(
        f"step {step}: {name} is {value}. The batch holds the samples {', '.join(keys[:8])} and {len(keys[8:])} more. "
        "Look at them with `pairmill show`, or lower optimizer.lr; running again resumes from the last checkpoint."
    )


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Randomness of a step depends on these three alone, so a checkpoint holds no generator state."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{step}\0{rank}".encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, where this is the main thread; under Ray Train it is not, and Ray retries instead."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
