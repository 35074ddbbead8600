"""Flickr30k: `results_20130124.token`, lines of `1000092795.jpg#0 <tab> caption`; one row per image.

The five lines of an image follow each other. For the splits in use (1,000 images of test) read Karpathy's
`dataset_flickr30k.json` with source.kind = "karpathy".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile, open_list
from pipeline.ingest.sources.lines import Record, first_records, read_lines, tab_fields
from pipeline.ingest.sources.media import OwnMediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source


class Flickr30k(Source):
    """Flickr30k (and Flickr8k) token files. A row's identifier is the image's file name."""

    Config = OwnMediaConfig
    suffixes = (".token",)
    licence = "Non-commercial research and education; images are their owners' on Flickr"
    citation = "Young et al. 2014, From image descriptions to visual denotations, TACL, aclanthology.org/Q14-1006"
    config: OwnMediaConfig

    def check_file(self, file: ListFile) -> None:
        """The first line must be `name#number <tab> caption`."""
        first = first_records(file.path, _captions, 1)
        if not first or first[0].fault is not None:
            found = f"first {first[0].fault}" if first else "empty"
            raise SourceError(f"{file.path}: {found}; wanted lines of name.jpg#0 <tab> caption.")

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per image, numbered by its first line; a line that cannot be read is a row of its own."""
        with open_list(file.path) as stream:
            for name, lines in groupby(_captions(read_lines(stream)), _image_of):
                of_image = list(lines)
                if name is None:
                    yield from (Row(line.number, fault=line.fault) for line in of_image)
                    continue
                texts = [RowText(line.value[1], "caption", "en") for line in of_image]
                yield Row(of_image[0].number, media_url(self.config.media, name), texts, name)


def _captions(lines: Iterable[Record]) -> Iterator[Record]:
    """Lines as (image, caption), or with a fault."""
    for line in tab_fields(lines, 2):
        if line.fault is not None:
            yield line
            continue
        name, mark, count = line.value[0].rpartition("#")
        if mark and name and count.isdecimal():
            yield Record(line.number, (name, line.value[1]))
        else:
            yield Record(line.number, fault=f"line: {line.value[0][:40]!r}, wanted name.jpg#0")


def _image_of(line: Record) -> str | None:
    return None if line.value is None else line.value[0]
