"""Readers of published lists, one file per kind of list, in one table.

A new source is one file and one line here. Each class is imported when a recipe names it, and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from pipeline.errors import RecipeError, nearest
from pipeline.ingest.sources.source import Source, SourceConfig
from pipeline.recipe import check

SOURCES = {
    "ade20k": "pipeline.ingest.sources.ade20k:Ade20k",
    "audiocaps": "pipeline.ingest.sources.audiocaps:Audiocaps",
    "cc12m": "pipeline.ingest.sources.cc12m:Cc12m",
    "cc3m": "pipeline.ingest.sources.cc3m:Cc3m",
    "clotho": "pipeline.ingest.sources.clotho:Clotho",
    "coco": "pipeline.ingest.sources.coco:Coco",
    "coyo": "pipeline.ingest.sources.coyo:Coyo",
    "datacomp": "pipeline.ingest.sources.datacomp:Datacomp",
    "flickr30k": "pipeline.ingest.sources.flickr30k:Flickr30k",
    "folder": "pipeline.ingest.sources.folder:Folder",
    "img2dataset": "pipeline.ingest.sources.img2dataset:Img2dataset",
    "karpathy": "pipeline.ingest.sources.karpathy:Karpathy",
    "laion": "pipeline.ingest.sources.laion:Laion",
    "localized_narratives": "pipeline.ingest.sources.localized_narratives:LocalizedNarratives",
    "table": "pipeline.ingest.sources.table:Table",
    "visual_genome": "pipeline.ingest.sources.visual_genome:VisualGenome",
    "vqa": "pipeline.ingest.sources.vqa:Vqa",
    "warc": "pipeline.ingest.sources.warc:Warc",
    "wat": "pipeline.ingest.sources.wat:Wat",
    "webdataset": "pipeline.ingest.sources.webdataset:Webdataset",
    "webvid": "pipeline.ingest.sources.webvid:Webvid",
    "wit": "pipeline.ingest.sources.wit:Wit",
    "wudaomm": "pipeline.ingest.sources.wudaomm:Wudaomm",
}
"""Kind -> module:class."""


def source_class(kind: str) -> type[Source]:
    """The class that reads lists of this kind. Raises: RecipeError: no such kind."""
    if kind not in SOURCES:
        raise RecipeError(f"source.kind is {kind!r}, which no source reads. {nearest(kind, SOURCES)}")
    module, _, name = SOURCES[kind].partition(":")
    return getattr(importlib.import_module(module), name)


def source_config(data: Mapping[str, Any] | SourceConfig, where: str = "source") -> SourceConfig:
    """The settings of a `[source]` table as the config class of its kind. Raises: RecipeError: they are wrong."""
    if isinstance(data, SourceConfig):
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise RecipeError(f"{where}: kind is missing; it says what reads the list. {nearest('', SOURCES)}")
    return check(source_class(data["kind"]).Config, data, where=where)


def open_source(config: SourceConfig) -> Source:
    """The source that reads what `config` names; touches no file yet."""
    return source_class(config.kind)(config)


def _from_recipe(data: Any) -> SourceConfig:
    try:
        return source_config(data)
    except RecipeError as error:
        raise ValueError(str(error)) from None  # pydantic adds the place, `recipe.check` the file


AnySource = Annotated[SerializeAsAny[SourceConfig], BeforeValidator(_from_recipe)]
"""Type of a recipe's `source` field: a table whose keys depend on its `kind`."""
