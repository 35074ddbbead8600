"""COCO captions and instances: `captions_train2017.json`, `instances_train2017.json`, one row per image.

Captions become texts, boxes and masks (RLE, or polygons made into RLE) become regions whose text is the name of the
category. The file is read item by item, three times over, for its `annotations` come after `images`; what is held is
the annotations alone: 0.2 GB of memory for captions_train2017, 1.2 GB for instances_train2017. Images keep the order
of the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.json_items import first_item, json_items
from pipeline.ingest.sources.media import MediaConfig, media_url
from pipeline.ingest.sources.polygons import polygons_rle
from pipeline.ingest.sources.rows import Row, RowRegion, RowText, to_json
from pipeline.ingest.sources.source import Source


@dataclass(slots=True)
class _Notes:
    """The annotations of one image."""

    texts: list[RowText] = field(default_factory=list)
    regions: list[RowRegion] = field(default_factory=list)
    crowds: list[int] = field(default_factory=list)
    """Which of the regions are groups (iscrowd)."""
    fault: str | None = None


class Coco(Source):
    """COCO captions or instances JSON, and others of its shape."""

    Config = MediaConfig
    suffixes = (".json",)
    licence = "CC-BY 4.0 for the annotations; each image has its own (named in meta.license)"
    citation = "Lin et al. 2014, arXiv:1405.0312; captions: Chen et al. 2015, arXiv:1504.00325"
    config: MediaConfig

    def check_file(self, file: ListFile) -> None:
        """Images must be there, with an id; and annotations that are captions or boxes."""
        first_item(file.path, "images", ("id",))
        note = first_item(file.path, "annotations", ("image_id",))
        if note is not None and "caption" not in note and "bbox" not in note:
            raise SourceError(
                f"{file.path}: its annotations have neither 'caption' nor 'bbox'; found: {', '.join(note)}. "
                "Wanted COCO captions or instances."
            )

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per image; its texts and regions in the order of the annotations."""
        notes = _notes(file.path)
        licences = _by_id(file.path, "licenses", "url")
        for number, image in enumerate(json_items(file.path, "images")):
            if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
                yield Row(number, fault="image: wanted an object with an id")
                continue
            meta = {key: value for key, value in image.items() if key not in ("id", "coco_url", "license")}
            of_image = notes.get(image["id"]) or _Notes()
            meta["license"] = _named(licences, image.get("license"))
            meta["crowds"] = of_image.crowds or None
            yield Row(
                number,
                self._url(image),
                of_image.texts,
                image["id"],
                meta=meta,
                fault=of_image.fault,
                regions=of_image.regions,
            )

    def _url(self, image: dict[str, Any]) -> Any:
        return image.get("coco_url") if self.config.media is None else media_url(
            self.config.media, image.get("file_name")
        )


def _notes(path: str) -> dict[Any, _Notes]:
    sizes: dict[Any, tuple[Any, Any]] = {}
    names: dict[Any, Any] | None = None
    notes: dict[Any, _Notes] = defaultdict(_Notes)
    for note in json_items(path, "annotations"):
        if not isinstance(note, dict) or not isinstance(note.get("image_id"), (int, str)):
            continue
        of_image = notes[note["image_id"]]
        if "caption" in note:
            of_image.texts.append(RowText(note["caption"], "caption", "en"))
        if "bbox" not in note:
            continue
        if names is None:
            names = _by_id(path, "categories", "name")
            sizes = {
                image["id"]: (image.get("height"), image.get("width"))
                for image in json_items(path, "images")
                if isinstance(image, dict) and isinstance(image.get("id"), (int, str))
            }
        if note.get("iscrowd"):
            of_image.crowds.append(len(of_image.regions))
        try:
            mask = _mask(note.get("segmentation"), *sizes.get(note["image_id"], (None, None)))
        except ValueError as error:
            of_image.fault, mask = f"region: {error}", None
        of_image.regions.append(RowRegion(note["bbox"], _named(names, note.get("category_id")), mask))
    return notes


def _mask(segmentation: Any, height: Any, width: Any) -> str | None:
    """The mask as JSON, which is a tenth of the size of its numbers. Raises: ValueError: it is none."""
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, list):
        segmentation = polygons_rle(segmentation, height, width)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise ValueError(f"a segmentation of {type(segmentation).__name__}, wanted polygons or size and counts")
    return to_json(segmentation)


def _by_id(path: str, key: str, field_name: str) -> dict[Any, Any]:
    """One field of each object of a list by its id; nothing where the file has no such list."""
    try:
        items = [item for item in json_items(path, key) if isinstance(item, dict)]
    except SourceError:
        return {}
    return {item["id"]: item.get(field_name) for item in items if isinstance(item.get("id"), (int, str))}


def _named(names: dict[Any, Any], key: Any) -> Any:
    return names.get(key) if isinstance(key, (int, str)) else None
