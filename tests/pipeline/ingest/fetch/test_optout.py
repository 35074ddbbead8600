"""Opt-out headers are read as their publishers define them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.fetch.optout import opt_out, product_token

NOW = datetime(2026, 1, 1, tzinfo=UTC)

CASES = [
    (["noai"], "noai"),
    (["noimageai"], "noimageai"),
    (["noindex"], "noindex"),
    (["noimageindex"], "noimageindex"),
    (["NoAI"], "noai"),
    (["noai, max-image-preview:large"], "noai"),
    (["max-snippet:-1, noai"], "noai"),
    (["unavailable_after: 25 Jun 2099 15:00:00 PST, noai"], "noai"),
    (["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], "unavailable_after"),
    (["unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT"], "unavailable_after"),
    (["unavailable_after: 2010-06-25"], "unavailable_after"),
    (["unavailable_after: Thu, 25 Jun 2099 15:00:00 GMT"], None),
    (["unavailable_after: Thu, 25 Jun 2099 15:00:00 GMT, noai"], "noai"),
    (["unavailable_after: whenever"], None),
    (["none"], "none"),
    (["noml"], "noml"),
    (["all"], None),
    ([""], None),
    ([",,, ,"], None),
    (["nofollow, noarchive, nosnippet"], None),
    (["googlebot: noindex"], None),
    (["googlebot: noindex, noai"], None),
    (["googlebot: nofollow, pairmill: noai"], "noai"),
    (["pairmill: noai"], "noai"),
    (["PairMill: noindex, nofollow"], "noindex"),
    (["*: noai"], "noai"),
    (["googlebot: noindex", "noai"], "noai"),
    (["max-image-preview: large", "max-snippet: -1"], None),
    (["noaiart"], None),
    (["  noai  "], "noai"),
]


@pytest.mark.parametrize(("headers", "directive"), CASES)
def test_x_robots_tag(headers, directive):
    found = opt_out(headers, None, "pairmill", NOW)
    assert found == (None if directive is None else f"X-Robots-Tag: {directive}")


@pytest.mark.parametrize(("value", "blocks"), [("1", True), (" 1 ", True), ("0", False), ("", False), (None, False)])
def test_tdm_reservation(value, blocks):
    assert (opt_out([], value, "pairmill", NOW) is not None) == blocks


@given(st.lists(st.text()), st.none() | st.text())
def test_no_header_is_too_strange(headers, reservation):
    opt_out(headers, reservation, "pairmill", NOW)


WORDS = ["noai", "none", "googlebot:", "pairmill: ", "unavailable_after:", "25 Jun 2010", ",", ":", " ", "99999999999"]


@given(st.lists(st.sampled_from(WORDS)).map("".join))
def test_no_mixture_of_directives_is_too_strange(header):
    found = opt_out([header], None, "pairmill", NOW)
    assert found is None or found.startswith("X-Robots-Tag: ")


def test_product_token():
    assert product_token("pairmill/0.1 (+contact)") == "pairmill"
    assert product_token("MyBot (+https://x.org)") == "mybot"


def test_the_stage_obeys_and_counts(web, fetch, draw):
    good = draw.encoded(draw.photo())
    for i, (headers, _) in enumerate(CASES):
        lines = b"".join(b"X-Robots-Tag: " + text.encode() + b"\r\n" for text in headers)
        web.raw(f"/{i}", draw.head(length=len(good))[:-2] + lines + b"\r\n" + good)
    web.raw("/tdm", draw.head(length=len(good), TDM_Reservation="1") + good)
    urls = [web.url(f"/{i}") for i in range(len(CASES))] + [web.url("/tdm")]
    part = fetch(urls, config={"per_host": 20})
    wanted = ["success" if directive is None else "opted_out" for _, directive in CASES]
    assert part.statuses == [*wanted, "opted_out"]
    assert part.rows[0]["detail"] == "X-Robots-Tag: noai"
    assert part.rows[-1]["detail"] == "TDM-Reservation: 1"
    ignoring = fetch(urls, config={"per_host": 20, "policy": "ignore"}, folder="ignore")
    assert set(ignoring.statuses) == {"success"}
