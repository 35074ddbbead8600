"""What a run needs before its first step: a run folder that belongs to this recipe, a tokenizer, readers, a model.

    recipe.json  environment.json  lineage.json  manifests/  tokenizer/  metrics.jsonl  tensorboard/  checkpoints/
    export/

A run folder that holds a checkpoint is resumed, and only by the recipe and the data that made it.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.jpeg import native
from pipeline.recipe import check
from pipeline.shard.reader import ShardReader
from pipeline.store import Store
from pretrain.checkpoint import Checkpoint, newest
from pretrain.consumed import LINEAGE, READING, RECIPE, keep_account
from pretrain.encoders.text import Vocabulary
from pretrain.models.table import build_model
from pretrain.momentum import Teacher
from pretrain.recipe import TrainingRecipe, differences
from pretrain.tokenize import Tokenizer, train_tokenizer
from pretrain.transform import AugmentConfig
from pretrain.world import World

TOKENIZER = "tokenizer"
ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Session:
    """A prepared run. `resume` is the checkpoint to go on from, None for a fresh start. `augment` names the decoder
    that the run began with."""

    recipe: TrainingRecipe
    run: Store
    world: World
    sources: tuple[ShardReader, ...]
    augment: AugmentConfig
    held_out: ShardReader
    resume: Checkpoint | None
    tokenizer: Tokenizer
    tokenizer_folder: Path


@contextmanager
def prepared(recipe: TrainingRecipe, run: Store, world: World) -> Iterator[Session]:
    """Open data and run folder; on a fresh start, write what describes the run and train the tokenizer.

    Raises: TrainingError: the folder holds a run of another recipe or other data. DatasetError: no such data.
    """
    sources = tuple(ShardReader(source.url, source.split, READING) for source in recipe.data.sources())
    held_out = ShardReader(recipe.data.url, recipe.data.eval_split, READING)
    resume = world.from_first(newest(run) if world.rank == 0 else None)
    _check_ranks_agree([held_out, *sources], world)
    lineage = _lineage(recipe, held_out, sources)
    if resume is not None:
        lineage["decoder"] = _check_same(recipe, lineage, run)
    elif world.rank == 0:
        _begin(recipe, lineage, run, sources)
    augment = recipe.augment.model_copy(update={"decoder": world.from_first(lineage["decoder"])})
    if world.rank == 0:
        keep_account(run, [held_out.url, *(reader.url for reader in sources)])
        run.put_bytes(ENVIRONMENT, _json(environment(world)))
    world.barrier()
    with local_tokenizer(run) as folder:
        tokenizer = Tokenizer(folder, recipe.model.text.context_tokens)
        yield Session(recipe, run, world, sources, augment, held_out, resume, tokenizer, folder)


def fresh_model(recipe: TrainingRecipe, vocabulary: Vocabulary) -> nn.Module:
    """The model with the first weights that the recipe's seed gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return build_model(recipe.model, vocabulary, recipe.objective.needs().keys())


def fresh_teacher(session: Session) -> Teacher | None:
    """The teacher that the recipe asks for, with the student's first weights."""
    recipe = session.recipe
    if recipe.momentum is None:
        return None
    model = fresh_model(recipe, session.tokenizer.vocabulary)
    return Teacher(model, recipe.momentum, recipe.model.projection_width, session.world.device)


def stored_recipe(run: Store) -> TrainingRecipe:
    """The recipe that a run folder was made by. Raises: TrainingError: it is no run folder."""
    if not run.exists(RECIPE):
        raise TrainingError(f"{run.url}: holds no {RECIPE}, so it is no run. Name a folder that `pretrain` wrote.")
    return check(TrainingRecipe, json.loads(run.read_bytes(RECIPE)), where=f"{run.url}/{RECIPE}")


def environment(world: World) -> dict[str, Any]:
    """Versions and machine of a run, for whoever wants to repeat it."""
    packages = ("pairmill", "torch", "deepspeed", "transformers", "tokenizers", "numpy", "pyarrow", "pillow")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "workers": world.size,
        "device": torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "packages": {name: metadata.version(name) for name in packages},
    }


@contextmanager
def local_tokenizer(run: Store) -> Iterator[Path]:
    """The tokenizer of a run as a local folder."""
    if run.is_local:
        yield run.local_path(TOKENIZER)
        return
    with tempfile.TemporaryDirectory(prefix="pairmill-") as temporary:
        for name in run.list(TOKENIZER):
            (Path(temporary) / name).write_bytes(run.read_bytes(f"{TOKENIZER}/{name}"))
        yield Path(temporary)


def _lineage(recipe: TrainingRecipe, held_out: ShardReader, sources: Sequence[ShardReader]) -> dict[str, Any]:
    """What a run was made of: `manifest_sha256` is that of `data.url`; a mixture names its sources too."""
    found = {"manifest_sha256": held_out.fingerprint, "url": recipe.data.url, "split": recipe.data.split}
    if recipe.data.mixture:
        found["sources"] = [
            {"manifest_sha256": reader.fingerprint, "url": reader.url, "split": reader.split} for reader in sources
        ]
    return found | {"decoder": recipe.augment.settled().decoder}


def _check_ranks_agree(readers: Sequence[ShardReader], world: World) -> None:
    """Raises: TrainingError: two machines hold copies of a dataset that are not the same."""
    of_ranks = world.gather([reader.fingerprint for reader in readers])
    for reader, *found in zip(readers, *of_ranks, strict=True):
        rank = next((rank for rank, manifest in enumerate(found) if manifest != found[0]), None)
        if rank is not None:
            raise TrainingError(
                f"{reader.url}: rank 0 reads a dataset with manifest {found[0][:12]}, rank {rank} one with "
                f"{found[rank][:12]}. Give all machines the same copy."
            )


def _begin(recipe: TrainingRecipe, lineage: dict[str, Any], run: Store, sources: Sequence[ShardReader]) -> None:
    run.delete(TOKENIZER)
    with tempfile.TemporaryDirectory(prefix="pairmill-") as temporary:
        made = Path(temporary) / TOKENIZER
        if recipe.tokenizer.folder is None:
            masks = recipe.objective.hides_words()
            texts = _in_turns([reader.texts() for reader in sources])
            train_tokenizer(texts, recipe.tokenizer, recipe.model.text.context_tokens, made, masks=masks)
        else:
            shutil.copytree(recipe.tokenizer.folder, made)
        for path in sorted(path for path in made.iterdir() if path.is_file()):
            run.put_file(path, f"{TOKENIZER}/{path.name}")
    run.put_bytes(LINEAGE, _json(lineage))
    run.put_bytes(RECIPE, _json(recipe.model_dump(mode="json")))


def _in_turns(streams: Sequence[Iterator[tuple[str, ...]]]) -> Iterator[tuple[str, ...]]:
    """One of each, until all have ended: so the first texts of a mixture are of all its datasets."""
    return (item for row in zip_longest(*streams) for item in row if item is not None)


def _check_same(recipe: TrainingRecipe, lineage: dict[str, Any], run: Store) -> str:
    """The decoder that the run began with. Raises: TrainingError: this is another run."""
    found = differences(stored_recipe(run).identity(), recipe.identity())
    if found:
        raise TrainingError(
            f"{run.url}: holds a run of another recipe ({'; '.join(found)}). "
            "Give the recipe that began it, or name a new run folder."
        )
    before = json.loads(run.read_bytes(LINEAGE))
    pairs = zip([before, *before.get("sources", [])], [lineage, *lineage.get("sources", [])], strict=True)
    for old, new in pairs:
        if old["manifest_sha256"] != new["manifest_sha256"]:
            raise TrainingError(
                f"{run.url}: began on the dataset with manifest {old['manifest_sha256'][:12]}; {new['url']} now "
                f"has {new['manifest_sha256'][:12]}. Bring back the old shards, or name a new run folder."
            )
    decoder = before.get("decoder")
    if decoder is None:
        raise TrainingError(f"{run.url}: began with a release whose crops were others. Name a new run folder.")
    if recipe.augment.decoder not in ("auto", decoder):
        raise TrainingError(
            f"{run.url}: began with augment.decoder {decoder!r}, the recipe says {recipe.augment.decoder!r}: other "
            f'pixels. Say {decoder!r} or "auto", or name a new run folder.'
        )
    if decoder == "native" and not native.is_built():
        raise TrainingError(
            f"{run.url}: began with pairmill's own JPEG decoder, which is not compiled here; other decoders give other "
            "pixels. Install a C compiler and pairmill again (`make setup`), or name a new run folder."
        )
    return decoder


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
