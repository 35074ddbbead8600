"""The head of the page and the funnel: how many rows went how far, and why the others did not."""

from __future__ import annotations

import html
from collections.abc import Iterable

from cluster.report.folder import Folder
from cluster.report.rules import RuleView
from cluster.report.section import Cell, Section, bar, share, table, tiles
from cluster.report.words import percent
from pipeline.commit import Commit
from pipeline.funnel import Hop
from pipeline.words import plain


def head_section(folder: Folder) -> Section:
    """The name, the numbers to see first."""
    hops = {hop.name: hop for hop in folder.funnel.hops}
    items = []
    if "listed" in hops:
        items.append((f"{hops['listed'].rows_out:,}", "rows listed", ""))
    if "fetched" in hops:
        hop = hops["fetched"]
        items.append((f"{hop.rows_out:,}", "fetched", f"{percent(hop.rows_out, hop.rows_in)} of those listed"))
    if "judged" in hops:
        hop = hops["judged"]
        items.append((f"{hop.rows_out:,}", "kept", f"{percent(hop.rows_out, hop.rows_in)} of those fetched"))
    if folder.cut:
        size = size_of(tar_bytes(folder.cut.values()))
        items.append((f"{len(folder.cut):,}", "shards", f"{size} of tar files"))
    body = tiles(items) if items else "<p>This dataset is empty: nothing has been listed yet.</p>"
    return Section(folder.name, "", body)


def funnel_section(folder: Folder) -> Section:
    """One line per hop, one per reason."""
    hops = folder.funnel.hops
    if not hops:
        return Section("Funnel", "", "<p>No list has been read yet: <code>pairmill ingest RECIPE</code> does it.</p>")
    most = max(hop.rows_in for hop in hops) or 1
    rows: list[tuple[object, ...]] = []
    for hop in hops:
        name = Cell(f"<b>{html.escape(hop.name)}</b>")
        number = Cell(f"<b>{hop.rows_out:,}</b>", "n")
        rows.append((name, number, share(hop.rows_out, hop.rows_in), bar(hop.rows_out, 0, most)))
        rows += _reasons(hop, most)
    lead = "What went on from each hop, and why every other row left. Rows in = rows out + rows per reason."
    return Section("Funnel", lead, table(("hop and reason", "rows", "share", ""), rows, name="funnel"))


def rules_section(folder: Folder, rules: tuple[RuleView, ...]) -> Section:
    """The verdict's rules in order, with what fell to each."""
    dropped = reasons_of(folder)
    whole = sum(hop.rows_in for hop in folder.funnel.hops if hop.name == "judged")
    most = max(dropped.values(), default=1)
    texts = {rule.name: rule.text for rule in rules}
    rows = []
    for name in [*texts, *sorted(name for name in dropped if name not in texts)]:
        text = Cell(f"<code>{html.escape(plain(texts[name], 600))}</code>") if name in texts else ""
        left = dropped.get(name, 0)
        rows.append((plain(name, 80), text, left, share(left, whole), bar(0, left, most)))
    lead = "In the order in which they claim rows: a row falls to the first that it breaks. Shares are of fetched rows."
    body = table(("rule", "keeps", "dropped", "share", ""), rows, name="rules") if rows else "<p>There are none.</p>"
    return Section("Rules", lead, body)


def reasons_of(folder: Folder) -> dict[str, int]:
    """Rows dropped per rule."""
    found: dict[str, int] = {}
    for commit in folder.judged.values():
        for reason, rows in commit.counts.items():
            if not reason.startswith("fetch:"):
                found[reason] = found.get(reason, 0) + rows
    return found


def tar_bytes(commits: Iterable[Commit]) -> int:
    """Bytes of the tars of shards."""
    return sum(stamp.bytes for commit in commits for stamp in commit.files if stamp.name.endswith(".tar"))


def size_of(num_bytes: int) -> str:
    """Bytes for people."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= size:
            return f"{num_bytes / size:,.1f} {unit}"
    return f"{num_bytes} B"


def _reasons(hop: Hop, most: int) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for reason, rows in sorted(hop.left.items(), key=lambda item: (-item[1], item[0])):
        name = Cell(f'<span class="reason">{html.escape(plain(reason, 80))}</span>')
        found.append((name, Cell(f"<span>-{rows:,}</span>", "n soft"), share(rows, hop.rows_in), bar(0, rows, most)))
    return found
