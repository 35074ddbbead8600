"""From trained parameters to a folder that transformers opens: model, tokenizer, image processor, model card.

CLIPModel.from_pretrained(folder); AutoTokenizer.from_pretrained(folder); CLIPImageProcessor.from_pretrained(folder)
and the same with SiglipModel, where the recipe's towers pool as SigLIP's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.commit import stamp_of
from pipeline.quiet import no_progress_bar
from pipeline.store import Store
from pretrain.encoders.text import Vocabulary, to_transformers
from pretrain.encoders.vision import PIXEL_MEAN, PIXEL_STD
from pretrain.models.initial import renamed
from pretrain.pretrained import USE, description, write_pretrained
from pretrain.tokenize import Tokenizer

if TYPE_CHECKING:
    from transformers import CLIPModel, SiglipModel

    from pretrain.recipe import TrainingRecipe

FOLDER = "export"
_KIND = "A dual encoder"
_USE = """from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

model = CLIPModel.from_pretrained(folder)
tokenizer, processor = AutoTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
words = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
logits = model(**words, **processor(images, return_tensors="pt")).logits_per_image
"""
_USE_SIGLIP = """from transformers import AutoTokenizer, CLIPImageProcessor, SiglipModel

model = SiglipModel.from_pretrained(folder)
tokenizer, processor = AutoTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
words = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")    # padding is part of the input
images = processor(images, return_tensors="pt")
logits = model(input_ids=words["input_ids"], **images).logits_per_image    # sigmoid gives probabilities
"""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a model comes from: the data by manifest, and how far it was trained."""

    recipe: TrainingRecipe
    manifest_sha256: str
    step: int
    recalls: Mapping[str, float]


def transformers_model(
    recipe: TrainingRecipe, vocabulary: Vocabulary, state: Mapping[str, Tensor]
) -> CLIPModel | SiglipModel:
    """A transformers CLIPModel or SiglipModel in float32 that holds the parameters `state` of a DualEncoder.

    Raises: RuntimeError: `state` lacks a parameter, or has one too many.
    """
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    model = recipe.model
    towers = {
        "vision_config": model.vision.to_transformers(model.projection_width).to_dict(),
        "text_config": to_transformers(model.text, vocabulary, model.projection_width).to_dict(),
    }
    if is_siglip(recipe):
        made = SiglipModel(SiglipConfig(**towers))
    else:
        made = CLIPModel(CLIPConfig(**towers, projection_dim=model.projection_width))
    shapes = {name: parameter.shape for name, parameter in made.named_parameters()}
    state = {renamed(name): tensor for name, tensor in state.items()}
    if is_siglip(recipe):
        state.setdefault("logit_bias", torch.zeros(1))  # trained without one, by softmax
    made.load_state_dict({name: tensor.reshape(shapes.get(name, tensor.shape)) for name, tensor in state.items()})
    return made.eval()


def is_siglip(recipe: TrainingRecipe) -> bool:
    """Whether the towers are those of a SiglipModel."""
    return recipe.model.vision.pooling == "attention"


def write_export(run: Store, tokenizer_folder: Path, state: Mapping[str, Tensor], lineage: Lineage) -> Store:
    """Write the folder `export` of a run, replacing the one before. Returns it."""
    recipe = lineage.recipe
    vocabulary = Tokenizer(tokenizer_folder, recipe.model.text.context_tokens).vocabulary
    with tempfile.TemporaryDirectory(prefix="pairmill-") as temporary, no_progress_bar():
        folder = Path(temporary)
        if fuses(recipe):
            write_pretrained(folder, description(recipe.model, vocabulary, recipe.objective.needs()), state)
        else:
            transformers_model(recipe, vocabulary, state).save_pretrained(str(folder))
            processor = image_processor(recipe.model.vision.side_px)
            (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1, sort_keys=True) + "\n")
        for path in sorted(tokenizer_folder.iterdir()):
            shutil.copyfile(path, folder / path.name)
        weights = stamp_of("model.safetensors", folder / "model.safetensors").sha256
        (folder / "README.md").write_text(card(lineage, weights), encoding="utf-8")
        run.delete(FOLDER)
        for path in sorted(folder.iterdir()):
            run.put_file(path, f"{FOLDER}/{path.name}")
    return run.folder(FOLDER)


def fuses(recipe: TrainingRecipe) -> bool:
    """Whether the model is of a family that transformers has no class for."""
    return recipe.model.family != "parallel"


def image_processor(side_px: int) -> dict[str, Any]:
    """Settings of transformers' CLIPImageProcessor that does what `pretrain.transform.centred` does."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side_px},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side_px, "width": side_px},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(PIXEL_MEAN),
        "image_std": list(PIXEL_STD),
    }


def card(lineage: Lineage, weights_sha256: str) -> str:
    """The model card: what the model is, what it was trained on, what it can do, how to open it."""
    recipe = lineage.recipe
    kind, use = (f"A {recipe.model.family.replace('_', ' ')} model", USE) if fuses(recipe) else (_KIND, _USE)
    use = _USE_SIGLIP if not fuses(recipe) and is_siglip(recipe) else use
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in lineage.recalls.items())
    return f"""---
library_name: {"pairmill" if fuses(recipe) else "transformers"}
pipeline_tag: zero-shot-image-classification
tags: [{recipe.model.family if fuses(recipe) else "clip"}, pairmill]
---

# {recipe.name}

{kind} for images of {recipe.model.vision.side_px} px and texts of up to {recipe.model.text.context_tokens}
tokens, trained from scratch with pairmill for {lineage.step} steps of {recipe.batch_size} pairs
({lineage.step * recipe.batch_size} samples seen).

```python
{use}```

## Lineage

| | |
|---|---|
| dataset | `{recipe.data.url}`, split `{recipe.data.split}` |
| manifest sha256 | `{lineage.manifest_sha256}` |
| recipe sha256 | `{recipe.digest()}` |
| steps | {lineage.step} of {recipe.steps} |
| weights sha256 | `{weights_sha256}` |

Its licence and its limits are those of the data it was trained on; see the dataset's card.

## Retrieval on split `{recipe.data.eval_split}`

| measure | value |
|---|---|
{rows}
"""
