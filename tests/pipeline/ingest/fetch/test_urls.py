"""URLs are asked for as they are written, signatures and all; what is unusual is made canonical first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from pipeline.ingest.fetch.client import parse_url

SIGNED = "/a%2fb/c%7Ed/e%20f.jpg?X-Amz-Credential=AK%2F20261123%2feu&X-Amz-Signature=3d%3D&sig=a+b%2Bc==&q=%c3%bc;"


def test_a_signed_url_is_sent_as_it_is_signed(web, fetch, draw):
    """yarl alone writes %7E as ~ and %2f as %2F; S3 and others sign the spelling."""
    body = draw.encoded(draw.photo())
    web.pages[SIGNED.split("?")[0]] = body
    web.redirect("/moved", web.url(SIGNED))
    part = fetch([web.url(SIGNED), web.url("/moved")])
    assert part.statuses == ["success", "success"]
    assert [request.path for request in web.seen].count(SIGNED) == 2


@pytest.mark.parametrize(
    ("text", "asked_for"),
    [
        ("http://a.test/b c.jpg", "http://a.test/b%20c.jpg"),
        ("http://A.Test/x", "http://a.test/x"),
        ("http://a.test/x/../y", "http://a.test/y"),
        ("http://a.test/../y", "http://a.test/y"),
        ("http://a.test/x#part", "http://a.test/x#part"),
        ("http://a.test/100%.jpg", "http://a.test/100%25.jpg"),
        ("http://bücher.test/ü", "http://xn--bcher-kva.test/%C3%BC"),
        ("http://a.test/x\r\nX-Evil: 1", "http://a.test/xX-Evil:%201"),
        ("http://a.test", "http://a.test"),
    ],
)
def test_the_unusual_is_made_canonical(text, asked_for):
    assert str(parse_url(text)).rstrip("/") == asked_for.rstrip("/")
    assert str(parse_url(text)) == str(URL(text))


@given(st.text(max_size=40), st.sampled_from(["http://a.test/", "https://a.test:8443/p?", "https://a.test/p/"]))
def test_no_spelling_leads_elsewhere_or_breaks_a_request(text, before):
    try:
        wanted = URL(before + text)
    except ValueError:
        return
    found = parse_url(before + text)
    assert (found.scheme, found.raw_host, found.port, found.path) == (
        wanted.scheme, wanted.raw_host, wanted.port, wanted.path
    )
    assert str(found).isascii()
    assert str(found).isprintable()


@given(st.text("ab.%2eE/F7~", max_size=16))
def test_no_path_climbs(text):
    found = parse_url(f"http://a.test/{text}").raw_path
    assert not any(step.lower().replace("%2e", ".") in (".", "..") for step in found.split("/")), found
