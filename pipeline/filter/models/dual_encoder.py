"""The door to torch and transformers for dual encoders: pixels and texts in, unit embeddings out.

Takes a `Checkpoint`. Images are prepared as the checkpoint's own processor says, by Pillow alone: decoded, resized,
cut to the centre; scaling and shifting happen on the device. What this gives equals transformers' Pillow processors
(`CLIPImageProcessorPil`, `SiglipImageProcessorPil`) followed by `get_image_features`, on the CPU to float rounding.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

from pipeline.errors import StageError
from pipeline.filter.models.checkpoint import Checkpoint, Preprocessing
from pipeline.quiet import no_progress_bar

Dtype = Literal["float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "gpu"]


def prepared_image(rgb: np.ndarray, how: Preprocessing) -> np.ndarray:
    """[height, width, 3] uint8 of any size -> the same of the model's size."""
    image = Image.fromarray(rgb)
    resample = Image.Resampling(how.resample)
    if how.shortest_px is not None:
        width, height = image.size
        shorter, longer = min(width, height), max(width, height)
        scaled = int(how.shortest_px * longer / shorter)
        size = (how.shortest_px, scaled) if width <= height else (scaled, how.shortest_px)
        image = image.resize(size, resample)
    elif how.resize_px is not None:
        image = image.resize(how.resize_px[::-1], resample)
    if how.crop_px is not None:
        height, width = how.crop_px
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))  # black outside, as the processors pad
    return np.asarray(image)


class DualEncoder:
    """A loaded model. Thread-safe: parts are scored by threads of one process where there is no Ray."""

    def __init__(self, checkpoint: Checkpoint, dtype: Dtype, device: Device) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.preprocessing = checkpoint.preprocessing
        self._kind, self._context_tokens = checkpoint.kind, checkpoint.context_tokens
        self._device = _device(device)
        self._dtype = getattr(torch, dtype)
        self._lock = threading.Lock()  # a fast tokenizer is borrowed by one thread at a time
        with checkpoint.local() as folder, no_progress_bar():
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            loaded: Any = AutoModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        model, info = loaded
        if info["missing_keys"]:  # transformers would go on with random numbers in their place
            missing = sorted(info["missing_keys"])
            raise StageError(
                f"{checkpoint.url}: its weights lack {len(missing)} tensors, the first {missing[0]!r}. "
                "Save the whole model again: model.save_pretrained(folder)."
            )
        self._model = model.to(self._device, self._dtype).eval()
        how = self.preprocessing
        mean, std = torch.tensor(how.mean, device=self._device), torch.tensor(how.std, device=self._device)
        # (pixel * scale - mean) / std as one product and one sum
        self._factor_C11 = (how.scale / std).view(-1, 1, 1)
        self._shift_C11 = (-mean / std).view(-1, 1, 1)

    def images(self, pixels: np.ndarray) -> np.ndarray:
        """[B, height, width, 3] uint8, prepared -> [B, width] float32 of unit length."""
        import torch

        with torch.inference_mode():
            values = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
            values = values.to(torch.float32, memory_format=torch.contiguous_format)
            values = values.mul_(self._factor_C11).add_(self._shift_C11)
            return _unit(self._model.get_image_features(pixel_values=values.to(self._dtype)))

    def tokens(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The texts as the model takes them; longer ones are cut to its context."""
        # SigLIP was trained on texts padded to its whole context, and attends to the padding
        padding = "max_length" if self._kind == "siglip" else "longest"
        with self._lock:
            found = self._tokenizer(
                list(texts), padding=padding, truncation=True, max_length=self._context_tokens, return_tensors="np"
            )
        names = ("input_ids", "attention_mask") if self._kind == "clip" else ("input_ids",)
        return {name: found[name] for name in names}

    def texts(self, tokens: dict[str, np.ndarray]) -> np.ndarray:
        """Tokens -> [B, width] float32 of unit length."""
        import torch

        with torch.inference_mode():
            values = {name: torch.from_numpy(ids).to(self._device) for name, ids in tokens.items()}
            return _unit(self._model.get_text_features(**values))


def _unit(features: Any) -> np.ndarray:
    pooled = getattr(features, "pooler_output", features).float()
    return (pooled / pooled.norm(dim=-1, keepdim=True)).cpu().numpy()


def _device(wanted: Device) -> Any:
    import torch

    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "gpu":
        raise StageError("device is 'gpu', and torch sees none here. Set device = \"auto\", or name a site with GPUs.")
    return torch.device("cpu")
