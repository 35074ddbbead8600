"""WARC archives of web crawls (Common Crawl's and others) as images with texts: one row per picture of a page.

Of all records, successful HTML responses are read, as `html.py` tells; other records hold no pairs and give no rows.
A picture is a row where one of its texts is of a required kind and long enough; the same picture with the same texts
is one row a page. Its identifier is `<file>#<place of the record>#<place on the page>`, the place on the page counted
over all its pictures, so that it stays when the settings change. Where the archive is damaged, one row with a fault
says so and reading goes on behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from fastwarc.warc import WarcRecord, WarcRecordType
from pydantic import Field

from pipeline.errors import SourceError
from pipeline.ingest.fetch.optout import opt_out
from pipeline.ingest.sources.archive import Block, blocks
from pipeline.ingest.sources.charset import decode
from pipeline.ingest.sources.files import UNREADABLE, ListFile, open_list
from pipeline.ingest.sources.html import Page, read_page
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, SourceConfig

AGENT = "pairmill"
"""The name by which a page's meta elements may address us."""

TextKind = Literal["alt", "title", "figcaption", "og"]


class CrawlConfig(SourceConfig):
    """Settings of the `warc` and `wat` sources."""

    require: tuple[TextKind, ...] = Field(default=("alt", "title", "figcaption", "og"), min_length=1)
    """A picture without a text of one of these kinds is no pair and gives no row."""
    min_chars: int = Field(default=1, ge=1)
    """The length that a text must have to count for `require`; shorter ones stay beside it."""
    page_optout: Literal["respect", "ignore"] = "respect"
    """`respect` gives the rows of a page a fault where its robots meta element or its X-Robots-Tag forbids use."""
    max_images_per_page: int = Field(default=1_000, ge=1)
    """Further pictures of a page are not read; a row with a fault says how many there were."""


class WarcConfig(CrawlConfig):
    """Settings of the `warc` source."""

    max_page_bytes: int = Field(default=1_048_576, ge=1)
    """A longer page is read up to here, and the `meta` of its rows says `"cut": true`."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A page as a record holds it: what is on it, what was said of it, and what `meta` shall tell of its origin."""

    page: Page
    meta: dict[str, Any]
    robots_headers: tuple[str, ...] = ()
    tdm_header: str | None = None
    date: datetime = field(default=datetime.min.replace(tzinfo=UTC))


class Crawl(Source):
    """What WARC and WAT archives share: records in, rows of their pictures out."""

    licence = "Common Crawl Terms of Use (commoncrawl.org/terms-of-use); pages and images keep their owners' terms"
    citation = "Common Crawl Foundation, commoncrawl.org"
    config: CrawlConfig
    max_body_bytes: int
    foreign: tuple[tuple[tuple[bytes, ...], str], ...]
    """What in a record's header shows another kind of archive, and what to say of it."""

    def check_file(self, file: ListFile) -> None:
        """The first records must be whole, and of this kind of archive."""
        try:
            with open_list(file.path, unpack=False) as raw:
                first = list(islice(blocks(raw, 65_536), 4))
        except UNREADABLE as error:
            raise SourceError(f"{file.path}: cannot be read: {error}") from None
        if not first or first[0].fault is not None:
            reason = first[0].fault if first else "it is empty"
            raise SourceError(f"{file.path}: no WARC archive: {reason}. Correct the recipe's [source], or the file.")
        for block in first:
            for signs, words in self.foreign:
                if all(sign in block.header for sign in signs):
                    raise SourceError(f"{file.path}: {words}. Correct the recipe's source.kind, or the path.")

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per picture that has a text, in the order of records and pages; and one per fault."""
        number = 0
        with open_list(file.path, unpack=False) as raw:
            for block in blocks(raw, self.max_body_bytes):
                for row in self._block_rows(block, number, file):
                    yield row
                    number += 1

    def capture(self, block: Block, file: ListFile) -> Capture | str | None:
        """The page in this record; words where it should hold one and cannot be read, None where it holds none."""
        raise NotImplementedError

    def _block_rows(self, block: Block, number: int, file: ListFile) -> Iterator[Row]:
        where = f"{file.label}#{block.place}"
        if block.fault is not None:
            yield Row(number, source_id=where, fault=block.fault)
            return
        found = self.capture(block, file)
        if found is None:
            return
        if isinstance(found, str):
            yield Row(number, source_id=where, fault=found, meta={"warc": file.name, "offset": block.place})
            return
        fault = self._refusal(found) if self.config.page_optout == "respect" else None
        seen = set()
        for image in found.page.images:
            if (image.url, image.texts) in seen or not any(map(self._counts, image.texts)):
                continue
            seen.add((image.url, image.texts))
            texts = [RowText(text, kind, image.lang) for text, kind in image.texts]
            yield Row(number, image.url, texts, source_id=f"{where}#{image.index}", meta=found.meta, fault=fault)
            number += 1
        limit = self.config.max_images_per_page
        if found.page.num_images > limit:
            words = f"page: {found.page.num_images} pictures, of which the first {limit} are read"
            yield Row(number, source_id=f"{where}#more", meta=found.meta, fault=words)

    def _counts(self, text: tuple[str, str]) -> bool:
        return text[1] in self.config.require and len(text[0]) >= self.config.min_chars

    def _refusal(self, found: Capture) -> str | None:
        """Why the page forbids use of its pictures. What a date decides is decided as of the crawl."""
        for name, content in found.page.robots:
            if name in ("robots", AGENT):
                said = opt_out([content], None, AGENT, found.date)
                if said is not None:
                    return f"opted out by the page's robots meta: {said.partition(': ')[2]}"
            elif name == "tdm-reservation" and content.strip() == "1":
                return "opted out by the page's tdm-reservation meta: 1"
        said = opt_out(found.robots_headers, found.tdm_header, AGENT, found.date)
        return None if said is None else f"opted out by the page's {said}"


class Warc(Crawl):
    """WARC archives: the pages themselves."""

    Config = WarcConfig
    suffixes = (".warc",)
    foreign = (
        ((b"Type: metadata", b"application/json"), "holds extracts, as WAT archives do; kind = 'wat' reads those"),
        ((b"Type: conversion",), "holds plain texts, as WET archives do, which name no pictures"),
    )
    config: WarcConfig

    def __init__(self, config: WarcConfig) -> None:
        super().__init__(config)
        self.max_body_bytes = config.max_page_bytes + 65_536  # the response's own header comes first

    def capture(self, block: Block, file: ListFile) -> Capture | str | None:
        """The page of a successful HTML response."""
        if b"response" not in block.header.lower():
            return None
        trouble: Exception | None = None
        for unpack in ("all", "none"):  # many crawlers unpack a body and keep the header that says it is packed
            try:
                record = _response(block, unpack)
                if record is None:
                    return None
                body, is_cut = _payload(record, self.config.max_page_bytes)
            except (OSError, ValueError) as error:
                trouble = trouble or error
                continue
            if trouble is None or body.lstrip().startswith((b"<", b"\xef\xbb\xbf")):
                break
        else:
            return f"page: cannot be unpacked: {trouble}"
        text, name = decode(body, record.http_charset)
        page_url, date = record.headers["WARC-Target-URI"].strip().strip("<>"), record.headers.get("WARC-Date")
        page = read_page(text, page_url, self.config.max_images_per_page)
        meta = {
            "page_url": page_url,
            "warc": file.name,
            "offset": block.place,
            "record_id": record.headers.get("WARC-Record-ID"),
            "date": date,
            "charset": name,
            "cut": True if is_cut or block.cut or page.cut else None,
        }
        headers = record.http_headers
        robots, reservation = headers.get_multiple("X-Robots-Tag"), headers.get("TDM-Reservation")
        return Capture(page, meta, robots, reservation, crawl_date(date))


def _response(block: Block, unpack: Literal["all", "none"]) -> WarcRecord | None:
    """The record, where it is a successful response with HTML. Raises: OSError, ValueError: its header is broken."""
    record = WarcRecord.from_bytes(block.header + block.body)
    page_url = (record.headers.get("WARC-Target-URI") or "").strip().strip("<>").lower()
    if record.record_type != WarcRecordType.response or not page_url.startswith(("http://", "https://")):
        return None
    record.parse_http(auto_decode=unpack)
    headers = record.http_headers
    if headers is None:  # its Content-Type says that it is no HTTP
        return None
    kinds = f"{headers.get('Content-Type')} {record.headers.get('WARC-Identified-Payload-Type')}".lower()
    good = headers.status_code is not None and 200 <= headers.status_code < 300 and "html" in kinds
    return record if good else None


def _payload(record: WarcRecord, limit: int) -> tuple[bytes, bool]:
    """The unpacked body up to `limit` bytes, and whether there is more; up to damage, where some of it is whole."""
    parts: list[bytes] = []
    size = 0
    try:
        while size <= limit and (part := record.reader.read(min(65_536, limit + 1 - size))):
            parts.append(part)
            size += len(part)
    except OSError:
        if not parts:
            raise
        return b"".join(parts)[:limit], True
    return b"".join(parts)[:limit], size > limit


def crawl_date(text: str | None) -> datetime:
    """The time that a record gives, UTC; the year 1 where it gives none."""
    try:
        when = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
