"""Visual Genome: `region_descriptions.json` with `image_data.json` beside it; one row per image.

Each region is a box with its phrase; the phrases are the image's texts too, of the kind `region`. The addresses of
the images come from `image_data.json`, of which about 60 MB are held in memory; the regions are read image by image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile, beside, exists
from pipeline.ingest.sources.json_items import first_item, json_items
from pipeline.ingest.sources.media import MediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowRegion, RowText
from pipeline.ingest.sources.source import Source

_SIDES = ("x", "y", "width", "height")


class VisualGenome(Source):
    """Visual Genome's region descriptions. A row's identifier is the image's."""

    Config = MediaConfig
    suffixes = ("region_descriptions.json",)
    licence = "CC-BY 4.0 for the annotations; images as YFCC100M and COCO"
    citation = "Krishna et al. 2017, Visual Genome, IJCV, arXiv:1602.07332"
    config: MediaConfig

    def check_file(self, file: ListFile) -> None:
        """Regions must be there, and the addresses of the images beside them."""
        first = first_item(file.path, None, ("id", "regions"))
        regions = first["regions"] if first is not None else None
        if isinstance(regions, list) and regions and isinstance(regions[0], dict):
            lacking = {"phrase", *_SIDES} - set(regions[0])
            if lacking:
                raise SourceError(f"{file.path}: its first region has no {sorted(lacking)[0]!r}.")
        images = beside(file.path, "image_data.json")
        if not exists(images):
            raise SourceError(f"{file.path}: no image_data.json beside it, which has the addresses of the images.")
        first_item(images, None, ("image_id", "url"))

    def further(self, path: str) -> list[str]:
        """The file of addresses."""
        images = beside(path, "image_data.json")
        return [images] if exists(images) else []

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per image, with its regions in the order of the list."""
        urls = {
            item["image_id"]: item.get("url")
            for item in json_items(beside(file.path, "image_data.json"))
            if isinstance(item, dict) and isinstance(item.get("image_id"), (int, str))
        }
        for number, image in enumerate(json_items(file.path)):
            if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
                yield Row(number, fault="image: wanted an object with an id")
                continue
            own = image.get("regions")
            regions = [item if isinstance(item, dict) else {} for item in own] if isinstance(own, list) else []
            yield Row(
                number,
                self._url(urls.get(image["id"])),
                [RowText(item.get("phrase"), "region", "en") for item in regions],
                image["id"],
                meta={"region_ids": [item.get("region_id") for item in regions]},
                regions=[RowRegion([item.get(side) for side in _SIDES], item.get("phrase")) for item in regions],
            )

    def _url(self, url: Any) -> Any:
        """The address, or the same file (`VG_100K/1.jpg`) where the recipe has the images."""
        if self.config.media is None or not isinstance(url, str):
            return url
        return media_url(self.config.media, "/".join(url.partition("?")[0].split("/")[-2:]))
