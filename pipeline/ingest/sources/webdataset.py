"""Webdataset tars of any maker: a tar is a list, a sample a row, and its image is taken over by the `adopt` stage.

Members of a sample follow each other and share their name up to the first dot, which is the row's identifier. Its
texts are the members that the recipe names; the object in its `.json` goes to `meta`, and its `url`, where it has
one, is the row's. Other members are named in `meta.other_members` and stay behind, as does a second image.

A tar that is cut off gives its whole samples, and one row with a fault.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from pydantic import Field, model_validator

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import UNREADABLE, ListFile, open_list
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source, SourceConfig
from pipeline.ingest.sources.tar_members import STORED_ENDINGS, split_member
from pipeline.recipe import RecipeTable

_MAX_TEXT_BYTES = 16 << 20
_BUFFER_BYTES = 1 << 20
_CUT_OFF = "\0cut off"


class TextMember(RecipeTable):
    """A member that holds a text, or a field of a JSON member."""

    member: str
    """The ending of the member, such as `txt` or `caption.txt`."""
    field: str | None = None
    """The field that holds the text (or a list of texts), where the member is JSON."""
    kind: str = "caption"
    """What the text is: caption, alt, title, ..."""
    lang: str | None = None
    """Its language, as an ISO 639 code."""


class WebdatasetConfig(SourceConfig):
    """Settings of the `webdataset` source."""

    texts: tuple[TextMember, ...] = (TextMember(member="txt"),)
    """The texts of a sample; a sample that lacks one has the others."""
    json_member: str = Field(default="json", min_length=1)
    """The ending of the member whose object goes to `meta`."""

    @model_validator(mode="after")
    def _texts_are_not_images(self) -> WebdatasetConfig:
        for item in self.texts:
            if item.member in STORED_ENDINGS:
                raise ValueError(f"texts: member {item.member!r} is an image")
        return self


class Webdataset(Source):
    """A folder of webdataset tars."""

    Config = WebdatasetConfig
    suffixes = (".tar",)
    adopted = "all"
    licence = "that of the tars' maker"
    citation = "Aizman, Maltby and Breuel 2019, arXiv:2001.01858 (the format)"
    config: WebdatasetConfig

    def check_file(self, file: ListFile) -> None:
        """One of the first hundred samples must have an image."""
        seen: list[str] = []
        for _, (key, members) in zip(range(100), self._samples(file), strict=False):
            if key == _CUT_OFF:
                break
            if STORED_ENDINGS & set(members):
                return
            seen += [ending for ending in members if ending not in seen]
        found = f"found: {', '.join(seen[:40])}" if seen else "it holds no member with an ending"
        raise SourceError(
            f"{file.path}: no sample with an image; {found}. Wanted a webdataset tar with one of "
            f"{', '.join(sorted(STORED_ENDINGS))} in each sample."
        )

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per sample."""
        for number, (key, members) in enumerate(self._samples(file)):
            if key == _CUT_OFF:
                yield Row(number, fault=f"tar: cut off or damaged after {number} samples")
            else:
                yield self._row(number, key, members, file)

    def tar_of(self, path: str) -> str:
        """The list is the tar."""
        return path

    def _row(self, number: int, key: str, members: dict[str, bytes | None], file: ListFile) -> Row:
        image = next((ending for ending in members if ending in STORED_ENDINGS), None)
        fault = f"sample: no image, but {', '.join(members)}" if image is None else None
        meta: dict[str, Any] = {}
        texts: list[RowText] = []
        try:
            meta = self._meta(members)
            texts = [text for item in self.config.texts for text in _texts(item, members)]
        except (ValueError, RecursionError) as error:
            fault = fault or f"member: {str(error)[:120]}"
        url = meta.pop("url", None)
        used = {image, self.config.json_member, *(item.member for item in self.config.texts)}
        meta["other_members"] = [ending for ending in members if ending not in used] or None
        place = f"{file.name}#{key}.{image}"
        return Row(number, url if isinstance(url, str) and url else place, texts, key, meta=meta, fault=fault)

    def _meta(self, members: dict[str, bytes | None]) -> dict[str, Any]:
        value = _json(members, self.config.json_member)
        return dict(value) if isinstance(value, dict) else {"json": value}

    def _samples(self, file: ListFile) -> Iterator[tuple[str, dict[str, bytes | None]]]:
        """(key, {ending: bytes of what may be text, None of the rest}) of each sample; at a damage, (_CUT_OFF, {})."""
        wanted = {self.config.json_member, *(item.member for item in self.config.texts)}
        for key, members in groupby(_members(file, wanted), lambda member: member[0]):
            sample: dict[str, bytes | None] = {}
            for _, ending, data in members:
                sample.setdefault(ending, data)
            yield key, sample


def _members(file: ListFile, wanted: set[str]) -> Iterator[tuple[str, str, bytes | None]]:
    """(key, ending, bytes if wanted) of the members that belong to samples, in tar order."""
    try:
        with (
            open_list(file.path) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as archive,
        ):
            for member in archive:
                key, ending = split_member(member.name)
                if not member.isreg() or not key or not ending:
                    continue
                is_read = ending in wanted and member.size <= _MAX_TEXT_BYTES
                data = archive.extractfile(member) if is_read else None
                yield key, ending, None if data is None else data.read()
    except (tarfile.TarError, *UNREADABLE):
        yield _CUT_OFF, "", None


def _texts(item: TextMember, members: dict[str, bytes | None]) -> Iterator[RowText]:
    if item.field is None:
        data = _data(members, item.member)
        yield RowText(None if data is None else data.decode("utf-8", "surrogateescape"), item.kind, item.lang)
        return
    value = _json(members, item.member)
    found = value.get(item.field) if isinstance(value, dict) else None
    for text in found if isinstance(found, list) else [found]:
        yield RowText(text, item.kind, item.lang)


def _json(members: dict[str, bytes | None], ending: str) -> Any:
    data = _data(members, ending)
    if data is None:
        return None
    try:
        return json.loads(data.decode("utf-8-sig", "surrogateescape"))
    except ValueError as error:
        raise ValueError(f"{ending}: not JSON: {error}") from None


def _data(members: dict[str, bytes | None], ending: str) -> bytes | None:
    if ending in members and members[ending] is None:
        raise ValueError(f"{ending}: longer than {_MAX_TEXT_BYTES} bytes")
    return members.get(ending)
