"""From a URL to a connection: its deadlines, its addresses, what it is asked, and TLS."""

import asyncio
import contextlib
import socket
import ssl
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.client import Client
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.connect import Connector
from pipeline.record import Status

OK = b"HTTP/1.1 200 OK\r\n"
LOOPS = ("uvloop", "asyncio")


HALF_CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"


@pytest.mark.parametrize("pieces", [(), (OK,), (OK + b"Content-Length: 9\r\n\r\nx",), (HALF_CHUNKED,)])
def test_the_deadline_holds_at_every_stage(lab, pieces):
    (answer,), _ = lab.ask(lab.says(*pieces, hold=True), timeout_s=0.3)
    assert (answer.status, answer.detail) == (Status.TIMEOUT, "no whole answer in 0.3 s")


def test_the_deadline_is_for_all_redirects_and_for_who_is_asked_about_them(lab):
    async def work():
        moved = b"HTTP/1.1 302 F\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"
        async with lab.Server(lab.repeats(moved)) as server, server.client(timeout_s=0.3) as client:

            async def permit(url):
                await asyncio.sleep(30)

            client.permit = permit
            return await client.try_once(server.url())

    assert lab.run(work()) == Answer(Status.TIMEOUT, "no whole answer in 0.3 s")


def test_slow_names_are_within_the_deadline(lab):
    assert lab.named(30.0, timeout_s=0.2)[0] == Answer(Status.TIMEOUT, "no whole answer in 0.2 s")
    assert lab.named(0.0)[0].status == Status.CONNECT_ERROR


# -- addresses


def test_the_next_address_is_tried_where_one_is_dead(lab):
    answer, server = lab.named(["127.0.0.9", "127.0.0.8", "127.0.0.1"])
    assert (answer.status, server.connections) == (Status.SUCCESS, 1)
    answer, server = lab.named(["127.0.0.9", "127.0.0.8"])
    assert (answer.status, answer.detail) == (Status.CONNECT_ERROR, "Connection refused")


def test_the_next_address_is_tried_beside_one_that_is_silent(lab):
    async def silent(self, address, port, real):
        if address == "127.0.0.9":
            await asyncio.sleep(30)
        return await real(self, address, port)

    real = Connector._connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connector, "_connect", lambda *arguments: silent(*arguments, real))
        assert lab.named(["127.0.0.9", "127.0.0.1"])[0].status == Status.SUCCESS
        answer, _ = lab.named(["127.0.0.9"], connect_timeout_s=0.2)
    assert answer == Answer(Status.TIMEOUT, "no connection in 0.2 s")


def test_no_address_that_leads_inward_is_tried_beside_others(lab):
    answer, server = lab.named(["10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"])
    assert (answer.status, answer.detail) == (Status.REFUSED_ADDRESS, "resolves to 10.0.0.1")
    assert server.connections == 0
    answer, _ = lab.named(["not an address", "127.0.0.1"])
    assert answer.status == Status.SUCCESS


# -- what is sent


@pytest.mark.parametrize(
    ("path", "target"),
    [("/a?b=c%20d", b"/a?b=c%20d"), ("/a b", b"/a%20b"), ("/x\r\nX-Evil: 1", b"/xX-Evil:%201"), ("?q", b"/?q"),
     ("/\u00fc", b"/%C3%BC"), ("/#part", b"/"), ("/x\0y", b"/x%00y"), ("/x\u2028y", b"/x%E2%80%A8y")],
)  # fmt: skip
def test_no_url_holds_more_than_a_request_line(lab, path, target):
    async def work():
        async with lab.Server(lab.repeats(lab.hello)) as server, server.client() as client:
            return await client.try_once(server.url(path)), server

    answer, server = lab.run(work())
    assert answer.status == Status.SUCCESS
    (raw,) = server.requests
    assert raw.split(b"\r\n") == [
        b"GET " + target + b" HTTP/1.1", b"Host: 127.0.0.1:%d" % server.port, b"User-Agent: pairmill/0.1 (+contact)",
        b"Accept: image/*,*/*;q=0.5", b"Accept-Encoding: identity", b"", b"",
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), st.sampled_from(["/", "?", "/a/", ":", "@", "."]))
def test_no_text_of_a_list_breaks_a_request(lab, text, before):
    async def work():
        async with lab.Server(lab.repeats(lab.hello)) as server, server.client(lab.Phonebook(["127.0.0.1"])) as client:
            for url in (f"http://a.test{before}{text}", f"http://127.0.0.1:{server.port}{before}{text}"):
                await client.try_once(url, keep_alive=False)
            return server.requests

    for raw in lab.run(work()):
        assert raw.count(b"\n") == raw.count(b"\r\n") == 7
        assert raw.split(b"\r\n")[0].count(b" ") == 2


def test_a_redirect_holds_no_more_than_a_request_line(lab):
    async def work():
        moved = b"HTTP/1.1 302 F\r\nLocation: /x%0d%0aX-Evil:1 y\xfc\r\nContent-Length: 0\r\n\r\n"
        async with lab.Server(lab.repeats(moved)) as server, server.client(max_redirects=1) as client:
            return await client.try_once(server.url()), server

    _, server = lab.run(work())
    assert server.requests[1].startswith(b"GET /x%0D%0AX-Evil:1%20y")
    assert server.requests[1].count(b"\r\n") == 7


def test_hosts_are_named_as_the_web_names_them(lab):
    _, server = lab.named(["127.0.0.1"], host="b\u00fccher.test")
    assert b"\r\nHost: xn--bcher-kva.test:%d\r\n" % server.port in server.requests[0]
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):

        async def work():
            async with lab.Server(lab.repeats(lab.hello), "::1") as server, server.client() as client:
                return await client.try_once(server.url(host="[::1]")), server

        answer, server = lab.run(work())
        assert answer.status == Status.SUCCESS
        assert b"\r\nHost: [::1]:%d\r\n" % server.port in server.requests[0]


def test_a_user_agent_of_two_lines_is_refused():
    with pytest.raises(RecipeError, match=r"fetch\.user_agent"):
        Client(FetchConfig(user_agent="me\r\nX-Evil: 1"))


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for a.test that nobody signed."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "30", "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_must_be_the_one_it_is_called(lab, certificate, loop):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    body = bytes(range(256)) * 4000

    async def work():
        trusted = {"ca_file": str(certificate / "cert.pem")}
        handle = lab.repeats(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        async with lab.Server(handle, tls=context) as server:
            async with server.client(lab.Phonebook(["127.0.0.1"]), **trusted) as client:
                hosts = ("a.test", "a.test", "a.test.", "b.test")
                found = [await client.try_once(server.url(host=host).replace("http", "https")) for host in hosts]
            async with server.client(lab.Phonebook(["127.0.0.1"])) as client:
                found.append(await client.try_once(server.url(host="a.test").replace("http", "https")))
                found.append(await client.try_once(server.url(host="a.test")))
            return found, server.connections

    found, connections = lab.run(work(), loop)
    assert [answer.body for answer in found[:3]] == [body] * 3
    assert [answer.status for answer in found[3:]] == ["tls_error", "tls_error", "protocol_error"]
    assert "b.test" in found[3].detail
    assert found[4].detail == "self-signed certificate"
    assert connections <= 6


def test_a_server_without_tls(lab, certificate):
    async def work():
        async with lab.Server(lab.says(b"HTTP/1.1 400 Bad\r\n\r\n")) as server, server.client() as client:
            server.request = lambda reader: reader.read(100)
            return await client.try_once(server.url().replace("http", "https"))

    assert lab.run(work()).status == Status.TLS_ERROR
