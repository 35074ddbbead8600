"""Evaluate or export a model that no training process holds: an exported folder, any CLIPModel folder, or a run.

One process, on the CPU or one device. A run without an export is read from its newest checkpoint, whatever number
of workers wrote it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from pipeline.errors import TrainingError
from pipeline.quiet import no_progress_bar
from pipeline.shard.reader import ShardReader
from pipeline.store import Store
from pretrain.batch import Features, Inputs
from pretrain.checkpoint import fetched, newest
from pretrain.encoders.text import filled
from pretrain.encoders.vision import PIXEL_MEAN, PIXEL_STD
from pretrain.evals.held_out import held_out
from pretrain.evals.rerank import Split
from pretrain.evals.retrieval import EvalConfig, Transforms
from pretrain.export import FOLDER, Lineage, fuses, transformers_model, write_export
from pretrain.metrics import FILE
from pretrain.models.parallel import unit_rows
from pretrain.pretrained import Pretrained, description, holds_pretrained
from pretrain.session import LINEAGE, RECIPE, local_tokenizer, stored_recipe
from pretrain.tokenize import Tokenizer
from pretrain.world import World
from pretrain.zero import consolidated

if TYPE_CHECKING:
    from transformers import CLIPModel, SiglipModel


@dataclass(frozen=True)
class Opened:
    """A model that can be asked, with what its inputs have to go through."""

    clip: CLIPModel | SiglipModel
    tokenizer: Tokenizer
    side_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    heads: ClassVar[frozenset[str]] = frozenset({"contrast"})

    @property
    def model(self) -> CLIPModel | SiglipModel:
        """The module, to be moved to a device."""
        return self.clip

    def answer(self, inputs: Inputs) -> Features:
        """Unit rows of uint8 images and of token ids; a side that is None is skipped."""
        images_BCHW, tokens_BL = inputs.images_BCHW, inputs.tokens_BL
        clip, device = self.clip, self.clip.device
        image_BD = text_BD = None
        with torch.no_grad():
            if images_BCHW is not None:
                mean, std = (255 * torch.tensor(part, device=device).view(1, 3, 1, 1) for part in (self.mean, self.std))
                pixels_BCHW = (images_BCHW.to(device).float() - mean) / std
                image_BD = clip.vision_model(pixel_values=pixels_BCHW).pooler_output
                image_BD = unit_rows(image_BD if self.is_siglip else clip.visual_projection(image_BD))
            if tokens_BL is not None:
                if self.is_siglip:
                    tokens_BL = filled(tokens_BL, self.tokenizer.context_tokens, self.tokenizer.vocabulary.padding)
                text_BD = clip.text_model(input_ids=tokens_BL.to(device)).pooler_output
                text_BD = unit_rows(text_BD if self.is_siglip else clip.text_projection(text_BD))
            return Features(image_BD, text_BD, clip.logit_scale.exp())

    @property
    def is_siglip(self) -> bool:
        """Whether towers end in their own projections, and texts are filled up."""
        return self.clip.config.model_type == "siglip"


def evaluate(model: str, data_url: str, split: str, config: EvalConfig | None = None) -> dict[str, float]:
    """Retrieval of a model on one split of a dataset folder, in this process.

    Args:
        model: an exported folder, another folder that holds a CLIPModel with tokenizer and image processor, or a run.
        config: `max_samples`, `block` and `rerank`; none takes the whole split.
    Returns: recalls in [0, 1] with their chance, as `held_out` gives them.
    Raises: TrainingError: `model` is none of these. DatasetError: no such data.
    """
    reader = ShardReader(data_url, split)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with opened(model) as found:
        found.model.to(device)
        transforms = Transforms(found.side_px, found.tokenizer)
        split = Split(reader, transforms, config or EvalConfig(every_steps=1), World(0, 1, device))
        return held_out(found.answer, found.heads, split)


def export_run(url: str) -> str:
    """Export the newest checkpoint of a run, finished or not. Returns the URL of the exported folder.

    Raises: TrainingError: no run, or one without a checkpoint.
    """
    run = Store(url)
    recipe = stored_recipe(run)
    state, step = _newest_state(run)
    manifest = json.loads(run.read_bytes(LINEAGE))["manifest_sha256"]
    with local_tokenizer(run) as folder:
        return write_export(run, folder, state, Lineage(recipe, manifest, step, _recalls(run, step))).url


@contextmanager
def opened(model: str) -> Iterator[Opened | Pretrained]:
    """The model at `model`, on the CPU."""
    store = Store(model.rstrip("/") or model)
    if store.exists(RECIPE):
        if store.exists(f"{FOLDER}/config.json"):
            store = store.folder(FOLDER)
        else:
            with _from_checkpoint(store) as found:
                yield found
            return
    if not store.exists("config.json"):
        raise TrainingError(
            f"{model}: neither a run ({RECIPE}) nor an exported model (config.json). Name a folder that `pretrain` or "
            "`export` wrote."
        )
    with _local_copy(store) as folder:
        yield _from_folder(folder)


@contextmanager
def _from_checkpoint(run: Store) -> Iterator[Opened | Pretrained]:
    recipe = stored_recipe(run)
    state, _ = _newest_state(run)
    with local_tokenizer(run) as folder:
        tokenizer = Tokenizer(folder, recipe.model.text.context_tokens)
        if fuses(recipe):
            described = description(recipe.model, tokenizer.vocabulary, recipe.objective.needs())
            yield Pretrained.of(described, state, folder)
            return
        clip = transformers_model(recipe, tokenizer.vocabulary, state)
        yield Opened(clip, tokenizer, recipe.model.vision.side_px, PIXEL_MEAN, PIXEL_STD)


def _from_folder(folder: Path) -> Opened | Pretrained:
    from transformers import CLIPModel, SiglipModel

    if holds_pretrained(folder):
        return Pretrained.open(folder)
    with no_progress_bar():
        kind = json.loads((folder / "config.json").read_text())["model_type"]
        opened_by = SiglipModel if kind == "siglip" else CLIPModel
        clip = opened_by.from_pretrained(str(folder), local_files_only=True).eval()
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    crop = processor["crop_size"]
    side_px = crop["height"] if isinstance(crop, dict) else crop
    tokenizer = Tokenizer(folder, clip.config.text_config.max_position_embeddings)
    return Opened(clip, tokenizer, side_px, tuple(processor["image_mean"]), tuple(processor["image_std"]))


def _newest_state(run: Store) -> tuple[Mapping[str, Tensor], int]:
    checkpoint = newest(run)
    if checkpoint is None:
        raise TrainingError(f"{run.url}: holds no finished checkpoint yet. Let the run reach one, then try again.")
    with fetched(run, checkpoint) as folder:
        return consolidated(folder, checkpoint.stage), checkpoint.step


def _recalls(run: Store, step: int) -> dict[str, float]:
    """What the run measured at `step`; empty where it was not evaluated there."""
    if not run.exists(FILE):
        return {}
    records = [json.loads(line) for line in run.read_bytes(FILE).splitlines()]
    found = [record["eval"] for record in records if "eval" in record and record["step"] == step]
    return found[-1] if found else {}


@contextmanager
def _local_copy(store: Store) -> Iterator[Path]:
    if store.is_local:
        yield store.local_path("")
        return
    with tempfile.TemporaryDirectory(prefix="pairmill-") as temporary:
        for name in store.list(""):
            (Path(temporary) / name).write_bytes(store.read_bytes(name))
        yield Path(temporary)
