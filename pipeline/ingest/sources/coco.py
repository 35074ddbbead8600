"""COCO captions: `captions_{train,val}2017.json`, one row per image with all of its captions.

The published format is one JSON object whose `annotations` come after `images`, so a file is loaded whole, once:
about 1 GB of memory for train2017's 92 MB. Images keep the order of the file.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import UNREADABLE, ListFile, open_list
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, SourceConfig

_SMALL_BYTES = 1 << 20
_FIRST_KEY = re.compile(rb'\{\s*"(info|licenses|images|annotations|type)"\s*:')


class CocoConfig(SourceConfig):
    """Settings of the `coco` source."""

    images: str | None = None
    """Where the images are: a URL, or a local folder (which `fetch.allow_folders` must name too), to which each
    `file_name` is added. None takes each image's own `coco_url`."""


class Coco(Source):
    """COCO captions JSON, and others of its shape."""

    Config = CocoConfig
    suffixes = (".json",)
    licence = "CC-BY 4.0 for the annotations; each image has its own (named in meta.license)"
    citation = "Chen et al. 2015, Microsoft COCO Captions, arXiv:1504.00325"
    config: CocoConfig

    def check_file(self, file: ListFile) -> None:
        """The file must begin as a JSON object with one of COCO's keys; a small one is read whole."""
        try:
            with open_list(file.path) as stream:
                head = stream.read(_SMALL_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
        except UNREADABLE as error:
            raise SourceError(f"{file.path}: cannot be read: {error}") from None
        if not _FIRST_KEY.match(head):
            raise SourceError(f"{file.path}: not a COCO JSON object; wanted captions with images and annotations.")
        if len(head) < _SMALL_BYTES // 2:
            _load(file.path)

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per image; its texts in the order of the annotations."""
        data = _load(file.path)
        captions: dict[Any, list[RowText]] = defaultdict(list)
        for note in data["annotations"]:
            if isinstance(note, dict) and isinstance(note.get("image_id"), (int, str)):
                captions[note["image_id"]].append(RowText(note.get("caption"), "caption", "en"))
        licences = {item.get("id"): item.get("url") for item in data.get("licenses", ()) if isinstance(item, dict)}
        for number, image in enumerate(data["images"]):
            if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
                yield Row(number, fault="image: wanted an object with an id")
                continue
            meta = {key: value for key, value in image.items() if key not in ("id", "coco_url", "license")}
            meta["license"] = licences.get(image.get("license"))
            yield Row(number, self._url(image), captions.get(image["id"], ()), image["id"], meta=meta)

    def _url(self, image: dict[str, Any]) -> Any:
        if self.config.images is None:
            return image.get("coco_url")
        base = self.config.images.rstrip("/")
        base = base if "://" in base else f"file://{base}"
        return f"{base}/{image['file_name']}" if isinstance(image.get("file_name"), str) else None


def _load(path: str) -> dict[str, Any]:
    try:
        with open_list(path) as stream:
            data = json.load(stream)
    except (ValueError, *UNREADABLE) as error:
        raise SourceError(f"{path}: not JSON: {error}") from None
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            found = ", ".join(data) if isinstance(data, dict) else type(data).__name__
            raise SourceError(f"{path}: has no list {key!r}; found: {found}. Wanted COCO captions.")
    return data
