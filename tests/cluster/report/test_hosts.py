"""Hosts: those that urllib finds, and bounded however many there are."""

from urllib.parse import urlsplit

import numpy as np
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
    for part in range(4):
        survey.add({f"h{part}-{i}": np.array([i + 1, 1, 0, 1]) for i in range(5)} | {"all": np.array([100, 9, 0, 9])})
    assert len(survey.hosts) <= 6
    body = survey.section().body
    assert ">400</td>" in body
    assert survey.let_go[0] + sum(counts[0] for counts in survey.hosts.values()) == 4 * (15 + 100)
    assert "too many hosts" in survey.section().lead
