"""The page: sections in order, one style, no script, no request to anywhere; images are inside it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from cluster.report.dataset import dataset_sections
from cluster.report.run import run_sections
from cluster.report.section import Section

STYLE = """
:root { --ink: #1c2430; --soft: #5d6b7d; --line: #dfe5ec; --paper: #ffffff; --wash: #f5f7fa; --kept: #2a7f62;
  --left: #c2502e; --mark: #2857c5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #9aa7b8; --line: #2c3542; --paper: #12161c;
  --wash: #1a2029; --kept: #5cc39d; --left: #e58a68; --mark: #7ea2ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 40px 0 12px; }
p.lead { color: var(--soft); margin: 0 0 12px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.n, th.n { text-align: right; }
td.reason { padding-left: 28px; color: var(--soft); }
.bar { background: var(--wash); height: 14px; min-width: 160px; } .bar i { display: block; height: 14px; }
.kept { background: var(--kept); } .left { background: var(--left); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px; }
figure { margin: 0; background: var(--wash); border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
figure img { display: block; width: 100%; height: 130px; object-fit: contain; background: var(--paper); }
figcaption { padding: 7px 9px; font-size: 12.5px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
code { background: var(--wash); padding: 1px 4px; border-radius: 3px; overflow-wrap: anywhere; }
""".strip()


def build_page(dataset_url: str, run_folder: str | None = None) -> str:
    """The whole page as HTML text. Raises: DatasetError: the dataset's funnel does not add up."""
    sections = dataset_sections(dataset_url)
    if run_folder is not None:
        sections += run_sections(Path(run_folder))
    return render(f"pairmill: {sections[0].title}", sections)


def render(title: str, sections: Sequence[Section]) -> str:
    """Put the sections under one another; the first one's title is the heading of the page."""
    first, *others = sections
    body = [f"<h1>{html.escape(first.title)}</h1>", _lead(first), first.body]
    for section in others:
        body += [f"<section><h2>{html.escape(section.title)}</h2>", _lead(section), section.body, "</section>"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _lead(section: Section) -> str:
    return f'<p class="lead">{html.escape(section.lead)}</p>' if section.lead else ""
