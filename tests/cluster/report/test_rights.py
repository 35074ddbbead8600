"""Rights: licences that rows state, refusals by cause, and the terms of the list."""

import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.report.page import build_page
from cluster.report.rights import RightsSurvey, _licence, cause_of
from pipeline.record import Status

COCO = "http://creativecommons.org/licenses/by-nc-sa/2.0/"


@pytest.mark.parametrize(
    ("detail", "cause"),
    [
        ("X-Robots-Tag: noai", "X-Robots-Tag header"),
        ("TDM-Reservation: 1", "TDM-Reservation header or tag"),
        ("tdmrep.json", "/.well-known/tdmrep.json of the host"),
        ("robots.txt", "robots.txt of the host"),
        ("robots.txt: HTTP 403", "robots.txt of the host could not be had"),
        ("opted out by the page's robots meta: noai", "robots meta tag of the page"),
        ("opted out by the page's tdm-reservation meta: 1", "TDM-Reservation header or tag"),
        ("Use of image disallowed by X-Robots-Tag directive", "X-Robots-Tag header"),
        (None, "another statement"),
    ],
)
def test_every_way_to_opt_out_has_its_cause(detail, cause):
    assert cause_of(Status.OPTED_OUT, detail) == cause


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f'"{COCO}"', "creativecommons.org/licenses/by-nc-sa/2.0"),
        ('"CC-BY 4.0"', "CC-BY 4.0"),
        ('"https://me:CANARY@host.example/CANARY?CANARY"', "https://host.example/…"),
        ('"https://creativecommons.org/licenses/by/4.0/?CANARY"', "creativecommons.org/licenses/by/4.0"),
        ('"\\u003cb\\u003e"', "<b>"),
        ('"\\ud800"', "?"),
        ("3", "3"),
        ('""', "(empty)"),
    ],
)
def test_licences_keep_their_name_and_lose_what_a_url_carries(text, shown):
    assert _licence(text) == shown


def test_licences_and_refusals_of_rows_are_counted(curated, tmp_path):
    shutil.copytree(curated.dataset, tmp_path / "ds")
    path = sorted((tmp_path / "ds" / "raw").glob("*.parquet"))[0]
    table = pq.read_table(path)
    meta = [f'{{"license": "{COCO}"}}' if i % 2 else '{"LICENSE": "<b>?"}' for i in range(table.num_rows)]
    outcome = ["blocklisted" if i == 0 else "deferred" if i < 3 else "opted_out" for i in range(table.num_rows)]
    for name, values in (("meta", meta), ("outcome", outcome), ("detail", ["robots.txt"] * table.num_rows)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)
    page = build_page(str(tmp_path / "ds"))
    section = page[page.index('id="licences-and-opt-outs"') : page.index('id="shards"')]
    half = table.num_rows // 2
    assert re.search(rf">creativecommons\.org/licenses/by-nc-sa/2\.0</td><td class=\"n\">{half}<", section)
    assert re.search(rf">&lt;b&gt;\?</td><td class=\"n\">{table.num_rows - half}<", section)
    assert '<td>blocklisted</td><td>named by a block list</td><td class="n">1</td>' in section
    assert '<td>deferred</td><td>its host&#x27;s turn was too far off</td><td class="n">2</td>' in section
    assert re.search(r"<td>opted_out</td><td>robots\.txt of the host</td>", section)
    assert "Sharma et al. 2018" in section
    assert "<dt>fetch.robots</dt><dd>respect</dd>" in section


def test_a_list_of_an_unknown_kind_is_told():
    section = RightsSurvey().section({"source": {"kind": "<i>new</i>"}})
    assert "kind &lt;i&gt;new&lt;/i&gt;, whose terms this pairmill does not know" in section.body
