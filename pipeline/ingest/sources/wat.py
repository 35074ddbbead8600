"""WAT archives: Common Crawl's extracts of its WARC files, one JSON object per page, far smaller than the pages.

They name a page's links and meta elements, not its tree: so alt and title of each `<img src>`, and Open Graph images;
no srcset, no lazy-loading attributes, no figure captions (kind `warc` reads those). `meta` points into the WARC file.
Source: the extractor of commoncrawl/ia-web-commons, whose output this reads.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from pipeline.ingest.sources.archive import Block
from pipeline.ingest.sources.files import ListFile
from pipeline.ingest.sources.html import Image, Page, language, og_images, plain, robots_of
from pipeline.ingest.sources.links import join
from pipeline.ingest.sources.warc import Capture, Crawl, CrawlConfig, crawl_date


class WatConfig(CrawlConfig):
    """Settings of the `wat` source."""

    max_record_bytes: int = Field(default=33_554_432, ge=1)
    """A longer record gives a row with a fault."""


class Wat(Crawl):
    """WAT archives."""

    Config = WatConfig
    suffixes = (".wat",)
    foreign = (
        ((b"Type: response",), "holds responses, as WARC archives do; kind = 'warc' reads those"),
        ((b"Type: conversion",), "holds plain texts, as WET archives do, which name no pictures"),
    )
    config: WatConfig

    def __init__(self, config: WatConfig) -> None:
        super().__init__(config)
        self.max_body_bytes = config.max_record_bytes

    def capture(self, block: Block, file: ListFile) -> Capture | str | None:
        """The page that a metadata record tells of."""
        if b"metadata" not in block.header or b"json" not in block.header:
            return None
        if block.cut:
            return f"record: longer than {self.config.max_record_bytes} bytes"
        try:
            record = json.loads(block.body)
        except (ValueError, RecursionError) as error:
            return f"record: not JSON: {str(error)[:80]}"
        about = _at(record, "Envelope", "WARC-Header-Metadata")
        response = _at(record, "Envelope", "Payload-Metadata", "HTTP-Response-Metadata")
        html = _at(response, "HTML-Metadata")
        page_url = _text(about, "WARC-Target-URI")
        if not html or not page_url.lower().startswith(("http://", "https://")):
            return None
        if not (_text(response, "Response-Message", "Status") or "2").startswith("2"):
            return None
        headers = {name.lower(): value for name, value in _at(response, "Headers").items() if isinstance(value, str)}
        container = _at(record, "Container")
        meta = {
            "page_url": page_url,
            "warc": _text(container, "Filename") or file.name,
            "offset": _text(container, "Offset") or None,
            "record_id": _text(about, "WARC-Record-ID") or None,
            "date": _text(about, "WARC-Date") or None,
        }
        robots = (headers["x-robots-tag"],) if "x-robots-tag" in headers else ()
        page = _page(html, page_url, self.config.max_images_per_page)
        return Capture(page, meta, robots, headers.get("tdm-reservation"), crawl_date(_text(about, "WARC-Date")))


def _page(html: dict[str, Any], page_url: str, max_images: int) -> Page:
    head = _at(html, "Head")
    base_url = join(page_url, _text(head, "Base")) or page_url
    listed = [item for item in _list(head.get("Metas")) if isinstance(item, dict)]
    metas = [(item.get("property") or item.get("name"), item.get("content")) for item in listed]
    named = {name.lower(): content for name, content in metas if isinstance(name, str) and isinstance(content, str)}
    lang = language(named.get("html@/lang") or named.get("html@/xml:lang"))
    images = og_images(metas, base_url, lang)
    num_images = len(images)
    for link in _list(html.get("Links")):
        if not isinstance(link, dict) or link.get("path") != "IMG@/src":
            continue
        texts = tuple((text, kind) for kind in ("alt", "title") if (text := plain(_text(link, kind))))
        url = join(base_url, _text(link, "url")) if texts and num_images < max_images else None
        if url is not None:
            images.append(Image(num_images, url, texts, lang))
        num_images += 1
    return Page([image for image in images[:max_images] if image.texts], num_images, robots_of(metas))


def _at(value: Any, *names: str) -> dict[str, Any]:
    """The object at this path, empty where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _text(value: Any, *names: str) -> str:
    """The text (or number, as text) at this path, empty where there is none."""
    found = _at(value, *names[:-1]).get(names[-1])
    return str(found) if isinstance(found, (str, int)) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
