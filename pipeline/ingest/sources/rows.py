"""From the row of a list to a CANDIDATE record: one row in, one record out, whatever the row holds.

Text is repaired where its meaning survives: bytes that are not UTF-8 and lone surrogates become U+FFFD, NUL
characters go; `meta` then says `"repaired"` and which. What cannot be fetched gets a `fault` in words (no url, a url
that is not text, a malformed line, a text over the limit) and becomes the status `bad_row` later. An empty or absent
text is no fault: the sample then has no texts, and a filter decides. A region that is none (a box that is not four
finite numbers) is a fault too, for a box may be a face to blur.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.ingest.sources.files import ListFile
from pipeline.record import CANDIDATE, sample_key

_HASH = re.compile(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})\Z")
_HASH_BY_LENGTH = {32: "md5", 64: "sha256"}
_SURROGATES = re.compile("[\ud800-\udfff]+")
_MAX_FAULT = 200


@dataclass(frozen=True, slots=True)
class RowText:
    """A text as the list has it; `text` may be anything, None included."""

    text: Any
    kind: str = "caption"
    lang: Any = None


@dataclass(frozen=True, slots=True)
class RowRegion:
    """A part of a medium as the list has it: box = (x, y, width, height) in pixels of the original.

    `mask` is a COCO RLE: {"size": [height, width], "counts": list of runs, or COCO's text}, or that as JSON.
    """

    box: Any = None
    text: Any = None
    mask: Any = None


@dataclass(frozen=True, slots=True)
class RowCompanion:
    """Another file of the sample, such as a segmentation mask."""

    role: str
    url: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a list, unchecked.

    `number` counts all rows of the file from 0. `source_id` is the list's own identifier, None where it has none.
    `hash` is hex (md5 or sha256 by its length) or `md5:<hex>`. `fault` is what the reader found wrong.
    """

    number: int
    url: Any = None
    texts: Sequence[RowText] = ()
    source_id: Any = None
    hash: Any = None
    split: Any = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    regions: Sequence[RowRegion] = ()
    companions: Sequence[RowCompanion] = ()


def to_record_batch(
    rows: Sequence[Row], file: ListFile, source: str, medium: str, max_text_bytes: int
) -> pa.RecordBatch:
    """CANDIDATE records of `rows`, in order."""
    columns: dict[str, list[Any]] = {name: [] for name in CANDIDATE.names}
    for row in rows:
        for name, value in _record(row, file, source, max_text_bytes).items():
            columns[name].append(value)
    columns["source"] = [source] * len(rows)
    columns["medium"] = [medium] * len(rows)
    absent = [None] * len(rows)
    arrays = [pa.array(columns[item.name] or absent, item.type) for item in CANDIDATE]
    return pa.RecordBatch.from_arrays(arrays, schema=CANDIDATE)


def clean(text: str) -> tuple[str, bool]:
    """`text` without NUL characters and surrogates, and whether it had any."""
    if text.isascii() and "\0" not in text:
        return text, False
    fixed = _SURROGATES.sub("\ufffd", text.replace("\0", ""))
    return fixed, fixed != text


def identifier(value: Any) -> str | None:
    """The list's own identifier as text; None where the row has none (null, empty, NaN)."""
    if value is None or isinstance(value, bool) or value == "":
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value  # pandas turns integers with gaps into floats
    return clean(str(value))[0]


def to_json(meta: Mapping[str, Any]) -> str:
    """`meta` as an ASCII JSON object, whatever Python values it holds; NaN and infinities become null."""
    try:
        try:
            return json.dumps(meta, allow_nan=False, default=_plain)
        except ValueError:
            return json.dumps(_finite(meta), allow_nan=False, default=_plain)
    except RecursionError:
        return json.dumps({"left_out": "too deeply nested"})


def _record(row: Row, file: ListFile, source: str, max_text_bytes: int) -> dict[str, Any]:
    repaired: list[str] = []
    faults: list[str] = [] if row.fault is None else [row.fault]
    source_id = identifier(row.source_id)
    if source_id is None:
        source_id = f"{file.label}#{row.number}"
    source_id = clean(source_id)[0]
    url = _url(row.url, faults)
    texts = _texts(row.texts, max_text_bytes, faults, repaired)
    regions = [_region(item, faults, repaired) for item in row.regions]
    promised = _promised_hash(row.hash, faults)
    split = row.split if file.split is None else file.split
    meta = {key: value for key, value in row.meta.items() if value is not None}
    if repaired:
        meta["repaired"] = repaired
    return {
        "key": sample_key(source, source_id),
        "source_id": source_id,
        "url": url,
        "texts": texts,
        "regions": [item for item in regions if item is not None] or None,
        "companions": [{"role": item.role, "url": item.url} for item in row.companions] or None,
        "hash": promised,
        "split": None if split is None else clean(str(split))[0],
        "fault": "; ".join(faults)[:_MAX_FAULT] if faults else None,
        "meta": to_json(meta) if meta else None,
    }


def _url(value: Any, faults: list[str]) -> str | None:
    if isinstance(value, str):
        url, broken = clean(value.strip())
        if broken:
            faults.append("url: not valid text")
        elif not url and not faults:
            faults.append("url: empty")
        return url
    if not faults:
        faults.append("url: none" if value is None else f"url: {type(value).__name__}, wanted text")
    return None


def _texts(
    texts: Sequence[RowText], max_bytes: int, faults: list[str], repaired: list[str]
) -> list[dict[str, str | None]]:
    kept = []
    for item in texts:
        if item.text is None or item.text == "":
            continue
        if not isinstance(item.text, str):
            faults.append(f"{item.kind}: {type(item.text).__name__}, wanted text")
            continue
        text, broken = clean(item.text)
        size = len(text) if text.isascii() else len(text.encode())
        if size > max_bytes:
            faults.append(f"{item.kind}: a text of {size} bytes, at most {max_bytes} wanted")
            continue
        if broken:
            repaired.append(item.kind)
        if text:
            kept.append({"text": text, "kind": item.kind, "lang": identifier(item.lang)})
    return kept


def _region(item: RowRegion, faults: list[str], repaired: list[str]) -> dict[str, Any] | None:
    box = item.box
    if box is not None and not (
        isinstance(box, (list, tuple)) and len(box) == 4 and all(map(_is_finite, box)) and min(box[2:]) >= 0
    ):
        faults.append(f"region: box {str(box)[:60]}, wanted four numbers: x, y, width, height")
        return None
    if not (item.text is None or isinstance(item.text, str)):
        faults.append(f"region: {type(item.text).__name__}, wanted text")
        return None
    if not (item.mask is None or isinstance(item.mask, (str, Mapping))):
        faults.append(f"region: a mask of {type(item.mask).__name__}, wanted size and counts")
        return None
    text, broken = (None, False) if item.text is None else clean(item.text)
    if broken:
        repaired.append("region")
    mask = to_json(item.mask) if isinstance(item.mask, Mapping) else item.mask
    return {"box": box, "mask": mask, "text": text}


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _promised_hash(value: Any, faults: list[str]) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        text = value.strip().lower()
        if len(text) in _HASH_BY_LENGTH:
            text = f"{_HASH_BY_LENGTH[len(text)]}:{text}"
        if _HASH.match(text):
            return text
    faults.append("hash: neither an md5 nor a sha256 in hex")
    return None


def _plain(value: Any) -> Any:
    """A JSON value for what JSON does not know: dates, decimals and the like as text, bytes in base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
