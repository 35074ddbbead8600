"""WuDaoMM-base: a JSON list of {"name": "<md5>.jpg", "tag": "工业", "captions": "天际线,大阪城,日本"}.

The captions of an image are one text, as the list has it; the tag, one of 19 categories, is a second text of the kind
`tag`. The file is read item by item. The images come as archives.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.json_items import first_item, json_items
from pipeline.ingest.sources.media import OwnMediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source


class Wudaomm(Source):
    """WuDaoMM. A row's identifier is the name of its image; `source.media` says where the images are."""

    Config = OwnMediaConfig
    suffixes = (".json",)
    licence = "Research, under the agreement of data.baai.ac.cn; images are their owners'"
    citation = "Yuan et al. 2022, WuDaoMM, arXiv:2203.11480"
    config: OwnMediaConfig

    def check_file(self, file: ListFile) -> None:
        """The file must be a list of objects with name and captions."""
        first_item(file.path, None, ("name", "captions"))

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per object."""
        for number, item in enumerate(json_items(file.path)):
            if not isinstance(item, dict):
                yield Row(number, fault=f"item: {type(item).__name__}, wanted an object")
                continue
            texts = (RowText(item.get("captions"), "caption", "zh"), RowText(item.get("tag"), "tag", "zh"))
            name = item.get("name")
            yield Row(number, media_url(self.config.media, name), texts, name if isinstance(name, str) else None)
