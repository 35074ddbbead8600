"""One rank of a test: python worker.py SCENARIO FOLDER. Its result goes to FOLDER/<rank>.pt."""

import contextlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.errors import PairmillError
from pretrain.world import joined


def trains(jobs):
    """Run train_func for each (recipe, run) in a standing process group; an error of ours becomes its text."""
    from pretrain.train import train_func

    results = []
    for recipe, run in jobs:
        try:
            results.append(train_func({"recipe": recipe, "run": run}))
        except PairmillError as error:
            results.append(f"{type(error).__name__}: {error}")
    return results


def trains_and_tells(recipe, run):
    """Run train_func; gives the keys of this rank's batch at every step that was made."""
    from pretrain.loader import TrainLoader
    from pretrain.train import train_func

    batches, told = TrainLoader.batches, {}

    def telling(self):
        with contextlib.closing(batches(self)) as made:
            for batch in made:
                told[len(told)] = batch.keys
                yield batch

    TrainLoader.batches = telling
    try:
        train_func({"recipe": recipe, "run": run})
    finally:
        TrainLoader.batches = batches
    return told


class PowerCut(BaseException):
    """What ends a run without asking."""


def breaks_and_resumes(jobs, after_steps):
    """For each (recipe, whole run, broken run): train the first; break the second, go on with it."""
    from pretrain.train import train_func
    from pretrain.zero import ZeroEngine

    clamp = ZeroEngine.clamp
    for recipe, whole, broken in jobs:
        steps = 0

        def break_down(self, name, low, high):
            nonlocal steps
            steps += 1
            if steps == after_steps:
                raise PowerCut
            clamp(self, name, low, high)

        train_func({"recipe": recipe, "run": whole})
        ZeroEngine.clamp = break_down
        try:
            train_func({"recipe": recipe, "run": broken})
        except PowerCut:
            pass
        else:
            raise AssertionError("the run was not broken")
        finally:
            ZeroEngine.clamp = clamp
        train_func({"recipe": recipe, "run": broken})


def recalls(url, block):
    """Embeddings and recalls of an untrained model over the ranks there are."""
    from pipeline.shard.reader import ShardReader
    from pretrain.batch import Features
    from pretrain.evals.retrieval import EvalConfig, Transforms, embed_split
    from pretrain.evals.retrieval import recalls as recalls_of
    from pretrain.models.parallel import unit_rows

    generator = torch.Generator().manual_seed(0)
    pixels, words = torch.randn(3 * 16 * 16, 8, generator=generator), torch.randn(40, 8, generator=generator)

    def embed(images, tokens):
        image = None if images is None else unit_rows(images.flatten(1).float() @ pixels)
        text = None if tokens is None else unit_rows(words[tokens].tanh().sum(dim=1))
        return Features(image, text, torch.tensor(1.0))

    with joined() as world:
        config = EvalConfig(every_steps=1, block=block)
        transforms = Transforms(16, letters)
        galleries = embed_split(embed, ShardReader(url, "validation"), transforms, config, world)
        return {
            "images": galleries.image_ND,
            "texts": galleries.text_MD,
            "pairs": galleries.pairs,
            "recalls": recalls_of(galleries),
        }


def letters(texts):
    """A tokenizer of eight letters a text."""
    rows = [[0] + [3 + ord(letter) % 37 for letter in text[::3][:6].ljust(6)] + [1] for text in texts]
    return torch.tensor(rows)


def stopped(recipe, run, at_step):
    """Train, and get SIGTERM once `at_step` is in the metrics."""
    from pretrain.metrics import Metrics
    from pretrain.train import train_func

    written = Metrics.step

    def write_then_signal(self, step, values):
        written(self, step, values)
        if step == at_step:
            os.kill(os.getpid(), signal.SIGTERM)

    Metrics.step = write_then_signal
    return train_func({"recipe": recipe, "run": run})


def contrast(dtypes, losses):
    """Loss and averaged gradients of two linear towers, the scale and the bias, for every dtype and loss."""
    return {(dtype, loss): _contrast(getattr(torch, dtype), loss) for dtype in dtypes for loss in losses}


def _contrast(dtype, loss):
    from pretrain.batch import Features
    from pretrain.models.parallel import unit_rows
    from pretrain.objectives.infonce import infonce
    from pretrain.objectives.sigmoid import sigmoid
    from pretrain.objectives.tiled import PairIds, Tiling

    inputs, image_weight, text_weight, log_scale, ids = toy_problem(dtype)
    bias = torch.tensor(-1.5, dtype=dtype, requires_grad=True)
    size = len(ids) // dist.get_world_size()
    rows = slice(dist.get_rank() * size, (dist.get_rank() + 1) * size)
    image, text = unit_rows(inputs[0][rows] @ image_weight), unit_rows(inputs[1][rows] @ text_weight)
    features = Features(image, text, log_scale.exp(), bias)
    pair_ids, losses = PairIds(ids[rows], ids[rows] // 3), {"infonce": infonce, "sigmoid": sigmoid}
    if loss == "without":
        value = _keys_without_gradient(features, pair_ids)
    else:
        value = losses[loss](features, pair_ids, Tiling(5)).total
    value.backward()
    found = [value.detach().clone(), image_weight.grad, text_weight.grad, log_scale.grad]
    found += [bias.grad] if loss == "sigmoid" else []
    for each in found:
        dist.all_reduce(each)
        each /= dist.get_world_size()
    return found


def _keys_without_gradient(features, ids):
    """InfoNCE as many write it: own rows against columns that are constants."""
    from torch.nn import functional

    from pretrain.objectives.gather import gather_constants, rank

    targets = torch.arange(len(ids.image_B)) + rank() * len(ids.image_B)
    same = torch.zeros(len(targets), len(targets) * dist.get_world_size(), dtype=torch.bool)
    for own in (ids.image_B, ids.text_B):
        same |= own[:, None] == gather_constants(own)
    same[torch.arange(len(targets)), targets] = False
    sides = ((features.image_BD, features.text_BD), (features.text_BD, features.image_BD))
    logits = [features.scale * left @ gather_constants(right.detach()).T for left, right in sides]
    return sum(functional.cross_entropy(each.masked_fill(same, -torch.inf), targets) for each in logits) / 2


def toy_problem(dtype):
    """The same on every rank: inputs of both sides, the weights of two towers, t, and ids of which some are equal."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(2, 12, 7, generator=generator, dtype=torch.float64).to(dtype)
    weights = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64).to(dtype)
    image_weight, text_weight = (weight.clone().requires_grad_() for weight in weights)
    log_scale = torch.tensor(2.0, dtype=dtype, requires_grad=True)
    return inputs, image_weight, text_weight, log_scale, torch.tensor([0, 1, 2, 10, 20, 30, 0, 50, 60, 70, 80, 20])


def zero_trajectories(stages, steps):
    """Parameters after every few steps of each ZeRO stage, and what the stage's engine says of them."""
    return {stage: _trajectory(stage, steps) for stage in stages}


def _trajectory(stage, steps):
    from pretrain.zero import ZeroEngine

    engine = ZeroEngine(tiny_model(), engine_settings(stage), torch.device("cpu"))
    norms, losses = [], []
    for step in range(steps):
        loss, report = _zero_step(engine, step)
        losses.append(loss)
        norms.append(report.grad_norm)
    state = engine.full_state()
    engine.close()
    return {"state": state, "norms": norms, "losses": losses}


def _zero_step(engine, step):
    from pretrain.batch import Inputs
    from pretrain.objectives.infonce import infonce

    images, tokens = tiny_batch(step)
    size = len(images) // dist.get_world_size()
    rows = slice(dist.get_rank() * size, (dist.get_rank() + 1) * size)
    loss = infonce(engine.forward(Inputs(images[rows], tokens[rows])), None).total
    report = engine.step(loss, learning_rate(step))
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    return mean.item() / dist.get_world_size(), report


def clamped(cases):
    """After one step and a clamp from above the range: master, working copy at the next forward, saved state."""
    from pretrain.batch import Inputs
    from pretrain.zero import ZeroEngine, consolidated

    found = {}
    for stage, precision, folder in cases:
        model = tiny_model()
        with torch.no_grad():
            model.logit_scale.fill_(6.0)
        engine = ZeroEngine(model, engine_settings(stage, precision), torch.device("cpu"))
        _zero_step(engine, 0)
        before = engine.full_state().get("logit_scale")
        engine.clamp("logit_scale", 0.0, LOG_100)
        images, tokens = tiny_batch(1)
        working = float(engine.answer(Inputs(images, tokens)).scale)
        master = engine.full_state()
        _save_together(engine, Path(folder))
        loaded = ZeroEngine(tiny_model(), engine_settings(stage, precision), torch.device("cpu"))
        loaded.load(Path(folder))
        reloaded = loaded.full_state()
        if dist.get_rank() == 0:
            saved = consolidated(Path(folder), stage)
            assert saved.keys() == master.keys()
            found[stage, precision] = {
                "before": float(before),
                "working": working,
                "master": float(master["logit_scale"]),
                "saved": all(torch.equal(saved[name], master[name]) for name in master),
                "reloaded": all(torch.equal(reloaded[name], master[name]) for name in master),
            }
        engine.close()
        loaded.close()
    return found


def _save_together(engine, folder):
    engine.save(folder)
    dist.barrier()


LOG_100 = 4.605170185988092


def tiny_model():
    """The same model on every rank and in every process."""
    from pipeline.recipe import check
    from pretrain.encoders.text import Vocabulary
    from pretrain.models.parallel import DualEncoder, ModelConfig

    tower = {"width": 16, "mlp_width": 32, "num_layers": 2, "num_heads": 2, "activation": "gelu"}
    config = {
        "family": "parallel",
        "projection_width": 8,
        "initial_scale": 10.0,
        "vision": {"side_px": 16, "patch_px": 8, **tower},
        "text": {"context_tokens": 8, **tower},
    }
    torch.manual_seed(0)
    return DualEncoder(check(ModelConfig, config, where="test"), Vocabulary(40, 0, 1, 2))


def tiny_batch(step):
    """Images and token ids of the whole batch of one step."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(3, 40, (8, 8), generator=generator)
    tokens[:, 0], tokens[:, -1] = 0, 1
    return images, tokens


def learning_rate(step):
    """Another one at every step, so that a stage that ignores it is seen."""
    return 5e-3 / (1 + step)


def engine_settings(stage, precision="fp32"):
    """Settings under which clipping is active and decay is large enough to be seen."""
    from pretrain.zero import EngineSettings

    optimizer = {"name": "adamw", "lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.2}
    return EngineSettings(
        zero={"stage": stage, "persistent_elements": 0},
        optimizer=optimizer | {"max_grad_norm": 0.5},
        precision=precision,
        batch_size=8,
    )


def fused(of, **arguments):
    """A scenario of fused_scenarios.py."""
    import fused_scenarios

    return getattr(fused_scenarios, of)(**arguments)


JOIN_THEMSELVES = ("recalls", "stopped")


def main():
    warnings.simplefilter("error", ResourceWarning)
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    arguments = json.loads((folder / "arguments.json").read_text())
    with contextlib.nullcontext() if scenario in JOIN_THEMSELVES else joined():
        result = globals()[scenario](**arguments)
    torch.save(result, folder / f"{os.environ['RANK']}.pt")
    # A thread of gloo that lives on may end this process with SIGABRT, when Python ends before it has come to rest.
    for _ in range(100):  # the system lists a thread for a moment after it was joined
        if not gloo_threads():
            return
        time.sleep(0.05)
    raise AssertionError(f"the process group was left, but threads still run: {gloo_threads()}")


def gloo_threads():
    """Names of this process's threads that gloo started."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it has just ended
            names.append(path.read_text().strip())
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    main()
