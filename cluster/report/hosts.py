"""The table of domains: rows, fetched, opted out and kept per host.

A URL is taken to its host before anything is counted, and nothing else of it is kept.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.report.part import KEPT, PartView
from cluster.report.section import Section, bar, share, table
from cluster.report.tally import Tally
from pipeline.record import Status
from pipeline.words import NAME_CHARS, plain

SHOWN = 20
MOST_HOSTS = 200_000
"""Beyond, hosts with the fewest rows are let go, and their rows counted together."""
_HOST = r"^[^:/?#]*:?//(?:[^/?#\\]*@)?(?P<host>\[[^\]/]*\]|[^/?#\\:@]*)"


class HostSurvey:
    """Rows, fetched, opted out and kept per host."""

    def __init__(self) -> None:
        self.hosts = Tally(("rows", "fetched", "opted_out", "kept"), MOST_HOSTS)

    def of(self, part: PartView) -> pa.Table | None:
        """Counts of one part, a row per row; None where it has no URLs."""
        if "url" not in part.raw.column_names:
            return None
        outcome = part.raw.column("outcome")
        facts = {
            "rows": pa.array(np.ones(part.rows, np.int64)),
            "fetched": pc.equal(outcome, Status.SUCCESS.value),
            "opted_out": pc.equal(outcome, Status.OPTED_OUT.value),
            "kept": pa.array(part.tone == KEPT),
        }
        columns = {name: fact.cast(pa.int64()) for name, fact in facts.items()}
        return pa.table({"name": hosts_of(part.raw.column("url"))} | columns)

    def add(self, found: pa.Table | None) -> None:
        """Take in a part."""
        if found is not None:
            self.hosts.add(found)

    def section(self) -> Section:
        """The table of the hosts with the most rows."""
        ranked, whole = self.hosts.ranked(), self.hosts.whole()
        shown = [list(row.values()) for row in ranked.slice(0, SHOWN).to_pylist()]
        rows = [_row(plain(host, NAME_CHARS), np.array(counts)) for host, *counts in shown]
        num_others = max(0, ranked.num_rows - SHOWN) + self.hosts.num_let_go
        if num_others:
            name = f"(about {num_others:,} others)" if self.hosts.num_let_go else f"({num_others:,} others)"
            rows.append(_row(name, whole - sum(np.array(counts) for _, *counts in shown)))
        heads = ("host", "rows", "fetched", "opted out", "kept", "share", "")
        body = table(heads, rows, name="hosts") if rows else "<p>No URL was read.</p>"
        lead = "Those with the most rows. Of a URL, only its host is ever shown."
        if self.hosts.num_let_go:
            lead += " There are too many hosts to count each; the rarest were put together on the way."
        return Section("Hosts", lead, body)


def _row(name: str, counts: np.ndarray) -> tuple[object, ...]:
    rows, _, _, kept = counts
    return (name, *(int(number) for number in counts), share(kept, rows), bar(kept, 0, rows))


def hosts_of(urls: pa.ChunkedArray) -> pa.Array:
    """The host of each URL in lower case; `(none)` without a URL, `(invalid)` where there is no host in it."""
    found = pc.extract_regex(urls, _HOST)
    host = pc.utf8_lower(pc.struct_field(found, "host"))
    is_name = pc.match_substring_regex(host, r"^[\pL\pN\[\]_.:%-]+$")
    host = pc.if_else(pc.fill_null(is_name, False), host, "(invalid)")
    return pc.if_else(pc.is_valid(urls), host, "(none)").combine_chunks()
