"""The page: sections in order, one style, no script, no request to anywhere; images are inside it.

Takes a dataset folder in any store, whatever of it is there, and a run folder where there is one. Gives HTML text that
depends on them alone: the same dataset gives the same bytes. All parts are read once, columns only; pictures come last.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from cluster.report.clusters import ClusterSurvey, cluster_section, families_of
from cluster.report.columns import find_columns
from cluster.report.folder import Folder
from cluster.report.gallery import Budget, gallery_sections
from cluster.report.hops import funnel_section, head_section, reasons_of, rules_section
from cluster.report.hosts import HostSurvey
from cluster.report.languages import WordSurvey
from cluster.report.lineage import lineage_section, recipe_section, shards_section
from cluster.report.neighbours import NeighbourSurvey, neighbour_blocks, regions_of
from cluster.report.part import walk
from cluster.report.rights import RightsSurvey
from cluster.report.rules import rules_of
from cluster.report.run import run_sections
from cluster.report.sample import SampleSurvey
from cluster.report.scores import ScoreSurvey, score_sections
from cluster.report.section import Section
from cluster.report.words import shown

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
"""What a browser may do for this page: show the pictures inside it."""


def build_page(dataset_url: str, run_folder: str | None = None) -> str:
    """The whole page as HTML text. Raises: AskedWrongly: there is no dataset, or no run."""
    training = [] if run_folder is None else run_sections(Path(run_folder))
    folder = Folder.open(dataset_url)
    sections = [*dataset_sections(folder, run_folder), *training]
    return render(f"pairmill: {folder.name}", sections, folder.notes)


def dataset_sections(folder: Folder, run_folder: str | None) -> list[Section]:
    """All sections of one dataset; the first is the head of the page."""
    rules = rules_of(folder.recipe, folder.wholes)
    columns = find_columns(folder, [name for rule in rules for name in rule.columns])
    scores = ScoreSurvey(folder, columns, rules)
    words = WordSurvey(columns, scores.names)
    clusters = ClusterSurvey(families_of(columns), scores.names)
    neighbours = NeighbourSurvey(regions_of(columns, rules), scores.names)
    hosts, rights, samples = HostSurvey(), RightsSurvey(), SampleSurvey()
    walk(folder, [scores, words, clusters, neighbours, hosts, rights, samples])
    budget = Budget()
    sections = [head_section(folder), funnel_section(folder), rules_section(folder, rules)]
    sections += score_sections(folder, scores, columns)
    sections += gallery_sections(folder, samples, rules, reasons_of(folder), budget)
    nearest = neighbour_blocks(folder, neighbours, budget)
    sections += [cluster_section(folder, clusters, budget, nearest), words.section(), hosts.section()]
    sections += [rights.section(folder.recipe), shards_section(folder)]
    sections += [lineage_section(folder, run_folder, rights.first, rights.last), recipe_section(folder)]
    if budget.num_cut:
        folder.note(f"{budget.num_cut:,} pictures are left out, so that the page stays below 15 MB.")
    return sections


def render(title: str, sections: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """Put the sections under one another; the first one's title is the heading of the page."""
    first, *others = sections
    anchors = _anchors(others)
    contents = "".join(
        f'<li><a href="#{anchor}">{html.escape(section.title)}</a></li>'
        for section, anchor in zip(others, anchors, strict=True)
    )
    body = [f"<header><h1>{shown(first.title, 120)}</h1>", _lead(first), _notes(notes), first.body, "</header>"]
    for section, anchor in zip(others, anchors, strict=True):
        body.append(f'<section id="{anchor}" aria-labelledby="{anchor}-title">')
        body.append(f'<h2 id="{anchor}-title">{html.escape(section.title)}</h2>')
        body += [_lead(section), section.body, "</section>"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{shown(title, 140)}</title><style>{_style()}</style></head><body>\n"
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav>\n<main id="content">\n'
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _anchors(sections: Sequence[Section]) -> list[str]:
    """What links to each section; a second one of the same name gets a number."""
    found: list[str] = []
    for section in sections:
        anchor, number = section.anchor, 2
        while anchor in ("content", *found):
            anchor, number = f"{section.anchor}-{number}", number + 1
        found.append(anchor)
    return found


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{shown(note, 600)}</li>" for note in notes[:20])
    more = f"<li>and {len(notes) - 20} more.</li>" if len(notes) > 20 else ""
    return f'<ul class="notes" aria-label="Notes">{items}{more}</ul>' if notes else ""


def _lead(section: Section) -> str:
    return f'<p class="lead">{html.escape(section.lead)}</p>' if section.lead else ""


def _style() -> str:
    return (resources.files("cluster.report") / "style.css").read_text("utf-8").strip()
