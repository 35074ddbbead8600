"""Licences and opt-outs: the terms of the list, licences that rows state, and what was asked not to be taken.

What a row states lies in its `meta`, under a name such as `license` (COCO) or `LICENSE` (LAION).
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from cluster.report.part import DROPPED, KEPT, UNJUDGED, PartView, coded, merge, tally
from cluster.report.section import Section, bar, pairs, share, table
from pipeline.errors import RecipeError
from pipeline.ingest.sources import source_class
from pipeline.record import Status
from pipeline.rights import LICENCE, cause_of, licence_name
from pipeline.words import location, plain

SHOWN = 20
MOST_LICENCES = 5_000
_POLICY = ("policy", "robots", "tdmrep", "per_host_rate_hz", "max_turn_wait_s", "user_agent", "engine")


class RightsSurvey:
    """Causes of refusals, licences of rows, and when media were fetched."""

    def __init__(self) -> None:
        self.causes: Counter[tuple[str, str]] = Counter()
        self.licences: dict[str, np.ndarray] = {}
        self.first: Any = None
        self.last: Any = None

    def of(self, part: PartView) -> tuple[Counter[tuple[str, str]], dict[str, np.ndarray], Any]:
        """Counts of one part."""
        raw = part.raw
        causes: Counter[tuple[str, str]] = Counter()
        if "detail" in raw.column_names:
            for outcome in (Status.OPTED_OUT, Status.BLOCKLISTED, Status.DEFERRED):
                details = raw.column("detail").filter(pc.equal(raw.column("outcome"), outcome.value))
                for item in pc.value_counts(details).to_pylist():
                    causes[outcome.value, cause_of(outcome, item["values"])] += item["counts"]
            is_page = pc.match_substring(raw.column("detail"), "opted out by the page")
            for item in pc.value_counts(raw.column("detail").filter(pc.fill_null(is_page, False))).to_pylist():
                causes["bad_row", cause_of(Status.OPTED_OUT, item["values"])] += item["counts"]
        times = None
        if "fetched_at" in raw.column_names:
            ends = pc.min_max(raw.column("fetched_at")).as_py()
            times = None if ends["min"] is None else (ends["min"], ends["max"])
        return causes, _licences(part), times

    def add(self, found: tuple[Counter[tuple[str, str]], dict[str, np.ndarray], Any]) -> None:
        """Take in a part."""
        causes, licences, times = found
        self.causes.update(causes)
        merge(self.licences, licences)
        if len(self.licences) > MOST_LICENCES:
            order = sorted(self.licences, key=lambda name: (-int(self.licences[name].sum()), name))
            for name in order[MOST_LICENCES // 2 :]:
                merge(self.licences, {"(others)": self.licences.pop(name)})
        if times is not None:
            self.first = times[0] if self.first is None else min(self.first, times[0])
            self.last = times[1] if self.last is None else max(self.last, times[1])

    def section(self, recipe: Mapping[str, Any]) -> Section:
        """The terms, the licences, the refusals, and the policy that the recipe sets."""
        blocks = [_terms(recipe), "<h3>Licences that rows state</h3>", self._licence_table()]
        rows = [
            (outcome, cause, rows)
            for (outcome, cause), rows in sorted(self.causes.items(), key=lambda item: (-item[1], item[0]))
        ]
        blocks.append("<h3>Asked not to be taken</h3>")
        none = "<p>No row was opted out, block-listed or deferred.</p>"
        blocks.append(table(("outcome", "cause", "rows"), rows, name="opt-outs") if rows else none)
        blocks.append("<h3>Policy of the recipe</h3>" + _policy(recipe))
        lead = "Media behind links keep their owners' terms, whatever the list says of itself."
        return Section("Licences and opt-outs", lead, "".join(blocks))

    def _licence_table(self) -> str:
        if not self.licences:
            return "<p>None: the rows carry no field named license or licence.</p>"
        order = sorted(self.licences, key=lambda name: (-int(self.licences[name].sum()), name))
        whole = int(sum(counts.sum() for counts in self.licences.values()))
        most = int(self.licences[order[0]].sum())
        rows = []
        for name in order[:SHOWN]:
            counts = self.licences[name]
            rows.append((name, int(counts.sum()), share(counts.sum(), whole), int(counts[KEPT]),
                         bar(counts[KEPT], counts[DROPPED], most, counts[UNJUDGED])))  # fmt: skip
        if len(order) > SHOWN:
            rest = int(sum(self.licences[name].sum() for name in order[SHOWN:]))
            rows.append((f"({len(order) - SHOWN} others)", rest, share(rest, whole), "", ""))
        return table(("licence", "rows", "share", "kept", ""), rows, name="licences")


def _licences(part: PartView) -> dict[str, np.ndarray]:
    if "meta" not in part.raw.column_names:
        return {}
    found = pc.extract_regex(part.raw.column("meta"), LICENCE)
    names, codes = coded(pc.struct_field(found, "licence"))
    counts = tally(codes, part.tone, len(names))
    licences: dict[str, np.ndarray] = {}
    for i, name in enumerate(names):
        merge(licences, {licence_name(name): counts[:, i]})
    return licences


def _terms(recipe: Mapping[str, Any]) -> str:
    source = recipe.get("source")
    kind = source.get("kind") if isinstance(source, Mapping) else None
    try:
        read_by = source_class(str(kind))
    except (RecipeError, ImportError):
        return f"<p>The list is of kind {html.escape(plain(str(kind)))}, whose terms this pairmill does not know.</p>"
    rows = [
        ("kind of list", plain(str(kind))),
        ("lists", ", ".join(list_paths(recipe)[:20])),
        ("licence of the list", read_by.licence),
        ("published in", read_by.citation),
    ]
    return pairs(rows)


def list_paths(recipe: Mapping[str, Any]) -> list[str]:
    """Where the lists lie, as it may be shown."""
    source = recipe.get("source")
    if not isinstance(source, Mapping):
        return []
    lists = [item.get("path") for item in source.get("lists") or () if isinstance(item, Mapping)]
    return [location(str(path)) for path in lists or [source.get("path")]]


def _policy(recipe: Mapping[str, Any]) -> str:
    fetch = recipe.get("fetch")
    fetch = fetch if isinstance(fetch, Mapping) else {}
    rows = [(f"fetch.{name}", _said(fetch[name])) for name in _POLICY if name in fetch]
    block = fetch.get("block")
    if isinstance(block, Mapping):
        paths = {name: _said(path) for name, path in block.items()}
        rows += [(f"fetch.block.{name}", path) for name, path in paths.items()]
    return pairs(rows) if rows else "<p>The recipe says nothing of it.</p>"


def _said(value: Any) -> str:
    """A setting as it may be shown."""
    return "none" if value is None else location(str(value))


def moment(value: Any) -> str:
    """A time of the data as text."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"
