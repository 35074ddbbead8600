"""What one sample looks like inside a shard: its members' names, its JSON and its caption.

Takes a row of `record.FETCHED` with its weight; gives `{key}.{extension}`, `{key}.json`, `{key}.txt`. The JSON has
img2dataset's field names where it has the field, says nothing that is null or empty, and depends on the row alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.rights import LICENCE, licence_name
from pipeline.tar import member_bytes

_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/ogg": "ogg",
}
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_LICENCE = re.compile(LICENCE)
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

JSON_FIELDS = (
    "url",
    "width",
    "height",
    "original_width",
    "original_height",
    "duration_s",
    "mime",
    "sha256",
    "source",
    "source_id",
    "texts",
    "weight",
    "regions",
    "companions",
    "table",
)
"""Columns that the JSON takes as they are, in this order, after `key` and `caption`."""


def is_shard_key(key: str) -> bool:
    """Whether WebDataset readers keep the key whole: they cut a name at its first dot."""
    return _KEY.fullmatch(key) is not None


def extension_of(member: str | None, mime: str | None) -> str:
    """Extension of the medium: by its type, else as its raw member had it, else `bin`."""
    if mime in _EXTENSIONS:
        return _EXTENSIONS[mime]
    suffix = (member or "").rsplit("/", 1)[-1].rpartition(".")[2].lower()
    return suffix if _EXTENSION.fullmatch(suffix) and suffix not in ("json", "txt") else "bin"


def caption_of(texts: list[Mapping[str, Any]] | None) -> str:
    """The first text of a sample; empty where it has none."""
    return (texts[0]["text"] or "") if texts else ""


def tar_bytes(members: Iterable[int]) -> int:
    """Bytes that a sample takes in a tar, by the sizes of its members: headers and padding included."""
    return sum(map(member_bytes, members))


def licence_of(meta: str | None) -> str | None:
    """The licence that the list states for a row, as it may be shown; None where it states none."""
    found = None if meta is None else _LICENCE.search(meta)
    return None if found is None else licence_name(found["licence"])


def sample_json(row: Mapping[str, Any]) -> bytes:
    """The `.json` member of a sample."""
    out: dict[str, Any] = {"key": row["key"], "caption": caption_of(row["texts"])}
    for name in JSON_FIELDS:
        value = said(row[name])
        if value is not None and value != []:
            out[name] = value
    if row["meta"] is not None:
        out["meta"] = _parsed(row["meta"])
    return json.dumps(out, ensure_ascii=True, separators=(", ", ": ")).encode("ascii")


def said(value: Any) -> Any:
    """`value` as the JSON says it: without null fields; a number that JSON cannot say (NaN, infinity) is null."""
    if isinstance(value, list):
        return [said(item) for item in value]
    if isinstance(value, dict):
        return {name: said(item) for name, item in value.items() if item is not None}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parsed(meta: str) -> Any:
    """The list's other columns as JSON; as the text they are where they are not JSON."""
    try:
        return said(json.loads(meta))
    except (ValueError, RecursionError):
        return meta
