"""Scenarios of worker.py for models that fuse: `ranks_once("fused", world, of=..., ...)`."""

import torch
import torch.distributed as dist

TOWER = {"width": 16, "mlp_width": 32, "num_layers": 2, "num_heads": 2, "activation": "gelu"}
VISION, TEXT = {"side_px": 16, "patch_px": 8}, {"context_tokens": 8}
FISSION = {"family": "fission", "projection_width": 8, "initial_scale": 10.0}
MODELS = {
    "single_stream": {"family": "single_stream", "vision": VISION, "text": TEXT, "stream": TOWER},
    "cross": FISSION
    | {"vision": VISION | TOWER | {"width": 24}, "text": TEXT | TOWER, "fusion": {"kind": "cross", "num_layers": 2}},
    "joint": FISSION
    | {"vision": VISION | TOWER | {"width": 24}, "text": TEXT | TOWER, "fusion": {"kind": "joint", "num_layers": 2}},
}
MODELS["mixture"] = MODELS["cross"] | {"fusion": {"kind": "mixture", "num_layers": 0}}
MODELS["captioner"] = FISSION | {
    "family": "captioner", "vision": MODELS["cross"]["vision"], "text": TEXT | TOWER, "decoder_layers": 2,
    "image_queries": 3,
}  # fmt: skip
CONTRAST = {"infonce": {"false_negatives": "mask", "max_scale": 100.0}}
BOTH = {"matching": {"negatives": "hard"}, "masked_words": {}}
OBJECTIVES = {
    "single_stream": {"matching": {"negatives": "random"}, "masked_words": {}, "word_patch": {}},
    "cross": CONTRAST | BOTH,
    "joint": CONTRAST
    | {"matching": BOTH["matching"], "masked_words": {"sees": "text"}, "masked_patches": {}, "masked_pair": {}},
    "mixture": CONTRAST | {"matching": BOTH["matching"], "captioning": {"label_smoothing": 0.1}},
    "captioner": CONTRAST | {"captioning": {"weight": 2.0}},
}
BATCH, SIZE = 8, 40


def vocabulary():
    from pretrain.encoders.text import Vocabulary

    return Vocabulary(SIZE, 0, 1, 2)


def words():
    from pretrain.tokenize import WordTable

    return WordTable(mask=3, special=(0, 1, 2, 3), goes_on=(10, 11, 12), ordinary=tuple(range(4, SIZE)))


def objective_of(name):
    from pipeline.recipe import check
    from pretrain.objectives.table import ObjectiveConfig, objectives

    config = check(ObjectiveConfig, OBJECTIVES[name], where="test")
    return objectives(config, words(), VISION["patch_px"]), config.needs().keys()


def model_of(name):
    """The same model on every rank and in every process."""
    from pydantic import TypeAdapter

    from pretrain.models.table import AnyModelConfig, build_model

    torch.manual_seed(0)
    return build_model(TypeAdapter(AnyModelConfig).validate_python(MODELS[name]), vocabulary(), objective_of(name)[1])


def inputs_of(name, step, rank, world):
    """This rank's part of one step's batch, with masks and pairs that do not depend on the number of ranks."""
    from pretrain.batch import IGNORED, Inputs
    from pretrain.objectives.masked_words import chosen_words, hidden

    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (BATCH, 3, 16, 16), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(4, SIZE, (BATCH, 8), generator=generator)
    tokens[:, 0] = 0
    for row, length in enumerate(torch.randint(2, 8, (BATCH,), generator=generator).tolist()):
        tokens[row, length], tokens[row, length + 1 :] = 1, 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(100 + step)
        chosen = chosen_words(tokens, words(), 0.3)
        masked = hidden(tokens, chosen, words())
    size = BATCH // world
    own = slice(rank * size, (rank + 1) * size)
    ids = torch.arange(BATCH)
    ids[5] = ids[0]  # a file that came twice
    targets = tokens.masked_fill(~chosen, IGNORED)
    inputs = Inputs(images[own], tokens[own], ids[own], ids[own])
    asks = OBJECTIVES[name]
    if "matching" in asks:
        inputs = inputs._replace(pairing=given(rank, size))
    if "masked_words" in asks:
        inputs = inputs._replace(hidden_tokens_BL=masked[own], word_targets_BL=targets[own])
    if "masked_patches" in asks:
        inputs = inputs._replace(hidden_patches_BP=(torch.arange(BATCH * 4).view(BATCH, 4) % 3 == step % 3)[own])
    return inputs._replace(captions="captioning" in asks)


def given(rank, size):
    """Each pair, and each text with an image of its own half of the batch; not all of these count."""
    from pretrain.batch import Pairs

    half = torch.arange(size) // (BATCH // 2) * (BATCH // 2)
    other = (torch.arange(size) + 1) % (BATCH // 2) + half
    own, no = torch.arange(size), torch.zeros(size, dtype=torch.bool)
    counts = (torch.arange(size) + rank * size) % 3 > 0
    pairs = Pairs(torch.cat([own, other]), torch.cat([own, own]), torch.cat([~no, no]), torch.cat([~no, counts]))
    return lambda features, inputs: pairs


def trajectories(names, stages, steps):
    """Losses and parameters of each model under each ZeRO stage."""
    from worker import engine_settings, learning_rate

    from pretrain.zero import ZeroEngine

    found = {}
    for name in names:
        objective, _ = objective_of(name)
        for stage in stages:
            engine = ZeroEngine(model_of(name), engine_settings(stage), torch.device("cpu"))
            losses = []
            for step in range(steps):
                inputs = inputs_of(name, step, dist.get_rank(), dist.get_world_size())
                loss = objective(engine.forward(inputs), inputs)
                engine.step(loss.total, learning_rate(step))
                mean = torch.tensor(loss.values())
                dist.all_reduce(mean)
                losses.append((mean / dist.get_world_size()).tolist())
            found[name, stage] = {"losses": losses, "state": engine.full_state()}
            engine.close()
    return found
