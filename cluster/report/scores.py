"""Scores: a histogram of every column of numbers, with the verdict's thresholds drawn in, and shares of every flag.

The axis of each column is chosen from rows of parts that lie evenly over the dataset; then all parts are counted, one
at a time, so memory holds bins and never rows.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.report.chart import histogram
from cluster.report.columns import ScoreColumn, names_to_read
from cluster.report.folder import Folder
from cluster.report.histogram import Axis, Counts, choose_axis
from cluster.report.part import DROPPED, KEPT, TONES, UNJUDGED, PartView
from cluster.report.rules import Line, RuleView
from cluster.report.section import Section, bar, legend, share, table
from cluster.report.words import number, percent, rows_of
from pipeline.errors import RunFailed
from pipeline.words import plain

SAMPLE_PARTS = 32
SAMPLE_ROWS = 20_000
"""Rows of one part from which axes are chosen."""


class ScoreSurvey:
    """Counts of all columns of numbers and flags."""

    def __init__(self, folder: Folder, columns: Sequence[ScoreColumn], rules: Sequence[RuleView]) -> None:
        self.columns = [column for column in columns if column.form in ("number", "flag")]
        self.by_scorer: dict[str, list[ScoreColumn]] = {}
        for column in self.columns:
            self.by_scorer.setdefault(column.scorer, []).append(column)
        self.names = names_to_read(columns)
        self.lines = {
            column.full: [line for rule in rules for line in rule.lines if line.column == column.full]
            for column in self.columns
        }
        self.axes = self._axes(folder)
        self.counts: dict[str, Counts] = {}
        self.flags: dict[str, np.ndarray] = {}

    def of(self, part: PartView) -> tuple[dict[str, Counts], dict[str, np.ndarray]]:
        """The counts of one part; flags as [TONES, false and true]."""
        counts, flags = {}, {}
        for scorer, columns in self.by_scorer.items():
            scores = part.scores(scorer, self.names[scorer])
            for column in columns if scores is not None else ():
                if column.name not in scores.column_names:
                    continue
                values, valid = numbers(scores.column(column.name))
                tone = part.tone[valid]
                if column.form == "flag":
                    cells = tone.astype(np.int64) * 2 + values.astype(np.int64)
                    flags[column.full] = np.bincount(cells, minlength=2 * TONES).reshape(TONES, 2)
                else:
                    lines = [line.number for line in self.lines[column.full]]
                    missing = int(len(valid) - len(values))
                    counts[column.full] = Counts.of(self.axes[column.full], lines, values, tone, missing)
        return counts, flags

    def add(self, found: tuple[dict[str, Counts], dict[str, np.ndarray]]) -> None:
        """Take in a part."""
        for into, new in zip((self.counts, self.flags), found, strict=True):
            for name, item in new.items():
                into[name] = into[name] + item if name in into else item

    def _axes(self, folder: Folder) -> dict[str, Axis]:
        axes = {}
        for scorer, columns in self.by_scorer.items():
            drawn = [column for column in columns if column.form == "number"]
            sample = _sample(folder, scorer, [column.name for column in drawn]) if drawn else {}
            for column in drawn:
                lines = [line.number for line in self.lines[column.full]]
                values = np.concatenate(sample.get(column.name) or [np.zeros(0)])
                axes[column.full] = choose_axis(values, lines, is_whole=column.is_whole)
        return axes


def numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The values that are not null, in the precision they have, and where they lie."""
    array = column.combine_chunks()
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return array.drop_null().to_numpy(zero_copy_only=False), valid


def score_sections(folder: Folder, survey: ScoreSurvey, columns: Sequence[ScoreColumn]) -> list[Section]:
    """The histograms, those that rules look at first; then flags."""
    if not columns:
        body = "<p>No scores are there yet: <code>pairmill score RECIPE</code> computes them.</p>"
        return [Section("Scores", "", body)]
    ruled = [column for column in survey.columns if column.full in survey.counts and survey.lines[column.full]]
    ruled.sort(key=lambda column: column.name.endswith("rank"))  # ranks say the least to the eye
    others = [column for column in survey.columns if column.full in survey.counts and column not in ruled]
    blocks = [legend(*_tones(survey.counts.values(), survey.flags.values()))]
    if ruled:
        blocks.append("<h3>Columns with a threshold of the verdict</h3>" + _charts(survey, ruled))
    for title, of_title in _grouped(others).items():
        blocks.append(f"<h3>{html.escape(plain(title))}</h3>{_charts(survey, of_title)}")
    if survey.flags:
        words = "Bars are the rows where it is true."
        blocks.append(f'<h3>True or false</h3><p class="lead">{words}</p>{_flags(survey)}')
    left_out = [column.full for column in columns if column.form == "other"]
    if left_out:
        blocks.append(f'<p class="lead">Not drawn, since they are identifiers or lists: {_names(left_out)}.</p>')
    lead = "Facts on fetched rows. A bar is the rows of one bin; the shaded side of a line does not pass it."
    return [Section("Scores", lead, "".join(blocks))]


def _grouped(columns: Sequence[ScoreColumn]) -> dict[str, list[ScoreColumn]]:
    """Columns by scorer, those of few columns together, those of duplicates last."""
    scorers = sorted({column.scorer for column in columns}, key=lambda name: (_is_duplicates(columns, name), name))
    found: dict[str, list[ScoreColumn]] = {}
    for scorer in scorers:
        of_scorer = [column for column in columns if column.scorer == scorer]
        is_small = len(of_scorer) < 3 and len(scorers) > 1
        found.setdefault("Scorers of a column or two" if is_small else scorer, []).extend(of_scorer)
    return found


def _is_duplicates(columns: Sequence[ScoreColumn], scorer: str) -> bool:
    """Whether a scorer tells of duplicates, which have a section of their own."""
    return any(column.name.endswith("copies") for column in columns if column.scorer == scorer)


def _charts(survey: ScoreSurvey, columns: Sequence[ScoreColumn]) -> str:
    return f'<div class="charts">{"".join(_chart(survey, column) for column in columns)}</div>'


def _chart(survey: ScoreSurvey, column: ScoreColumn) -> str:
    counts, lines = survey.counts[column.full], survey.lines[column.full]
    name = plain(column.full)
    if not counts.rows:
        words = [f"No row has a value; {counts.missing:,} have none."]
        drawn = ""
    else:
        words = [_spread(counts), *(_passing(counts, i, line) for i, line in enumerate(lines))]
        drawn = histogram(counts, lines, label=f"Histogram of {name}. {' '.join(words)}")
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in words)
    return f'<figure class="chart"><figcaption>{html.escape(name)}</figcaption>{drawn}{said}</figure>'


def _spread(counts: Counts) -> str:
    """The values in words."""
    text = f"{counts.rows:,} rows, {number(counts.low)} to {number(counts.high)}; "
    if counts.low == counts.high:
        text = f"{counts.rows:,} rows, all of them {number(counts.low)}"
    elif 2 * counts.zeros > counts.rows:
        text += f"{percent(counts.zeros, counts.rows)} are 0"
    else:
        text += f"half below about {number(float(f'{counts.about(0.5):.3g}'))}"
    beyond = int(counts.beyond.sum())
    text += f"; {beyond:,} lie beyond the axis" if beyond else ""
    text += "; logarithmic axis" if counts.axis.scale == "log" else ""
    return f"{text}."


def _passing(counts: Counts, index: int, line: Line) -> str:
    """How many rows do not pass a threshold; nulls are told apart from them."""
    below, at, above = (int(rows) for rows in counts.sides[index])
    outside = {">=": below, ">": below + at, "<=": above, "<": above + at}[line.mark]
    side = "below" if line.mark in (">=", ">") else "above"
    lie = "lies" if outside == 1 else "lie"
    share_ = percent(outside, counts.rows)
    verb = "wants" if line.weight == "needed" else "looks, among other things, for"
    return f"{plain(line.rule)} {verb} {line}: {rows_of(outside)} ({share_}) {lie} {side}."


def _flags(survey: ScoreSurvey) -> str:
    rows = []
    for name, cells in survey.flags.items():
        whole, true = int(cells.sum()), cells[:, 1]
        drawn = bar(int(true[KEPT]), int(true[DROPPED]), whole, int(true[UNJUDGED]))
        rows.append((plain(name), whole, int(true.sum()), share(int(true.sum()), whole), drawn))
    return table(("column", "rows", "true", "share", ""), rows, name="true or false")


def _tones(counts: Any, flags: Any) -> list[str]:
    seen = sum((item.inside.sum(axis=1) for item in counts), np.zeros(TONES, np.int64))
    seen = seen + sum((cells.sum(axis=1) for cells in flags), np.zeros(TONES, np.int64))
    names = ("kept", "left", "other")
    return [names[tone] for tone in (KEPT, DROPPED, UNJUDGED) if seen[tone]]


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"<code>{html.escape(plain(name))}</code>" for name in names)


def _sample(folder: Folder, scorer: str, names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Values of some rows of some parts."""
    files = (
        [commit.file(".parquet") for commit in folder.fetched.values()]
        if scorer == "record"
        else list(folder.scorers[scorer].values())
    )
    step = max(1, -(-len(files) // SAMPLE_PARTS))
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for file in files[::step]:
        try:
            scores = folder.read(file, names)
        except RunFailed:
            continue  # noted where the part is counted
        every = max(1, -(-scores.num_rows // SAMPLE_ROWS))
        for name in scores.column_names:
            values, _ = numbers(scores.column(name))
            found[name].append(values[::every].astype(np.float64))
    return found
