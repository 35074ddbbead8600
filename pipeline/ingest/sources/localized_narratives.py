"""Localized Narratives: `coco_val_localized_narratives.jsonl` and others; one row per spoken description.

The caption is the text; `meta` holds the timed caption (words with start and end, in seconds), the mouse traces
(points x, y relative to the image, t in seconds) and the voice recording, as a path. Images of COCO and Open Images
have public addresses; those of Flickr30k and ADE20K are found in `source.media` as `<image_id>.jpg`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile, open_list
from pipeline.ingest.sources.lines import as_rows, first_records, json_objects, read_lines
from pipeline.ingest.sources.media import MediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, need_columns

_NEEDED = ("dataset_id", "image_id", "annotator_id", "caption")
_COCO = re.compile(r"mscoco_(train2017|val2017)\Z")
_OPEN_IMAGES = re.compile(r"open_images_(train|val|validation|test)", re.IGNORECASE)


class LocalizedNarratives(Source):
    """Localized Narratives. A row's identifier is `<dataset_id>/<image_id>/<annotator_id>`."""

    Config = MediaConfig
    suffixes = (".jsonl",)
    licence = "CC-BY 4.0 for the annotations; images as their own collections"
    citation = "Pont-Tuset et al. 2020, Localized Narratives, ECCV 2020, arXiv:1912.03098"
    config: MediaConfig

    def check_file(self, file: ListFile) -> None:
        """One of the first hundred lines must be a narrative, whose image has an address."""
        lines = first_records(file.path, json_objects, 100)
        first = next((line.value for line in lines if line.value), None)
        if first is None:
            raise SourceError(f"{file.path}: {lines[0].fault if lines else 'empty'}; wanted JSON lines of narratives.")
        need_columns(file.path, list(first), list(_NEEDED))
        if self._url(first) is None:
            raise SourceError(
                f"{file.path}: images of {first['dataset_id']!r} have no public address. Set source.media to the "
                "folder or URL where they are, as <image_id>.jpg."
            )

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per line."""
        with open_list(file.path) as stream:
            yield from as_rows(json_objects(read_lines(stream)), self._row)

    def _row(self, number: int, value: dict[str, Any]) -> Row:
        lacking = [name for name in _NEEDED if value.get(name) is None]
        if lacking:
            return Row(number, fault=f"{lacking[0]}: none")
        meta = {name: item for name, item in value.items() if name != "caption"}
        own_id = f"{value['dataset_id']}/{value['image_id']}/{value['annotator_id']}"
        return Row(number, self._url(value), (RowText(value["caption"], "caption", "en"),), own_id, meta=meta)

    def _url(self, value: dict[str, Any]) -> str | None:
        dataset, image = str(value.get("dataset_id")), str(value.get("image_id"))
        coco, open_images = _COCO.match(dataset), _OPEN_IMAGES.match(dataset)
        name = f"{image.zfill(12) if coco else image}.jpg"
        if self.config.media is not None:
            return media_url(self.config.media, name)
        if coco:
            return f"http://images.cocodataset.org/{coco[1]}/{name}"
        if open_images:
            folder = "validation" if open_images[1].lower() == "val" else open_images[1].lower()
            return media_url(f"https://open-images-dataset.s3.amazonaws.com/{folder}", name)
        return None
