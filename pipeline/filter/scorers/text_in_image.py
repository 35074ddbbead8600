"""Text that can be read in an image: how much of it, whether it is the caption, and what is similar without it.

A caption that only repeats what is written in its image teaches a model to read, not to see. Boxes of text come from
RapidOCR, or from the regions of the list where those are boxes of text. Facts:

    num_words          words read in the image
    area               share of the image that boxes of text cover, 0 to 1
    caption_overlap    share of the first text's words that are among those read; null where it has no words
    masked_similarity  cosine of the text with the image whose boxes are filled with the mean colour around each; where
                       there is no text, the cosine as it is. Only with `embeddings`, a model of the recipe

Source: T-MARS, Maini et al. 2023, arXiv:2307.03132 (mask the text, score again); caption_overlap: Lin et al. 2023,
arXiv:2312.14232 ("Parrot captions"), its co-emerged text rate over words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.errors import RecipeError
from pipeline.filter.decode import Pixels, Undecodable, rgb
from pipeline.filter.embeddings import as_matrix
from pipeline.filter.models import ocr
from pipeline.filter.models.dual_encoder import DualEncoder, prepared_image
from pipeline.filter.models.ocr import TextBox, TextReader
from pipeline.filter.ranges import ranged
from pipeline.filter.scorers.clip import ClipScore
from pipeline.recipe import RecipeTable
from pipeline.stage import Resources

_WORD = re.compile(r"\w+")
_SIZES = ("width", "height", "original_width", "original_height")
_ROUNDING_PX = 1.5
"""A resized image keeps its proportions but for the rounding of its sides."""
_MIN_INSIDE = 4
"""Letters of a word that counts where it is part of a longer one: `sale` in WINTERSALE, but not `in` in WINTER."""
_RING_SHARE = 0.25
"""Width of the ring around a box whose mean colour fills it, as a share of the box's height."""


class TextInImageConfig(RecipeTable):
    """The `[score.text_in_image]` table."""

    boxes: Literal["ocr", "regions"] = "ocr"
    """`ocr`: RapidOCR finds and reads them (extra `ocr`). `regions`: the regions of the list are boxes of text, and
    their texts are what is written there."""
    embeddings: str | None = None
    """The model for `masked_similarity`: `clip`, or a name under `[score.models]`; none writes no such column."""
    longest_px: int = Field(default=320, ge=32, le=4096)
    """Longer side at which text is looked for. Cost grows with its square; small print is lost below about 10 px."""
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    """Pieces that the reader is less sure of are no text."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in one image, and the image without it, as the model takes it; None where there is no text."""

    words: list[str]
    area: float
    masked: np.ndarray | None


class TextInImageScore:
    """num_words, area, caption_overlap, masked_similarity."""

    name = "text_in_image"
    version = 1
    batch_rows = 64

    def __init__(self, config: TextInImageConfig, encoder: ClipScore | None = None) -> None:
        """`encoder` is the recipe's model of the name `config.embeddings`."""
        self.config = config
        self.encoder = encoder
        own = ("medium", "texts", "media", "regions", *_SIZES)
        pair = () if config.embeddings is None else (f"{config.embeddings}.image", f"{config.embeddings}.text")
        self.reads: tuple[str, ...] = (*own, *pair)
        self.resources = Resources(cpus=1) if encoder is None else encoder.resources
        self.gpus = 0.0 if encoder is None else encoder.gpus

    @property
    def writes(self) -> pa.Schema:
        """masked_similarity only where a model is named."""
        fields = [
            ranged("num_words", pa.int32(), 0),
            ranged("area", pa.float32(), 0, 1),
            ranged("caption_overlap", pa.float32(), 0, 1),
        ]
        masked = [] if self.config.embeddings is None else [ranged("masked_similarity", pa.float32(), -1, 1)]
        return pa.schema(fields + masked)

    def settings(self) -> Any:
        """What is read decides, and by which models."""
        reader = ocr.version() if self.config.boxes == "ocr" else None
        return {**self.config.model_dump(mode="json"), "reader": reader}

    def check(self) -> None:
        """Refuse a reader or a model that is not there. Raises: MissingExtra, RecipeError."""
        if self.config.boxes == "ocr":
            ocr.check_installed()
        if self.config.embeddings is not None and self.encoder is None:
            raise RecipeError(
                f"score.text_in_image.embeddings is {self.config.embeddings!r}: no model of this recipe has that name. "
                "Add a table [score.clip] or [score.models.NAME] with a checkpoint."
            )

    def setup(self) -> None:
        """Load the model; the reader loads its own in the thread that reads."""
        self._reader = TextReader(self.config.longest_px, self.config.min_confidence)
        self._model: DualEncoder | None = None
        if self.encoder is not None:
            self.encoder.setup()
            self._model = self.encoder.model

    def prepare(self, table: pa.Table) -> tuple[pa.Table, list[Seen | None]]:
        """Decode, find and mask; runs while the model has the batch before."""
        rows = table.drop_columns("media").to_pylist()
        return table, [self._seen(row, body) for row, body in zip(rows, table.column("media"), strict=True)]

    def __call__(self, batch: tuple[pa.Table, list[Seen | None]]) -> pa.Table:
        """Nulls where there is no image that can be decoded."""
        table, seen = batch
        captions = [words_of((texts or [{"text": ""}])[0]["text"] or "") for texts in table.column("texts").to_pylist()]
        pairs = list(zip(seen, captions, strict=True))
        columns = {
            "num_words": [None if one is None else len(one.words) for one in seen],
            "area": [None if one is None else one.area for one in seen],
            "caption_overlap": [None if one is None else overlap(caption, one.words) for one, caption in pairs],
        }
        if self._model is not None:
            columns["masked_similarity"] = self._masked_similarity(table, seen)
        return pa.table(columns, schema=self.writes)

    def _masked_similarity(self, table: pa.Table, seen: list[Seen | None]) -> list[float | None]:
        image, text = (
            as_matrix(table.column(f"{self.config.embeddings}.{side}")).astype(np.float32) for side in ("image", "text")
        )
        masked = [row for row, one in enumerate(seen) if one is not None and one.masked is not None]
        if masked:
            image[masked] = self._embed([seen[row].masked for row in masked])  # type: ignore[union-attr]
        cosines = np.einsum("bd,bd->b", image, text).clip(-1, 1)
        return [
            None if one is None or not np.isfinite(cosine) else float(cosine)
            for one, cosine in zip(seen, cosines, strict=True)
        ]

    def _embed(self, images: list[Any]) -> np.ndarray:
        assert self._model is not None
        return self._model.images(np.stack(images))

    def _seen(self, row: dict[str, Any], body: Any) -> Seen | None:
        if row["medium"] != "image":
            return None
        try:
            image = rgb(body.as_py())
        except Undecodable:
            return None
        boxes = self._reader(image) if self.config.boxes == "ocr" else boxes_of_regions(row)
        if boxes is None:
            return None
        words = [word for box in boxes for word in words_of(box.text)]
        mask = mask_of(boxes, image.shape[0], image.shape[1])
        masked = None
        if boxes and self._model is not None:
            masked = prepared_image(without(image, boxes, mask), self._model.preprocessing)
        return Seen(words, float(mask.mean()), masked)


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, without regard to case."""
    return _WORD.findall(text.casefold())


def overlap(caption: list[str], words: list[str]) -> float | None:
    """Share of the caption's words, repeated ones counted each time, that are among `words`, or are part of one.

    The reader often loses the space between two words, so a word of some length may stand inside another.
    """
    known = set(words)

    def is_read(word: str) -> bool:
        return word in known or (len(word) >= _MIN_INSIDE and any(word in other for other in known))

    return sum(map(is_read, caption)) / len(caption) if caption else None


def mask_of(boxes: list[TextBox], height: int, width: int) -> np.ndarray:
    """[height, width], 1 inside any box."""
    mask = np.zeros((height, width), np.uint8)
    for box in boxes:
        cv2.fillPoly(mask, [np.rint(box.corners).astype(np.int32)], 1)
    return mask


def without(image: Pixels, boxes: list[TextBox], mask: np.ndarray) -> Pixels:
    """The image with each box filled with the mean colour of the ring around it that no box covers."""
    found = image.copy()
    for box in boxes:
        own = mask_of([box], *mask.shape)
        sides = np.linalg.norm(box.corners - np.roll(box.corners, 1, axis=0), axis=1)
        reach = max(2, round(float(sides.min()) * _RING_SHARE))
        ring = cv2.dilate(own, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) & (1 - mask)
        around = ring if ring.any() else np.ones_like(mask)
        found[own > 0] = np.rint(cv2.mean(image, around)[:3])
    return found


def boxes_of_regions(row: dict[str, Any]) -> list[TextBox] | None:
    """The list's regions in pixels of the stored image; None where that is a cut of the original, not all of it."""
    width, height, whole_width, whole_height = (row[name] for name in _SIZES)
    if None in (width, height, whole_width, whole_height):
        return None
    across, down = width / whole_width, height / whole_height
    if abs(across * whole_height - height) > _ROUNDING_PX and abs(down * whole_width - width) > _ROUNDING_PX:
        return None
    boxes = []
    for region in row["regions"] or []:
        if region["box"]:
            x, y, w, h = region["box"]
            corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32) * (across, down)
            boxes.append(TextBox(corners.astype(np.float32), region["text"] or ""))
    return boxes
