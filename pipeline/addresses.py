"""What lists of URLs and domains are compared by: a digest of what an address names, and the domains it lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from yarl import URL


def as_url(text: str) -> URL:
    """The address that a line of a list names, with or without its scheme; one of nothing where it is none."""
    try:
        return URL(text if "://" in text else f"http://{text}")
    except ValueError:
        return URL()


def as_domain(text: str) -> str:
    """A domain as hosts are written: lower case, in ASCII, without dots at its ends or `*.` before it."""
    domain = text.lower().removeprefix("*.").strip(".")
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain


def domains_of(url: URL) -> Iterator[str]:
    """The host of an address, and every domain above it."""
    if url.raw_host is not None:
        labels = url.raw_host.lower().rstrip(".").split(".")
        yield from (".".join(labels[first:]) for first in range(len(labels)))


def url_digest(url: URL) -> bytes:
    """16 bytes that are equal for addresses that differ in scheme, fragment and the case of the host alone."""
    text = f"{(url.raw_host or '').lower()}:{url.port if url.port not in (80, 443) else ''}{url.raw_path_qs}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
