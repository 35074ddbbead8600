"""Real shards of drawn squares, small recipes, and real processes that train on them."""

import hashlib
import io
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageDraw

from pipeline.recipe import check
from pipeline.record import SHARD_INDEX, sample_key
from pipeline.shard.manifest import Manifest, ShardEntry, Split
from pipeline.tar import TarWriter

WORKER = Path(__file__).with_name("worker.py")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
GROUNDS = ("black", "grey", "brown", "navy")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A dataset folder with 160 training and 70 validation scenes, several texts each, some files twice."""
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, {"train": [draw(n) for n in range(160)], "validation": [draw(1000 + n) for n in range(70)]})
    return str(folder)


def draw(number):
    """(image bytes, mime, texts) of one scene; every 20th has the bytes of the one before."""
    if number % 20 == 19:
        return draw(number - 1)
    rng = random.Random(number)
    colour, ground = rng.choice(COLOURS), rng.choice(GROUNDS)
    shape = rng.choice(("square", "disc"))
    image = Image.new("RGB", (rng.choice((48, 60)), rng.choice((48, 72))), ground)
    x, y = rng.randint(6, 16), rng.randint(6, 16)
    pen = ImageDraw.Draw(image)
    (pen.rectangle if shape == "square" else pen.ellipse)((x, y, x + 24, y + 24), fill=colour)
    mime = "image/png" if number % 7 == 0 else "image/jpeg"
    buffer = io.BytesIO()
    image.save(buffer, mime.removeprefix("image/").upper())
    texts = [f"a {colour} {shape} on {ground}", f"{colour} {shape}, {ground} ground"]
    return buffer.getvalue(), mime, texts[: 1 + number % 2]


def write_dataset(folder, splits, shard_size=50):
    """Shards with index and manifest, written by hand as the record describes them."""
    entries = {}
    for split, samples in splits.items():
        shards = [
            _write_shard(folder, split, start // shard_size, list(enumerate(samples))[start : start + shard_size])
            for start in range(0, len(samples), shard_size)
        ]
        entries[split] = Split(len(samples), sum(shard.bytes for shard in shards), tuple(shards))
    manifest = Manifest("scenes", entries)
    (folder / "shards" / "manifest.json").write_bytes(manifest.to_json())


def _write_shard(folder, split, number, samples):
    path = folder / "shards" / split / f"{number:05d}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with TarWriter(path) as tar:
        for index, (media, mime, texts) in samples:
            key = sample_key(split, str(index))
            member = tar.add(f"{key}.{mime[6:]}", media)
            digest = hashlib.sha256(media).hexdigest()
            row = {"key": key, "mime": mime, "weight": 1.0, "sha256": digest, "media_sha256": digest}
            row |= {"texts": [{"text": text, "kind": "caption", "lang": "en"} for text in texts]}
            row |= {"media_offset": member.data_offset, "media_size": member.data_size, "width": 1, "height": 1}
            rows.append(row)
    index_path = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows, SHARD_INDEX), index_path)
    stamps = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, index_path)]
    return ShardEntry(f"{split}/{path.name}", len(samples), path.stat().st_size, *stamps)


def small_recipe(url, **changes):
    """Settings of a model of some thousand parameters; `changes` are `table__key=value`."""
    settings = {
        "name": "small",
        "seed": 5,
        "batch_size": 12,
        "steps": 6,
        "precision": "fp32",
        "data": {"url": url, "eval_split": "validation"},
        "tokenizer": {"vocabulary": 300, "max_texts": 1000},
        "augment": {"min_area_ratio": 0.6, "max_aspect": 1.2, "flip_prob": 0.5},
        "model": {
            "family": "parallel",
            "projection_width": 16,
            "initial_scale": 14.2857,
            "vision": tower(side_px=16, patch_px=8),
            "text": tower(context_tokens=16),
        },
        "objective": {"infonce": {"false_negatives": "mask", "max_scale": 100.0}},
        "optimizer": {
            "name": "adamw",
            "lr": 1e-2,
            "betas": [0.9, 0.98],
            "eps": 1e-6,
            "weight_decay": 0.2,
            "max_grad_norm": 1.0,
        },
        "schedule": {"name": "cosine", "warmup_steps": 2, "floor_ratio": 0.1},
        "zero": {"stage": 1, "persistent_elements": 0},
        "checkpoint": {"every_steps": 3},
        "eval": {"every_steps": 6, "block": 16},
    }
    for name, value in changes.items():
        table = settings
        *path, key = name.split("__")
        for part in path:
            table = table[part]
        table[key] = value
    return settings


def tower(**size):
    return {"width": 16, "mlp_width": 32, "num_layers": 2, "num_heads": 2, "activation": "gelu", **size}


@pytest.fixture(scope="session")
def recipe_of():
    """Settings -> checked TrainingRecipe."""
    from pretrain.recipe import TrainingRecipe

    return lambda url, **changes: check(TrainingRecipe, small_recipe(url, **changes), where="test")


@pytest.fixture(scope="session")
def settings_of():
    return small_recipe


@pytest.fixture(scope="session")
def write_shards_to():
    return write_dataset


@pytest.fixture(scope="session")
def ranks_once(tmp_path_factory):
    """Run a scenario of worker.py in real processes, one per rank; gives what each rank returned."""

    def run(scenario, world, **arguments):
        folder = tmp_path_factory.mktemp(scenario)
        (folder / "arguments.json").write_text(json.dumps(arguments))
        port = free_port()
        processes = [_start(scenario, rank, world, folder, port) for rank in range(world)]
        try:
            codes = [process.wait(timeout=200) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        assert not any(codes), "\n".join((folder / f"{rank}.log").read_text() for rank in range(world))
        return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]

    return run


def _start(scenario, rank, world, folder, port):
    environment = os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(WORKER), scenario, str(folder)]
    with (folder / f"{rank}.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def free_port():
    # Ranks listen seconds later, when they have imported torch. A port that the system gives to outgoing connections
    # (32768 and up) may be taken by then, so it is one below.
    while True:
        port = random.SystemRandom().randrange(15_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
