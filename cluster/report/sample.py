"""Which rows are shown: a few kept ones and a few of each reason, chosen by their key alone, over all parts.

A key is a hash, so the rows whose keys' middle digits are smallest are a fair sample, and the same one however rows
are spread over parts. (The beginning of a key already decides which of two duplicates stays.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.report.folder import Folder
from cluster.report.part import KEPT, PartView, coded
from cluster.report.thumbnail import MAX_BYTES
from pipeline.errors import DatasetError, RunFailed

KEPT_SHOWN = 24
SHOWN_PER_REASON = 6
KEPT_WORD = ""
"""The reason of rows that were kept."""
_SHOWN = ("key", "texts", "medium", "mime", "width", "height", "tar_offset", "tar_bytes")


@dataclass(frozen=True, order=True)
class Place:
    """A row: where it lies, and its order among those of the same reason."""

    order: str
    key: str
    part: str
    row: int


@dataclass
class Sample:
    """A row as it is shown. `scores` are values by the full name of their column; `media` is None where it is gone."""

    place: Place
    texts: list[str]
    medium: str
    mime: str
    media: bytes | None
    scores: dict[str, Any] = field(default_factory=dict)


class SampleSurvey:
    """The first rows of each reason, by the middle of their key."""

    def __init__(self) -> None:
        self.places: dict[str, list[Place]] = {}

    def of(self, part: PartView) -> dict[str, list[Place]]:
        """The first rows of one part."""
        keys = part.raw.column("key").combine_chunks()
        order = pc.utf8_slice_codeunits(keys, 8, 24)
        names, codes = coded(part.dropped_by)
        rows_of = {name: np.flatnonzero(codes == i) for i, name in enumerate(names) if not name.startswith("fetch:")}
        rows_of[KEPT_WORD] = np.flatnonzero(part.tone == KEPT)
        found = {}
        for reason, rows in rows_of.items():
            found[reason] = _first(rows, order, keys, part.id, KEPT_SHOWN if reason == KEPT_WORD else SHOWN_PER_REASON)
        return found

    def add(self, found: dict[str, list[Place]]) -> None:
        """Take in a part."""
        for reason, places in found.items():
            most = KEPT_SHOWN if reason == KEPT_WORD else SHOWN_PER_REASON
            self.places[reason] = sorted(self.places.get(reason, []) + places)[:most]


def _first(rows: np.ndarray, order: pa.Array, keys: pa.Array, part: str, most: int) -> list[Place]:
    """The places of the `most` rows that come first; ties go by key and row."""
    at = pa.array(rows)
    words = order.take(at)
    if len(rows) > 8 * most:  # a bound first, so that few rows are sorted as Python strings
        bound = words.take(pc.select_k_unstable(words, most, sort_keys=[("", "ascending")]))[most - 1]
        near = pc.less_equal(words, bound)
        rows, words, at = rows[near.to_numpy(zero_copy_only=False)], words.filter(near), at.filter(near)
    pairs = zip(words.to_pylist(), keys.take(at).to_pylist(), rows.tolist(), strict=True)
    return sorted(Place(word, key, part, row) for word, key, row in pairs)[:most]


def read_samples(folder: Folder, places: Iterable[Place], columns: Sequence[str] = ()) -> dict[Place, Sample]:
    """Texts, media and scores of the rows; those of a part that cannot be read are left out, and noted.

    Args:
        columns: full names of the score columns to tell.
    """
    by_part: dict[str, list[Place]] = {}
    for place in sorted(set(places), key=lambda place: (place.part, place.row)):
        by_part.setdefault(place.part, []).append(place)
    found = {}
    for part, of_part in by_part.items():
        try:
            found.update(_of_part(folder, part, of_part, columns))
        except RunFailed as error:
            folder.note(f"Some rows cannot be shown: {error}")
    return found


def _of_part(folder: Folder, part: str, places: Sequence[Place], columns: Sequence[str]) -> Mapping[Place, Sample]:
    commit = folder.fetched[part]
    at = pa.array([place.row for place in places])
    rows = folder.read(commit.file(".parquet"), _SHOWN).take(at).to_pylist()
    scores = _scores(folder, part, at, columns)
    found = {}
    for i, (place, row) in enumerate(zip(places, rows, strict=True)):
        texts = [text["text"] or "" for text in (row.get("texts") or [])[:2]]
        values = {name: column[i] for name, column in scores.items()}
        media = _media(folder, commit.file(".tar"), row)
        medium, mime = row.get("medium") or "medium", row.get("mime") or ""
        found[place] = Sample(place, texts, medium, mime, media, values)
    return found


def _scores(folder: Folder, part: str, at: pa.Array, columns: Sequence[str]) -> dict[str, list[Any]]:
    by_scorer: dict[str, list[str]] = {}
    for name in columns:
        scorer, _, column = name.partition(".")
        by_scorer.setdefault(scorer, []).append(column)
    found = {}
    for scorer, names in by_scorer.items():
        of_scorer = folder.scorers.get(scorer, {}).get(part)
        file = folder.fetched[part].file(".parquet") if scorer == "record" else of_scorer
        if file is None:
            continue
        try:
            table = folder.read(file, names)
            found.update({f"{scorer}.{name}": table.column(name).take(at).to_pylist() for name in table.column_names})
        except (DatasetError, pa.ArrowException):
            continue  # noted where the columns were counted
    return found


def _media(folder: Folder, tar: str, row: Mapping[str, Any]) -> bytes | None:
    offset, size = row.get("tar_offset"), row.get("tar_bytes")
    if row.get("medium") not in ("image", None) or offset is None or size is None or size > MAX_BYTES:
        return None
    try:
        return folder.dataset.read_range(tar, offset, size)
    except RunFailed:
        folder.note("Some media that the records name are no longer in raw/, so their pictures are not shown.")
        return None
