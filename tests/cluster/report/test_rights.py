"""Rights: licences that rows state, refusals by cause, and the terms of the list."""

import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.report.page import build_page
from cluster.report.rights import RightsSurvey

COCO = "http://creativecommons.org/licenses/by-nc-sa/2.0/"


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
