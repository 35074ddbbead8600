"""One raw part as the report reads it, columns alone: the record, the verdict, the scores. Bounded by one part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from cluster.report.folder import Folder
from pipeline.errors import DatasetError

KEPT, DROPPED, UNJUDGED = 0, 1, 2
TONES = 3
WORKERS = 2
LANG = ("texts.list.element.lang", "texts.list.item.lang")
"""The language of each text alone, by either name that parquet files have for what a list holds."""
RAW = ("key", "url", "outcome", "detail", "meta", "sha256", "fetched_at", *LANG)
"""Columns of the record that surveys take."""


@dataclass
class PartView:
    """A part that is being looked at. `tone` says of each row whether it was kept, dropped, or not judged."""

    folder: Folder
    id: str
    raw: pa.Table
    dropped_by: pa.Array
    tone: np.ndarray
    notes: list[str] = field(default_factory=list)
    _scores: dict[str, pa.Table | None] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the part."""
        return self.raw.num_rows

    def scores(self, scorer: str, columns: Sequence[str]) -> pa.Table | None:
        """Columns of a scorer, one row per raw row; None where there are none. Ask with the same columns each time."""
        if scorer not in self._scores:
            self._scores[scorer] = self._read_scores(scorer, columns)
        return self._scores[scorer]

    def _read_scores(self, scorer: str, columns: Sequence[str]) -> pa.Table | None:
        file = f"raw/{self.id}.parquet" if scorer == "record" else self.folder.scorers[scorer].get(self.id)
        if file is None:
            return None
        try:
            table = self.folder.read(file, columns)
        except DatasetError as error:
            self.notes.append(str(error))
            return None
        if table.num_columns and table.num_rows != self.rows:
            self.notes.append(f"Scores of {scorer!r} have other rows than some raw parts: run `pairmill score`.")
            return None
        return table


class Survey(Protocol):
    """Something counted over all parts: `of` counts one, on any thread; `add` takes it in, in order of the parts."""

    def of(self, part: PartView) -> Any:
        """What one part has."""

    def add(self, found: Any) -> None:
        """Take in what `of` gave."""


T, U = TypeVar("T"), TypeVar("U")


def walk(folder: Folder, surveys: Sequence[Survey], columns: Sequence[str] = RAW) -> None:
    """Show every raw part to all surveys, with `columns` of the record; what cannot be read is noted and left out."""

    def look(part: str) -> tuple[list[Any], list[str]]:
        try:
            view = open_part(folder, part, columns)
        except DatasetError as error:
            return [], [str(error)]
        return [survey.of(view) for survey in surveys], view.notes

    for found, notes in in_order(look, folder.fetched):
        for survey, item in zip(surveys, found, strict=False):
            survey.add(item)
        for sentence in notes:
            folder.note(sentence)


def open_part(folder: Folder, part: str, columns: Sequence[str]) -> PartView:
    """The columns of one part. Raises: DatasetError: its record is of an earlier layout, or cannot be read."""
    file = folder.fetched[part].file(".parquet")
    raw = folder.read(file, columns)
    if "outcome" not in raw.column_names:
        raise DatasetError(
            f"{file} has no column 'outcome', so an earlier pairmill wrote it; such parts are left out of the tables "
            "below. Run `pairmill fetch` with its recipe, which makes them anew."
        )
    nothing = pa.nulls(raw.num_rows, pa.string())
    view = PartView(folder, part, raw, nothing, np.full(raw.num_rows, UNJUDGED, np.int8))
    judged = folder.judged.get(part)
    if judged is not None:
        verdict = folder.read(judged.file(".parquet"), ["keep", "dropped_by"])
        if verdict.num_rows != raw.num_rows:
            view.notes.append("Some verdicts have other rows than their raw parts: run `pairmill judge`.")
        else:
            keep = verdict.column("keep").to_numpy()
            view.tone = np.where(keep, KEPT, DROPPED).astype(np.int8)
            view.dropped_by = verdict.column("dropped_by").combine_chunks()
    return view


def in_order(call: Callable[[T], U], items: Iterable[T], workers: int = WORKERS) -> Iterator[U]:
    """The results of `call` in the order of `items`; only a few are ahead, so that few are in memory."""
    with ThreadPoolExecutor(workers) as pool:
        rest = iter(items)
        ahead: list[Future[U]] = [pool.submit(call, item) for item in islice(rest, 2 * workers)]
        while ahead:
            yield ahead.pop(0).result()
            ahead += [pool.submit(call, item) for item in islice(rest, 1)]


def tally(codes: np.ndarray, tone: np.ndarray, num: int) -> np.ndarray:
    """[TONES, num] rows of each code below `num` in each tone; negative codes are left out."""
    there = codes >= 0
    return np.bincount(tone[there].astype(np.int64) * num + codes[there], minlength=TONES * num).reshape(TONES, num)


def coded(column: pa.ChunkedArray | pa.Array) -> tuple[list[Any], np.ndarray]:
    """The distinct values of a column, and the number of each row's, -1 for null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    encoded = array.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)


def merge(into: dict[Any, np.ndarray], found: Mapping[Any, np.ndarray]) -> None:
    """Add counts by name."""
    for name, counts in found.items():
        into[name] = into[name] + counts if name in into else counts
