"""A probe: a stack of linear layers on an embedding, as a safetensors file, read with numpy alone.

Takes any file whose two-dimensional tensors, in the order of the numbers in their names, form a chain from the width
of the embedding to one number: LAION's aesthetic heads (a linear layer, or a stack of them without activations), NSFW
and watermark heads on CLIP embeddings, or what `pairmill probe fit` wrote. Tensors `mean` and `std` of the width of
the embedding, where they are there, shift and scale it first. Gives one number per row.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from pipeline.errors import PairmillError, RecipeError
from pipeline.store import Store

METADATA = "pairmill"
"""Key of the file's metadata under which `probe fit` keeps a JSON object."""
_MAX_HEADER_BYTES = 10 << 20
_READABLE = ("F64", "F32", "F16")

Activation = Literal["none", "relu", "gelu", "tanh"]
Output = Literal["linear", "sigmoid"]


@dataclass(frozen=True)
class ProbeFile:
    """Weights of a probe somewhere. `where` names the recipe's setting in errors."""

    url: str
    where: str

    @cached_property
    def header(self) -> dict[str, Any]:
        """The JSON header: tensor name -> dtype, shape. Raises: RecipeError: no safetensors file."""
        store, name = self._place
        try:
            size = int.from_bytes(store.read_range(name, 0, 8), "little")
            if not 2 <= size <= _MAX_HEADER_BYTES:
                raise ValueError("its header has no sensible size")
            found = json.loads(store.read_range(name, 8, size))
        except (PairmillError, ValueError) as error:
            raise self._wrong(f"cannot be read as a safetensors file: {error}.") from None
        if not isinstance(found, dict):
            raise self._wrong("cannot be read as a safetensors file: its header is no JSON object.")
        return found

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `probe fit` wrote about it; empty for files of others."""
        try:
            return json.loads(self.header.get("__metadata__", {}).get(METADATA, "{}"))
        except ValueError:
            return {}

    @property
    def chain(self) -> list[tuple[str, str | None, int, int]]:
        """Layers in order: name of the weight, name of its bias, numbers in, numbers out. Raises: RecipeError."""
        shapes = {name: tuple(item["shape"]) for name, item in self.header.items() if name != "__metadata__"}
        other = sorted({item["dtype"] for name, item in self.header.items() if name != "__metadata__"} - {*_READABLE})
        if other:
            raise self._wrong(f"holds {', '.join(other)}; wanted float16, float32 or float64. Save it as float32.")
        layers = []
        for name in sorted((name for name, shape in shapes.items() if len(shape) == 2), key=_by_numbers):
            bias = re.sub(r"weight$|kernel$", "bias", name)
            bias = bias if bias != name and shapes.get(bias) == shapes[name][:1] else None
            layers.append((name, bias, shapes[name][1], shapes[name][0]))
        if not layers:
            raise self._wrong(f"holds no matrix, only {', '.join(sorted(shapes)) or 'nothing'}.")
        for (name, _, _, out), (following, _, into, _) in itertools.pairwise(layers):
            if out != into:
                raise self._wrong(f"{name} gives {out} numbers and {following} takes {into}: not a stack of layers.")
        if layers[-1][3] != 1:
            raise self._wrong(f"its last layer {layers[-1][0]} gives {layers[-1][3]} numbers; a probe gives one.")
        used = {"mean", "std", *(name for layer in layers for name in layer[:2])}
        if not used >= set(shapes):
            raise self._wrong(f"holds {min(set(shapes) - used)!r}, which is no part of a stack of linear layers.")
        for name in ("mean", "std"):
            if name in shapes and shapes[name] != (layers[0][2],):
                raise self._wrong(f"{name} has the shape {list(shapes[name])}; wanted [{layers[0][2]}].")
        return layers

    @property
    def width(self) -> int:
        """Width of the embeddings that it takes."""
        return self.chain[0][2]

    @cached_property
    def sha256(self) -> str:
        """Of the whole file."""
        return hashlib.sha256(self._read()).hexdigest()

    def load(self, activation: Activation, output: Output) -> Probe:
        """Read the weights."""
        from safetensors.numpy import load

        tensors = {name: tensor.astype(np.float32) for name, tensor in load(self._read()).items()}
        layers = [
            (tensors[name], np.zeros(out, np.float32) if bias is None else tensors[bias])
            for name, bias, _, out in self.chain
        ]
        return Probe(layers, activation, output, tensors.get("mean"), tensors.get("std"))

    @property
    def _place(self) -> tuple[Store, str]:
        folder, _, name = self.url.rpartition("/")
        return Store(folder or "."), PurePosixPath(name).name

    def _read(self) -> bytes:
        store, name = self._place
        return store.read_bytes(name)

    def _wrong(self, words: str) -> RecipeError:
        return RecipeError(f"{self.where} is {self.url!r}: {words}")


@dataclass(frozen=True)
class Probe:
    """Loaded layers: (weight [out, in], bias [out]) in order, `activation` between them, `output` after the last."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    activation: Activation
    output: Output
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[B, width] -> [B] float32."""
        found = rows.astype(np.float32)
        if self.mean is not None:
            found = found - self.mean
        if self.std is not None:
            found = found / self.std
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                found = _activated(found, self.activation)
            found = found @ weight.T + bias
        value = found[:, 0]
        return value if self.output == "linear" else sigmoid(value)


def sigmoid(value: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-value) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * value))


def _activated(values: np.ndarray, activation: Activation) -> np.ndarray:
    match activation:
        case "relu":
            return np.maximum(values, 0)
        case "tanh":
            return np.tanh(values)
        case "gelu":  # the tanh form, within 0.001 of the exact one: Hendrycks and Gimpel 2016, arXiv:1606.08415
            return 0.5 * values * (1 + np.tanh(0.7978845608 * (values + 0.044715 * values**3)))
        case _:
            return values


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """layers.2.weight before layers.10.weight."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]
