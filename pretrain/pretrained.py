"""Models of families that transformers has no class for, as a folder, and back in two lines:

    from pretrain.pretrained import Pretrained
    model = Pretrained.open("runs/tiny-albef/export")

The folder holds config.json (the recipe's `[model]` table, the vocabulary, the heads), model.safetensors and the files
of the tokenizer; nothing in it is code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from pretrain.batch import Features, Inputs, Pairs
from pretrain.encoders.text import Vocabulary
from pretrain.loader import stack_images
from pretrain.models.table import AnyModelConfig, build_model
from pretrain.tokenize import Tokenizer
from pretrain.transform import centred

MODEL_TYPE = "pairmill"
"""`model_type` of config.json, by which such a folder is known."""
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Pretrained:
    """A model with what its inputs have to go through."""

    model: nn.Module
    tokenizer: Tokenizer
    side_px: int
    heads: frozenset[str]

    @classmethod
    def open(cls, folder: str | Path) -> Pretrained:
        """The model in a folder that `write_pretrained` wrote, on the CPU, in float32."""
        from safetensors.torch import load_file

        folder = Path(folder)
        described = json.loads((folder / _CONFIG).read_text())
        return cls.of(described, load_file(folder / _WEIGHTS), folder)

    @classmethod
    def of(cls, described: Mapping[str, Any], state: Mapping[str, Tensor], tokenizer_folder: Path) -> Pretrained:
        """The model that config.json describes, with these parameters."""
        config = TypeAdapter(AnyModelConfig).validate_python(described["model"])
        heads = frozenset(described["heads"])
        with torch.random.fork_rng(devices=[]):
            model = build_model(config, Vocabulary(**described["vocabulary"]), heads)
        model.load_state_dict(dict(state))
        return cls(model.eval(), Tokenizer(tokenizer_folder, config.text.context_tokens), config.vision.side_px, heads)

    @torch.no_grad()
    def answer(self, inputs: Inputs) -> Features:
        """The model's forward."""
        return self.model(inputs)

    def embed(self, images: Sequence[np.ndarray] | None, texts: Sequence[str] | None) -> Features:
        """Unit rows of images (uint8 RGB, HWC, of any size) and of texts, of a model that has a shared space."""
        return self.answer(Inputs(*self._inputs(images, texts)))

    def match(self, images: Sequence[np.ndarray], texts: Sequence[str]) -> Tensor:
        """Probability that an image and a text are a pair, for as many images as texts."""
        own_N = torch.arange(len(images))
        pairs = Pairs(own_N, own_N, torch.ones_like(own_N, dtype=torch.bool), torch.ones_like(own_N, dtype=torch.bool))
        features = self.answer(Inputs(*self._inputs(images, texts), pairing=lambda *_: pairs))
        assert features.match_N2 is not None
        return features.match_N2.softmax(dim=1)[:, 1]

    def _inputs(
        self, images: Sequence[np.ndarray] | None, texts: Sequence[str] | None
    ) -> tuple[Tensor | None, Tensor | None]:
        squares = None if images is None else stack_images([centred(image, self.side_px) for image in images])
        return squares, None if texts is None else self.tokenizer(texts)


USE = """from pretrain.pretrained import Pretrained

model = Pretrained.open(folder)
probabilities = model.match(images, texts)    # images: uint8 RGB, HWC; as many texts
"""
"""How a card says to open such a folder."""


def holds_pretrained(folder: Path) -> bool:
    """Whether a folder with a config.json holds a model of ours."""
    return json.loads((folder / _CONFIG).read_text()).get("model_type") == MODEL_TYPE


def description(config: AnyModelConfig, vocabulary: Vocabulary, heads: Iterable[str]) -> dict[str, Any]:
    """What config.json says."""
    return {
        "model_type": MODEL_TYPE,
        "model": config.model_dump(mode="json"),
        "vocabulary": asdict(vocabulary),
        "heads": sorted(heads),
    }


def write_pretrained(folder: Path, described: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors; the tokenizer's files have to be beside them."""
    from safetensors.torch import save_file

    (folder / _CONFIG).write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / _WEIGHTS, {"format": "pt"})
