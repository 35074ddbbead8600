"""Hosts: those that urllib finds, and bounded however many there are."""

from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from cluster.report import hosts
from cluster.report.hosts import HostSurvey, hosts_of


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a", "HTTPS://Example.ORG:8443/a?b#c", "http://me:secret@host.example/x", "//host.example/x",
        "http://[2001:db8::1]:80/x", "http://host.example", "http://host.example?q=@other.example",
        "http://bücher.example/x", "ftp://a_b.example/x", "http://127.0.0.1:999/",
    ],
)  # fmt: skip
def test_hosts_are_those_that_urllib_finds(url):
    found = hosts_of(pa.chunked_array([pa.array([url])])).to_pylist()[0].strip("[]")
    assert found == urlsplit(url).hostname


def test_what_has_no_host_is_told_apart():
    urls = pa.chunked_array([pa.array([None, "", "no url", "http://", "http:///x", "http://<b>/x", "http://a b/"])])
    assert hosts_of(urls).to_pylist() == ["(none)"] + 6 * ["(invalid)"]


def test_no_row_is_lost_where_hosts_are_let_go(monkeypatch):
    monkeypatch.setattr(hosts, "MOST_HOSTS", 3)
    survey = HostSurvey()
    names = [f"h{i}" for i in range(15)] + ["all"] * 400
    survey.add(pa.table({"name": names} | {name: [1] * 415 for name in survey.hosts.counts}))
    section = survey.section()
    assert ">400</td>" in section.body
    assert '(about 13 others)</td><td class="n">13</td>' in section.body
    assert "too many hosts" in section.lead
