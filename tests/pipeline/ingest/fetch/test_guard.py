"""No address that leads inward is ever connected to, in whatever way it is written or resolved."""

import asyncio
import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from pipeline.ingest.fetch.client import Client
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.guard import Guard, RefusedAddress
from pipeline.record import Status

INWARD = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.8", "192.88.99.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "192.0.2.1", "203.0.113.5", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2002:7f00:1::", "2002:a00:1::", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fec0::1", "ff02::1", "100::1", "2001:db8::1",
]
OUTWARD = [
    "8.8.8.8", "1.1.1.1", "93.184.216.34", "::ffff:8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1",
]


@pytest.mark.parametrize("text", INWARD)
def test_inward_addresses_are_refused(text):
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    with pytest.raises(RefusedAddress, match="not of the open web"):
        Guard().make_socket((family, socket.SOCK_STREAM, 0, "", (text, 80)))


@pytest.mark.parametrize("text", OUTWARD)
def test_the_open_web_is_allowed(text):
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    Guard().make_socket((family, socket.SOCK_STREAM, 0, "", (text, 80))).close()


def test_only_the_named_network_is_allowed():
    guard = Guard(allow_private=["10.1.0.0/16"])
    assert guard.allows(ip_address("10.1.2.3"))
    assert guard.allows(ip_address("::ffff:10.1.2.3"))
    assert not guard.allows(ip_address("10.2.0.1"))


@given(st.integers(0, 2**32 - 1))
def test_a_mapped_address_is_judged_as_the_one_inside(number):
    guard = Guard()
    assert guard.allows(ip_address(number)) == guard.allows(ip_address(f"::ffff:{ip_address(number)}"))


@given(st.ip_addresses())
def test_what_is_not_global_is_never_allowed(address):
    if not address.is_global:
        assert not Guard().allows(address) or getattr(address, "ipv4_mapped", None)


HOSTS = [
    "127.0.0.2", "[::1]", "[::ffff:127.0.0.2]", "2130706434", "0x7f000002", "0177.0.0.2", "127.2", "0x7f.2", "0",
    "１２７.0.0.２", "127。0。0。2", "[::1%25lo]", "[::ffff:7f00:2]", "[64:ff9b::7f00:2]", "localhost", "LOCALHOST",
    "169.254.169.254", "127.0.0.2.", "127.0.0.2%00.x.org",
]
NO_ADDRESS = {"127.0.0.2.", "127.0.0.2%00.x.org"}
"""Read as a name or as an address by the resolver's own rules."""


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_an_inward_address_gets_through(web, fetch, draw, host):
    web.pages["/secret"] = draw.encoded(draw.photo())
    part = fetch([f"http://{host}:{web.port}/secret"], config={"allow_private": ()})
    assert part.statuses[0] in ("refused_address", "invalid_url", "dns_error")
    assert web.seen == []
    if host not in NO_ADDRESS:
        assert part.statuses == ["refused_address"]


def test_an_allowed_address_in_an_unusual_form_is_still_refused():
    status, _ = Guard(allow_private=["127.0.0.0/8"]).refusal(URL("http://2130706433/"))
    assert status == Status.INVALID_URL


class RebindingResolver:
    """Says a public address first, and an inward one afterwards."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def resolve(self, host):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def ask(config, resolver, *urls):
    async with Client(config, resolver) as client:
        return [await client.try_once(url) for url in urls]


def test_a_name_that_turns_inward_is_refused_at_connect_time(web, draw):
    web.pages["/good.jpg"] = draw.encoded(draw.photo())
    config = FetchConfig(ports=(web.port,), allow_private=("127.0.0.1/32",), dns_cache_s=0, timeout_s=2)
    url = f"http://rebind.test:{web.port}/good.jpg"
    resolver = RebindingResolver(["127.0.0.1"], ["127.0.0.2"], ["169.254.169.254"])
    first, second, third = asyncio.run(ask(config, resolver, url, url, url))
    assert first.status == Status.SUCCESS
    assert (second.status, third.status) == (Status.REFUSED_ADDRESS, Status.REFUSED_ADDRESS)
    assert "127.0.0.2" in second.detail


def test_the_inward_addresses_of_a_mixed_name_are_skipped(web, draw):
    web.pages["/good.jpg"] = draw.encoded(draw.photo())
    config = FetchConfig(ports=(web.port,), allow_private=("127.0.0.1/32",), timeout_s=2)
    url = f"http://mixed.test:{web.port}/good.jpg"
    (answer,) = asyncio.run(ask(config, RebindingResolver(["10.0.0.1", "127.0.0.1"]), url))
    assert answer.status == Status.SUCCESS


def test_a_proxy_of_the_environment_is_not_used(web, fetch, draw, monkeypatch):
    web.pages["/good.jpg"] = draw.encoded(draw.photo())
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert fetch([web.url("/good.jpg")]).statuses == ["success"]


def test_local_files_only_from_named_folders(fetch, draw, tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "a b.jpg").write_bytes(draw.encoded(draw.photo()))
    (inside / "link.jpg").symlink_to(outside / "a b.jpg")
    urls = [f"file://{inside}/a%20b.jpg", f"file://{outside}/a%20b.jpg", f"file://{inside}/../out/a%20b.jpg",
            f"file://{inside}/link.jpg", f"file://{inside}/no.jpg", f"file://{inside}", f"file://host{inside}/a%20b.jpg"]
    part = fetch(urls, config={"allow_folders": (str(inside),)})
    refused = "refused_scheme"
    assert part.statuses == ["success", refused, refused, refused, "http_404", "http_404", refused]
