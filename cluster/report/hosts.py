"""The table of domains: rows, fetched, opted out and kept per host.

A URL is taken to its host before anything is counted, and nothing else of it is kept.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.report.part import KEPT, PartView, coded, merge
from cluster.report.section import Section, bar, share, table
from pipeline.record import Status
from pipeline.words import NAME_CHARS, plain

SHOWN = 20
MOST_HOSTS = 200_000
"""So many hosts are held; beyond, those with the fewest rows are let go, and their rows counted together."""
_HOST = r"^[^:/?#]*:?//(?:[^/?#\\]*@)?(?P<host>\[[^\]/]*\]|[^/?#\\:@]*)"


class HostSurvey:
    """Rows, fetched, opted out and kept per host."""

    def __init__(self) -> None:
        self.hosts: dict[str, np.ndarray] = {}
        self.let_go = np.zeros(4, np.int64)
        self.num_let_go = 0

    def of(self, part: PartView) -> dict[str, np.ndarray]:
        """Counts of one part."""
        if "url" not in part.raw.column_names:
            return {}
        names, codes = coded(hosts_of(part.raw.column("url")))
        outcome = part.raw.column("outcome")
        facts = [
            np.ones(part.rows, bool),
            pc.equal(outcome, Status.SUCCESS.value).to_numpy(),
            pc.equal(outcome, Status.OPTED_OUT.value).to_numpy(),
            part.tone == KEPT,
        ]
        counts = np.stack([np.bincount(codes[fact], minlength=len(names)) for fact in facts], axis=1)
        return {name: row.astype(np.int64) for name, row in zip(names, counts, strict=True)}

    def add(self, found: dict[str, np.ndarray]) -> None:
        """Take in a part."""
        merge(self.hosts, found)
        if len(self.hosts) > 2 * MOST_HOSTS:
            order = sorted(self.hosts, key=lambda host: (-self.hosts[host][0], host))
            for host in order[MOST_HOSTS:]:
                self.let_go += self.hosts.pop(host)
                self.num_let_go += 1

    def section(self) -> Section:
        """The table of the hosts with the most rows."""
        order = sorted(self.hosts, key=lambda host: (-self.hosts[host][0], host))
        whole = sum(self.hosts.values(), self.let_go.copy())
        rows = [_row(plain(host, NAME_CHARS), self.hosts[host]) for host in order[:SHOWN]]
        others = whole - sum((self.hosts[host] for host in order[:SHOWN]), np.zeros(4, np.int64))
        num_others = max(0, len(order) - SHOWN) + self.num_let_go
        if num_others:
            name = f"(about {num_others:,} others)" if self.num_let_go else f"({num_others:,} others)"
            rows.append(_row(name, others))
        heads = ("host", "rows", "fetched", "opted out", "kept", "share", "")
        body = table(heads, rows, name="hosts") if rows else "<p>No URL was read.</p>"
        lead = "Those with the most rows. Of a URL, only its host is ever shown."
        if self.num_let_go:
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
