"""Galleries: kept rows, and dropped ones under the rule that dropped them, with what the rule looked at.

Pictures weigh on the page, so they have a budget; what is beyond it is shown without its picture, and the page says so.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.report.folder import Folder
from cluster.report.rules import RuleView
from cluster.report.sample import KEPT_WORD, Sample, SampleSurvey, read_samples
from cluster.report.section import Section
from cluster.report.thumbnail import data_url, thumbnail
from cluster.report.words import number, percent, rows_of, shown
from pipeline.words import plain

PICTURE_BYTES = 13_000_000
"""All pictures of the page together, as they stand in it; the page then stays below 15 MB."""
MOST_REASONS = 60
MOST_VALUES = 4
ALT_CHARS = 120


@dataclass
class Budget:
    """Bytes of pictures that the page may still take."""

    left: int = PICTURE_BYTES
    num_cut: int = 0

    def take(self, media: bytes | None) -> str | None:
        """The picture as a data URL; None where it is none, or where the budget is spent."""
        small = None if media is None else thumbnail(media)
        if small is None:
            return None
        url = data_url(small)
        if len(url) > self.left:
            self.num_cut += 1
            return None
        self.left -= len(url)
        return url


def gallery_sections(
    folder: Folder, survey: SampleSurvey, rules: Sequence[RuleView], dropped: Mapping[str, int], budget: Budget
) -> list[Section]:
    """What was kept, and what was dropped by each rule; `dropped` has the rows per reason."""
    if not folder.judged:
        body = "<p>Nothing has been judged yet: <code>pairmill judge RECIPE</code> decides what is kept.</p>"
        return [Section("Kept", "", body)]
    of_rules = {rule.name: rule for rule in rules}
    kept = survey.places.get(KEPT_WORD, [])
    with_lines = list(dict.fromkeys(line.column for rule in rules for line in rule.lines if "rank" not in line.column))
    samples = read_samples(folder, kept, with_lines[:MOST_VALUES])
    figures = [figure(samples[place], with_lines[:MOST_VALUES], budget) for place in kept if place in samples]
    lead = "A sample by key, the same on every run, with the scores that rules have bounds for."
    sections = [Section("Kept", lead, gallery(figures) or "<p>No row was kept.</p>")]
    blocks = []
    reasons = [name for name in survey.places if name != KEPT_WORD]
    order = sorted(reasons, key=lambda name: (-dropped.get(name, 0), name))
    whole = sum(rows for name, rows in dropped.items() if not name.startswith("fetch:"))
    for reason in order[:MOST_REASONS]:
        rule = of_rules.get(reason)
        columns = rule.columns[:MOST_VALUES] if rule is not None else ()
        samples = read_samples(folder, survey.places[reason], columns)
        figures = [figure(samples[place], columns, budget) for place in survey.places[reason] if place in samples]
        blocks.append(_head(reason, rule, dropped.get(reason, 0), whole) + gallery(figures))
    if len(order) > MOST_REASONS:
        blocks.append(f"<p>{len(order) - MOST_REASONS} rarer reasons are not shown.</p>")
    lead = "A sample by key of each reason, with the scores that decided. Rows fall to the first rule that they break."
    sections.append(Section("Dropped", lead, "".join(blocks) or "<p>No fetched row was dropped by a rule.</p>"))
    return sections


def gallery(figures: Sequence[str]) -> str:
    """Figures side by side."""
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else ""


def figure(sample: Sample, columns: Sequence[str], budget: Budget, mark: str = "") -> str:
    """One row: its picture, texts, key and scores. `mark` is HTML that stands on the picture."""
    texts = [text for text in sample.texts if text.strip()]
    caption = " / ".join(plain(text) for text in texts)
    url = budget.take(sample.media)
    if url is not None:
        alt = html.escape(plain(caption, ALT_CHARS) or "without caption", quote=True)
        picture = f'<img src="{url}" alt="{alt}">'
    else:
        kind = sample.mime if sample.mime and not sample.mime.startswith("image/") else "picture not shown"
        picture = f'<div class="nopicture">{shown(kind, 40)}</div>'
    words = f'<p dir="auto">{html.escape(caption)}</p>' if caption else '<p class="soft">no text</p>'
    scores = "".join(
        f"<li>{shown(name, 60)} = <b>{_value(sample.scores[name])}</b></li>"
        for name in columns
        if name in sample.scores
    )
    facts = f'<ul class="facts">{scores}</ul>' if scores else ""
    key = f'<code class="key">{shown(sample.place.key, 64)}</code>'
    return f"<figure>{mark}{picture}<figcaption>{words}{facts}{key}</figcaption></figure>"


def _head(reason: str, rule: RuleView | None, rows: int, whole: int) -> str:
    said = f" <code>{shown(rule.text, 400)}</code>" if rule is not None else ""
    told = f"{rows_of(rows)}, {percent(rows, whole)} of what rules dropped."
    said = f"Keeps{said}. " if said else ""
    return f'<h3>{shown(reason, 80)}</h3><p class="lead">{said}{told}</p>'


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shown(str(value), 60)
    return number(value)
