"""A dual encoder as a folder: what it is, how wide its embeddings are, and what it wants to be fed, without torch.

Takes a folder as transformers' `save_pretrained` writes it for a CLIPModel or a SiglipModel, with tokenizer and
preprocessor files, in any store; also a run of `pairmill pretrain`, whose `export` is such a folder. Gives facts from
its JSON files alone, so that a wrong one is refused on the driver before any work starts.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.commit import stamp_of
from pipeline.errors import PairmillError, RecipeError, nearest
from pipeline.recipe import digest_of
from pipeline.store import Store

KINDS = ("clip", "siglip")
"""`model_type` of config.json: CLIPModel and SiglipModel. SigLIP 2 of a fixed size is a SiglipModel."""
CONFIG, PREPROCESSOR, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
_EXPORT = "export"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "spiece.model", "vocab.json")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_BICUBIC = 3


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a checkpoint's image processor does: resize, cut the centre, scale and shift. Sides are (height, width)."""

    shortest_px: int | None
    resize_px: tuple[int, int] | None
    crop_px: tuple[int, int] | None
    resample: int
    """Pillow's number of the filter; 3 is bicubic."""
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A dual encoder's folder. `where` names the recipe's setting in errors."""

    url: str
    where: str

    @cached_property
    def store(self) -> Store:
        """The folder itself, or the export of a run."""
        store = Store(self.url)
        if not store.exists(CONFIG) and store.exists(f"{_EXPORT}/{CONFIG}"):
            return store.folder(_EXPORT)
        return store

    def check(self) -> None:
        """Refuse what is no dual encoder, or lacks a file. Raises: RecipeError."""
        names = self.files()
        _ = self.width, self.context_tokens, self.preprocessing
        if not any(name in names for name in _WEIGHTS):
            raise self._wrong(
                "holds no model.safetensors (a pytorch_model.bin can run code, and is not read). "
                "Save the model again: model.save_pretrained(folder)."
            )
        if not any(name in names for name in _TOKENIZERS):
            raise self._wrong(
                f"holds no tokenizer ({' or '.join(_TOKENIZERS)}). "
                "Save it into the same folder: tokenizer.save_pretrained(folder)."
            )

    def files(self) -> list[str]:
        """Names of the files of the folder. Raises: RecipeError: there is no such folder, or no model in it."""
        names = self.store.list("")
        if not names:
            raise self._wrong("there is no such folder, or it is empty. Name a folder that save_pretrained wrote.")
        if CONFIG not in names:
            raise self._wrong("holds no config.json. Name a folder that save_pretrained wrote, or a run of `pretrain`.")
        return names

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json of a known kind."""
        self.files()
        config = self._json(CONFIG)
        kind = config.get("model_type")
        if kind not in KINDS:
            raise self._wrong(
                f"holds a model of the kind {kind!r}; wanted one of {', '.join(map(repr, KINDS))} (CLIPModel, "
                f"SiglipModel), whose images and texts share a space. {nearest(str(kind), KINDS)}"
            )
        return config

    @property
    def kind(self) -> str:
        """clip or siglip."""
        return str(self.config["model_type"])

    @property
    def width(self) -> int:
        """Numbers of one embedding."""
        if self.kind == "clip":
            return int(self.config.get("projection_dim", 512))
        return int(self.config.get("vision_config", {}).get("hidden_size", 768))

    @property
    def context_tokens(self) -> int:
        """Most tokens of a text; longer ones are cut."""
        default = 77 if self.kind == "clip" else 64
        return int(self.config.get("text_config", {}).get("max_position_embeddings", default))

    @property
    def preprocessing(self) -> Preprocessing:
        """What its image processor does, with the defaults of CLIPImageProcessor and SiglipImageProcessor."""
        names = self.files()
        if PREPROCESSOR in names:
            settings = self._json(PREPROCESSOR)
        elif PROCESSOR in names:
            settings = self._json(PROCESSOR).get("image_processor", {})
        else:
            raise self._wrong(
                f"holds neither {PREPROCESSOR} nor {PROCESSOR}, so it does not say how its images are prepared. "
                "Save the processor into the same folder: processor.save_pretrained(folder)."
            )
        try:
            return _preprocessing(settings, self.kind)
        except (KeyError, TypeError, ValueError) as error:
            raise self._wrong(f"its image processor is not understood: {error}.") from None

    @cached_property
    def stamp(self) -> str:
        """Hash of what decides its embeddings: the bytes of all its files, in a store the tags of the large ones."""
        names = [name for name in self.files() if not name.startswith(("README", "."))]
        return digest_of([[name, self._stamp_of(name)] for name in names])

    @contextlib.contextmanager
    def local(self) -> Iterator[Path]:
        """The folder on this machine: itself, or a copy that goes away afterwards."""
        if self.store.is_local:
            yield self.store.local_path("")
            return
        with tempfile.TemporaryDirectory(prefix="pairmill-") as folder:
            for name in self.files():
                (Path(folder) / name).write_bytes(self.store.read_bytes(name))
            yield Path(folder)

    def _stamp_of(self, name: str) -> str:
        if self.store.is_local:
            return stamp_of(name, self.store.local_path(name)).sha256
        info = self.store.fs.info(self.store.path(name))
        return f"{info.get('size')} {info.get('ETag')}"

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self.store.read_bytes(name))
        except (ValueError, PairmillError) as error:
            raise self._wrong(f"{name} cannot be read: {error}.") from None
        if not isinstance(found, dict):
            raise self._wrong(f"{name} is not a JSON object.")
        return found

    def _wrong(self, words: str) -> RecipeError:
        return RecipeError(f"{self.where} is {self.url!r}: {words}")


def encoder_of(encoders: Mapping[str, Checkpoint], named: str, where: str) -> Checkpoint:
    """The model that a recipe names. Raises: RecipeError: it has none of that name; `where` is the setting."""
    if named not in encoders:
        hint = nearest(named, encoders) or "Add a table [score.clip] with a checkpoint."
        raise RecipeError(f"{where} is {named!r}: no model of this recipe has that name. {hint}")
    return encoders[named]


def _preprocessing(settings: dict[str, Any], kind: str) -> Preprocessing:
    is_clip = kind == "clip"
    size = settings.get("size", {"shortest_edge": 224} if is_clip else {"height": 224, "width": 224})
    size = {"shortest_edge" if is_clip else "side": size} if isinstance(size, int) else size
    shortest, whole = None, None
    if settings.get("do_resize", True):
        shortest = size.get("shortest_edge")
        whole = None if shortest else _sides(size)
    crop = _sides(settings.get("crop_size", 224)) if settings.get("do_center_crop", is_clip) else None
    if crop is None and whole is None:
        raise ValueError("it neither crops nor resizes to one size, so images would differ in size")
    half = (0.5, 0.5, 0.5)
    mean, std = settings.get("image_mean", _CLIP_MEAN if is_clip else half), settings.get("image_std")
    std = (_CLIP_STD if is_clip else half) if std is None else std
    normalizes = settings.get("do_normalize", True)
    return Preprocessing(
        shortest_px=None if shortest is None else int(shortest),
        resize_px=whole,
        crop_px=crop,
        resample=int(settings.get("resample", _BICUBIC)),
        scale=float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0,
        mean=tuple(map(float, mean)) if normalizes else (0.0, 0.0, 0.0),
        std=tuple(map(float, std)) if normalizes else (1.0, 1.0, 1.0),
    )


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "side" in size:
        return int(size["side"]), int(size["side"])
    return int(size["height"]), int(size["width"])
