"""Where a URL leads: an origin to connect to, and what to ask it for.

Requests are put together from what passed here alone, so that no URL of a list can hold a line break, a header or a
second request. Most URLs of a list are plain and are taken apart by one expression; yarl, slower, reads all others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from yarl import URL

from pipeline.ingest.fetch.guard import Guard
from pipeline.record import Status

_PLAIN = re.compile(
    r"(https?://[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)(/(?!\.|%2[Ee]|[^?]*/(?:\.|%2[Ee]))"
    r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?)"
)
_PRINTABLE = re.compile(r"[!-~]+")
_MOST_ORIGINS = 4096


def parse_url(text: str) -> URL:
    """`text` as a URL that is asked for as it is written, where it can be: a server may have signed how it is quoted.

    Anything unusual is quoted and made canonical by yarl: other characters, other hosts, steps upwards, fragments.

    Raises: ValueError: it is none.
    """
    return URL(text, encoded=_PLAIN.fullmatch(text) is not None)


@dataclass(frozen=True, slots=True)
class Origin:
    """A server, as its URL names it, and all of a request to it but for the target."""

    key: str
    """Scheme, host and port: what a connection may be kept for."""
    host: str
    port: int
    is_tls: bool
    after_target: bytes
    refusal: tuple[Status, str] | None = None
    """Why it may not be asked at all, as far as its name tells."""

    def request(self, target: bytes, keep_alive: bool) -> bytes:
        """The bytes that ask for `target`."""
        return b"".join((b"GET ", target, self.after_target, b"\r\n" if keep_alive else b"Connection: close\r\n\r\n"))


@dataclass(frozen=True, slots=True)
class Place:
    """What one URL leads to. `text` is the URL, `target` what to ask the origin for."""

    origin: Origin
    target: bytes
    text: str

    @property
    def url(self) -> URL:
        """For those who want to know more of it."""
        return parse_url(self.text)


class Places:
    """Reads URLs. `headers` are sent with every request: whole lines."""

    def __init__(self, guard: Guard, headers: bytes) -> None:
        self._guard, self._headers = guard, headers
        self._origins: dict[str, Origin] = {}

    def of(self, text: str) -> Place:
        """Where `text` leads. Raises: ValueError: it is no URL."""
        plain = _PLAIN.fullmatch(text)
        if plain is None:
            return self.of_url(URL(text))
        origin = self._origins.get(plain[1])
        if origin is None:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
            origin = self._origins[plain[1]] = self._origin(URL(plain[1] + "/", encoded=True))
        return Place(origin, plain[2].encode("ascii"), text)

    def of_url(self, url: URL) -> Place:
        """Where `url` leads."""
        origin = self._origin(url)
        target = url.raw_path_qs
        if origin.refusal is None and _PRINTABLE.fullmatch(target) is None:
            raise ValueError("cannot be asked for")
        return Place(origin, target.encode("ascii", "replace"), str(url))

    def _origin(self, url: URL) -> Origin:
        refusal = self._guard.refusal(url)
        if refusal is not None:
            return Origin("", "", 0, False, b"", refusal)
        host, port = url.raw_host or "", url.port or 0
        name = url.host_port_subcomponent or ""
        if _PRINTABLE.fullmatch(name) is None or _PRINTABLE.fullmatch(host) is None:
            raise ValueError("cannot be asked for")
        after_target = b" HTTP/1.1\r\nHost: " + name.encode("ascii") + b"\r\n" + self._headers
        return Origin(f"{url.scheme}://{host}:{port}", host, port, url.scheme == "https", after_target)
