"""What rows say of their rights: the cause of every refusal, and names of licences without what a URL carries."""

import pytest

from pipeline.record import Status
from pipeline.rights import cause_of, licence_name

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
    assert licence_name(text) == shown
