"""Which URLs may be asked for, and which addresses may be connected to.

The address is judged where the socket is made, on what the name resolved to, and it is that address that is connected
to: a name may resolve to another between a check and the connection.
`is_global` alone is not enough: it holds for NAT64, 6to4 and multicast ranges, all of which can lead inward.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from yarl import URL

from pipeline.record import Status

_DEFAULT_PORTS = {80, 443}
_NEVER = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",  # unspecified, loopback, IPv4-compatible
        "64:ff9b::/96",  # NAT64: any IPv4 address
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4: any IPv4 address
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


class RefusedAddress(OSError):
    """A socket to this address may not be made."""

    def __init__(self, address: str) -> None:
        super().__init__(f"address {address} is not of the open web")
        self.address = address


class Guard:
    """Judges URLs and addresses by the recipe's allowances."""

    def __init__(self, ports: Iterable[int] = (), allow_private: Iterable[str] = ()) -> None:
        self._ports = _DEFAULT_PORTS | set(ports)
        self._allowed = tuple(ip_network(text) for text in allow_private)

    def refusal(self, url: URL) -> tuple[Status, str] | None:
        """Why `url` may not be asked for, as far as it alone tells; None where it may."""
        if url.scheme not in ("http", "https"):
            return Status.REFUSED_SCHEME, f"scheme {url.scheme[:20]!r}"
        if url.user is not None or url.password is not None:
            return Status.INVALID_URL, "user name or password in the URL"
        host = url.host
        if not host:
            return Status.INVALID_URL, "no host"
        if url.port not in self._ports:
            return Status.REFUSED_PORT, f"port {url.port}"
        address = literal(host)
        if address is None:
            return None
        if not self.allows(address):
            return Status.REFUSED_ADDRESS, f"address {address}"
        if ":" not in host and str(address) != host:
            return Status.INVALID_URL, "an address in an unusual form"
        return None

    def allows(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether a socket to `address` may be made; an IPv4 address inside an IPv6 one is judged as such."""
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            address = mapped
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        if any(address in network for network in _NEVER if network.version == address.version):
            return False
        return address.is_global and not address.is_multicast

    def make_socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """A socket for what `getaddrinfo` said of an address. Raises: RefusedAddress: it is not allowed."""
        family, kind, protocol, _, sockaddr = addr_info
        text = str(sockaddr[0])
        try:
            allowed = self.allows(ip_address(text))
        except ValueError:
            allowed = False
        if not allowed:
            raise RefusedAddress(text)
        return socket.socket(family, kind, protocol)


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is, in whatever form the C library would read it; None for a name."""
    if ":" not in host and not host[:1].isdigit():
        return None
    try:
        return ip_address(host)
    except ValueError:
        pass
    if not host[-1:].isalnum() or ":" in host:
        return None
    try:
        return ip_address(socket.inet_aton(host))  # decimal, octal, hexadecimal, fewer than four parts
    except OSError:
        return None
