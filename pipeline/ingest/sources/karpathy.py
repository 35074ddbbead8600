"""Karpathy's splits: `dataset_coco.json`, `dataset_flickr30k.json`, `dataset_flickr8k.json`; one row per image.

The split is the list's: train, validation (its `val`) or test; COCO's `restval`, which by custom is trained on, is
train, with the old word in `meta.split`. The file is read image by image, so memory stays small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.json_items import first_item, json_items
from pipeline.ingest.sources.media import MediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source

_COCO = "http://images.cocodataset.org"
_SPLITS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}


class Karpathy(Source):
    """Captions with the splits of Karpathy and Fei-Fei. A row's identifier is its cocoid, else its file name."""

    Config = MediaConfig
    suffixes = (".json",)
    licence = "Not stated for the splits; captions and images as COCO (CC-BY 4.0) and Flickr30k (research only)"
    citation = "Karpathy and Fei-Fei 2015, Deep Visual-Semantic Alignments, CVPR 2015, arXiv:1412.2306"
    config: MediaConfig

    def check_file(self, file: ListFile) -> None:
        """Images must have file name, split and sentences; those not of COCO need `source.media`."""
        first = first_item(file.path, "images", ("filename", "split", "sentences"))
        if first is not None and self.config.media is None and not str(first["filename"]).startswith("COCO_"):
            raise SourceError(
                f"{file.path}: its images ({first['filename']}) have no public address. Set source.media to the "
                "folder or URL where they are."
            )

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per image, with its sentences as they were written (raw)."""
        for number, image in enumerate(json_items(file.path, "images")):
            if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
                yield Row(number, fault="image: wanted an object with a filename")
            elif not isinstance(image.get("split"), str) or image["split"] not in _SPLITS:
                yield Row(number, source_id=_id(image), fault=f"split: {str(image.get('split'))[:40]!r} is none")
            else:
                meta = {name: value for name, value in image.items() if name not in ("sentences", "sentids")}
                sentences = image.get("sentences") if isinstance(image.get("sentences"), list) else []
                texts = [RowText(item.get("raw") if isinstance(item, dict) else item, lang="en") for item in sentences]
                yield Row(number, self._url(image), texts, _id(image), split=_SPLITS[image["split"]], meta=meta)

    def _url(self, image: dict[str, Any]) -> str | None:
        folder = image.get("filepath")
        name = f"{folder}/{image['filename']}" if isinstance(folder, str) else image["filename"]
        return media_url(_COCO if self.config.media is None else self.config.media, name)


def _id(image: dict[str, Any]) -> Any:
    return image.get("cocoid", image["filename"])
