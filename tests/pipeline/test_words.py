"""Foreign words: whatever a URL carries beside its host never reaches a reader."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.words import location, plain, without_secrets

filling = st.text(max_size=400)


@settings(max_examples=150)
@given(
    filling,
    st.sampled_from(["http", "HTTPS", "ftp", "s3", "x-y"]),
    st.sampled_from(["CANARY@", "me:CANARY@", ""]),
    filling,
)
def test_nothing_of_a_url_but_its_host_is_shown(before, scheme, user, after):
    url = f"{scheme}://{user}host.example/CANARY?sig=CANARY#CANARY"
    assert "CANARY" not in plain(f"{before} {url} {after}", 300)
    assert "CANARY" not in plain(f"{'x ' * 1_190}{url}", 300)
    assert "CANARY" not in location(url.replace("CANARY?", "?"))


def test_a_text_of_a_megabyte_is_cut():
    assert plain("word " * 200_000).endswith("…")
    assert plain("x" * 1_000_000) == "(one word of many characters)…"
    assert plain("\ud800 alone") == "? alone"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lists/cc3m.tsv", "lists/cc3m.tsv"),
        ("s3://key:CANARY@bucket/lists/*.parquet?x=CANARY", "s3://bucket/lists/*.parquet"),
        ("https://me:CANARY@host.example/a/b/list.tsv?sig=CANARY", "https://host.example/…/list.tsv"),
        ("https://host.example/hooks/CANARY", "https://host.example/…/…"),
        ("see https://me:CANARY@host.example/CANARY", "see https://host.example/…"),
    ],
)
def test_locations_keep_what_names_the_list(text, wanted):
    assert location(text) == wanted


def test_settings_lose_what_is_named_a_secret():
    settings_ = {"source": {"path": "https://host.example/x?CANARY", "api_key": "CANARY"}, "rules": [{"min": 3}]}
    assert without_secrets(settings_) == {
        "source": {"path": "https://host.example/…", "api_key": "(not shown)"}, "rules": [{"min": 3}],
    }  # fmt: skip
