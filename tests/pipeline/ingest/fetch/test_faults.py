"""Every fault of the web ends in its own status, through the whole stage and over real sockets."""

import socket
import ssl
import subprocess

import pytest

PATHS = {
    "/good.jpg": "success",
    "/redirect-good": "success",
    "/status/403": "http_403",
    "/status/404": "http_404",
    "/status/410": "http_410",
    "/status/401": "http_4xx",
    "/status/418": "http_4xx",
    "/status/500": "http_5xx",
    "/status/503": "http_5xx",
    "/status/204": "http_other",
    "/status/206": "http_other",
    "/status/304": "http_other",
    "/missing": "http_404",
    "/empty": "empty_body",
    "/html.jpg": "wrong_type",
    "/svg.jpg": "wrong_type",
    "/truncated.jpg": "decode_error",
    "/lying-long": "protocol_error",
    "/lying-short": "decode_error",  # cut where it said that it ends
    "/garbage": "protocol_error",
    "/hang-up": "protocol_error",
    "/reset": "protocol_error",
    "/header-flood": "protocol_error",
    "/long-header": "protocol_error",
    "/announced-large": "too_large",
    "/endless": "too_large",
    "/gzip-bomb": "too_large",
    "/gzip-good": "success",
    "/gzip-cut": "protocol_error",
    "/gzip-lie": "protocol_error",
    "/brotli": "wrong_type",
    "/hang": "timeout",
    "/drip": "timeout",
    "/drip-header": "timeout",
    "/loop": "too_many_redirects",
    "/redirect-inward": "refused_address",
    "/redirect-metadata": "refused_address",
    "/redirect-port": "refused_port",
    "/redirect-file": "refused_scheme",
    "/redirect-userinfo": "invalid_url",
    "/redirect-nonsense": "invalid_url",
    "/slow-down-long": "http_429",
}


def test_every_fault_has_its_status(faults, fetch):
    paths = list(PATHS)
    part = fetch([faults.url(path) for path in paths], config={"per_host": 50, "timeout_s": 4.0})
    found = dict(zip(paths, part.statuses, strict=True))
    assert {path: status for path, status in found.items() if status != PATHS[path]} == {}
    assert part.commit.rows_out == part.statuses.count("success") == 3


def test_details_tell_no_secrets(faults, fetch):
    urls = [
        faults.url("/status/403?X-Amz-Signature=s3cr3t"),
        faults.url("/redirect-userinfo?token=s3cr3t"),
        f"http://user:s3cr3t@127.0.0.1:{faults.port}/good.jpg",
        "http://s3cr3t:x@[::1/?token=s3cr3t",
        "http://127.0.0.1:notaport/?token=s3cr3t",
        "ftp://user:s3cr3t@host/file",
    ]
    part = fetch(urls)
    assert "success" not in part.statuses
    assert not any("s3cr3t" in row["detail"] for row in part.rows)
    assert all(row["detail"] for row in part.rows)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("file:///etc/passwd", "refused_scheme"),
        ("FILE:///etc/passwd", "refused_scheme"),
        ("ftp://example.com/a.jpg", "refused_scheme"),
        ("gopher://example.com/", "refused_scheme"),
        ("data:image/png;base64,AAAA", "refused_scheme"),
        ("javascript:alert(1)", "refused_scheme"),
        ("not a url", "refused_scheme"),
        ("http://", "invalid_url"),
        ("http:///path", "invalid_url"),
        ("http://[::1", "invalid_url"),
        ("http://host:99999/", "invalid_url"),
        ("http://example.com:22/", "refused_port"),
        ("http://nowhere.invalid/a.jpg", "dns_error"),
        ("http://" + "a" * 300 + ".com/", "invalid_url"),
        ("", "bad_row"),
        (None, "bad_row"),
    ],
)
def test_odd_urls(fetch, url, status):
    assert fetch([url]).statuses == [status]


def test_nobody_listens(fetch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        part = fetch([f"http://127.0.0.1:{port}/"], config={"ports": (port,)})
    assert part.statuses == ["connect_error"]


def test_a_connection_that_is_never_accepted(fetch):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fill = [socket.create_connection(("127.0.0.1", port)) for _ in range(1)]
        part = fetch([f"http://127.0.0.1:{port}/"], config={"ports": (port,), "connect_timeout_s": 0.3})
        for item in fill:
            item.close()
    assert part.statuses == ["timeout"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody signed."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )
    return folder


def test_tls_must_prove_its_name(certificate, serve, fetch, draw):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with serve(tls=context) as secure:
        secure.pages["/good.jpg"] = draw.encoded(draw.photo())
        url = secure.url("/good.jpg").replace("http:", "https:")
        ports = {"ports": (secure.port,)}
        assert fetch([url], config=ports).statuses == ["tls_error"]
        assert fetch([url], config={**ports, "tls": "accept_any"}, folder="b").statuses == ["success"]
        trusted = {**ports, "ca_file": str(certificate / "cert.pem")}
        assert fetch([url], config=trusted, folder="c").statuses == ["success"]
