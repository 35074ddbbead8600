"""The door to RapidOCR, which finds and reads text in images with the PP-OCR models that its package holds.

Takes an image as RGB. Gives the boxes of text with what they say. Needs the extra `ocr` and the package
rapidocr-onnxruntime itself, which is installed without its dependencies: it asks for opencv-python, whose files would
overwrite those of opencv-python-headless. Nothing is downloaded when it runs. Models: PP-OCRv4 mobile (Apache-2.0).
"""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import MissingExtra
from pipeline.filter.decode import Pixels

PACKAGE = "rapidocr-onnxruntime"
INSTALL = f"pip install 'pairmill[ocr]' && pip install --no-deps {PACKAGE}==1.4.4"
_MODULES = ("rapidocr_onnxruntime", "onnxruntime", "pyclipper", "shapely")


@dataclass(frozen=True, slots=True)
class TextBox:
    """A piece of text in an image: its corners [4, 2] as x, y in pixels, and what it says."""

    corners: np.ndarray
    text: str


def check_installed() -> None:
    """Raises: MissingExtra: RapidOCR or what it needs is missing."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f'score.text_in_image.boxes is "ocr", which needs RapidOCR: {", ".join(missing)} cannot be found. '
            f'Install it ({INSTALL}; Python 3.11 or 3.12), or set boxes = "regions" where the list has boxes of text.'
        )


def version() -> str:
    """Which RapidOCR, and so which models, read the images."""
    from importlib import metadata

    return metadata.version(PACKAGE)


class TextReader:
    """Finds and reads text; every thread has its own models, since RapidOCR keeps state between its steps."""

    def __init__(self, longest_px: int, min_confidence: float) -> None:
        self._longest_px = longest_px
        self._min_confidence = min_confidence
        self._local = threading.local()

    def __call__(self, image: Pixels) -> list[TextBox]:
        """The pieces of text, from top to bottom."""
        found, _ = self._engine(image[..., ::-1].copy())
        return [
            TextBox(np.asarray(corners, np.float32), text)
            for corners, text, confidence in found or []
            if float(confidence) >= self._min_confidence
        ]

    @property
    def _engine(self) -> Any:
        if not hasattr(self._local, "engine"):
            from rapidocr_onnxruntime import RapidOCR

            self._local.engine = RapidOCR(
                det_limit_side_len=self._longest_px,
                det_limit_type="max",
                use_cls=False,  # turns text that stands on its head: half the time, for little
                intra_op_num_threads=1,
                inter_op_num_threads=1,
            )
        return self._local.engine
