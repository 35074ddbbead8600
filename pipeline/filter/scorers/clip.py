"""Image-text similarity by any local dual encoder, and its embeddings kept beside the scores.

    [score.clip]                          [score.models.clip_l14]      # more of them, each under its own name
    checkpoint = "models/clip-vit-b-32"   checkpoint = "models/clip-vit-l-14"

Writes `similarity`, the cosine of the image's and the text's embedding in [-1, 1], and `scores/<name>/00042.image.npy`
and `.text.npy`, from which probes, semantic duplicates and decontamination go on. CLIP score: Hessel et al. 2021,
arXiv:2104.08718, without its factor 2.5 and its cut at 0, as DataComp and LAION use it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.filter.decode import Undecodable, rgb
from pipeline.filter.embeddings import as_lists
from pipeline.filter.models.checkpoint import Checkpoint, Preprocessing
from pipeline.filter.models.dual_encoder import Device, Dtype, DualEncoder, prepared_image
from pipeline.filter.ranges import ranged
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources


class ClipScoreConfig(RecipeTable):
    """The `[score.clip]` table, and every table under `[score.models]`."""

    checkpoint: str
    """Folder of a CLIPModel or SiglipModel with its tokenizer and processor files, or a run of `pretrain`; a path that
    every worker sees, or a store URL."""
    text: Literal["first", "best"] = "first"
    """Which text of a sample counts: its first, or the one most similar to the image."""
    dtype: Dtype = "float32"
    """Of the weights. float16 and bfloat16 are faster on GPUs, and change similarities in the third digit."""
    device: Device = "auto"
    """`auto`: a GPU where there is one. `gpu`: nothing else will do."""
    gpus: float = Field(default=1.0, gt=0)
    """GPUs that one worker reserves where there are any; 0.5 puts two workers on each."""
    batch_rows: int = Field(default=64, ge=1)
    """Images that go through the model at once."""
    decode_threads: int = Field(default=1, ge=1, le=64)
    """Threads that decode the next batch while the model scores the present one."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as the model takes it. `texts_of` counts the texts of each row; `image_rows` are those with pixels."""

    pixels: np.ndarray
    image_rows: np.ndarray
    tokens: dict[str, np.ndarray] | None
    texts_of: np.ndarray


class ClipScore:
    """similarity: cosine of image and text; null where the image or the text is missing."""

    version = 1
    reads: tuple[str, ...] = ("medium", "texts", "media")
    writes: pa.Schema = pa.schema([ranged("similarity", pa.float32(), -1, 1)])

    def __init__(self, config: ClipScoreConfig, name: str = "clip") -> None:
        self.name = name
        self.config = config
        table = "score.clip" if name == "clip" else f"score.models.{name}"
        # workers have other working folders
        url = config.checkpoint if "://" in config.checkpoint else os.path.abspath(config.checkpoint)
        self.checkpoint = Checkpoint(url, f"{table}.checkpoint")
        self.resources = Resources(cpus=1, gpus=config.gpus if config.device == "gpu" else 0.0)
        self.gpus = 0.0 if config.device == "cpu" else config.gpus
        self.batch_rows = config.batch_rows

    @property
    def embeds(self) -> Mapping[str, int]:
        """Both sides' embeddings."""
        return {"image": self.checkpoint.width, "text": self.checkpoint.width}

    @property
    def facts(self) -> Mapping[str, Any]:
        """Which model gave the embeddings."""
        return {"checkpoint": self.checkpoint.stamp, "width": self.checkpoint.width}

    def settings(self) -> Any:
        """The bytes of the checkpoint and not its place; how it is run changes nothing but last bits."""
        return {"checkpoint": self.checkpoint.stamp, "text": self.config.text, "dtype": self.config.dtype}

    def check(self) -> None:
        """Refuse a folder that is no dual encoder. Raises: RecipeError."""
        self.checkpoint.check()

    def setup(self) -> None:
        """Load the weights."""
        self.model = DualEncoder(self.checkpoint, self.config.dtype, self.config.device)

    def prepare(self, table: pa.Table) -> Prepared:
        """Decode and tokenize a batch; runs while the model has the one before."""
        is_image = [medium == "image" for medium in table.column("medium").to_pylist()]
        media = [value if keep else None for value, keep in zip(table.column("media"), is_image, strict=True)]
        pixels, rows = decoded(media, self.model.preprocessing, self.config.decode_threads)
        texts = [self._texts(value or []) for value in table.column("texts").to_pylist()]
        flat = [text for some in texts for text in some]
        tokens = self.model.tokens(flat) if flat else None
        return Prepared(pixels, rows, tokens, np.array([len(some) for some in texts], np.int64))

    def __call__(self, batch: Prepared) -> pa.Table:
        """similarity, and the columns `image` and `text` of embeddings."""
        num_rows, width = len(batch.texts_of), self.checkpoint.width
        image = np.full((num_rows, width), np.nan, np.float32)
        if len(batch.image_rows):
            image[batch.image_rows] = self.model.images(batch.pixels)
        text, similarity = self._best_texts(batch, image)
        nothing = np.isnan(similarity)
        return pa.table(
            {
                "similarity": pa.array(similarity.clip(-1, 1), pa.float32(), mask=nothing),
                "image": as_lists(image.astype(np.float16)),
                "text": as_lists(text.astype(np.float16)),
            }
        )

    def _best_texts(self, batch: Prepared, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The embedding of each row's text, and its cosine with the image; of several texts the most similar one."""
        text, similarity = np.full_like(image, np.nan), np.full(len(image), np.nan, np.float32)
        if batch.tokens is None:
            return text, similarity
        embedded = np.concatenate([self.model.texts(chunk) for chunk in _chunks(batch.tokens, self.batch_rows)])
        ends = np.cumsum(batch.texts_of)
        for row, (end, count) in enumerate(zip(ends.tolist(), batch.texts_of.tolist(), strict=True)):
            if count:
                own = embedded[end - count : end]
                cosines = own @ image[row]
                best = 0 if np.isnan(cosines[0]) else int(cosines.argmax())
                text[row], similarity[row] = own[best], cosines[best]
        return text, similarity

    def _texts(self, texts: list[dict[str, str | None]]) -> list[str]:
        found = [text["text"] for text in texts if text["text"]]
        if self.config.text == "first":
            return [texts[0]["text"]] if texts and texts[0]["text"] else []
        return [text for text in found if text is not None]


def decoded(media: Sequence[Any], how: Preprocessing, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as the model takes them, of those media that can be decoded, and their places among `media`.

    Args:
        media: Arrow scalars of bytes, or None.
    """

    def one(value: Any) -> np.ndarray | None:
        if value is None:
            return None
        try:
            return prepared_image(rgb(value.as_py()), how)
        except Undecodable:
            return None

    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(one, media))
    else:
        found = [one(value) for value in media]
    rows = [row for row, pixels in enumerate(found) if pixels is not None]
    sides = how.crop_px or how.resize_px or (0, 0)
    pixels = np.empty((len(rows), *sides, 3), np.uint8)
    for at, row in enumerate(rows):
        pixels[at] = found[row]
    return pixels, np.array(rows, np.int64)


def _chunks(tokens: dict[str, np.ndarray], rows: int) -> list[dict[str, np.ndarray]]:
    count = len(next(iter(tokens.values())))
    return [{name: ids[at : at + rows] for name, ids in tokens.items()} for at in range(0, count, rows)]
