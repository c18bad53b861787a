"""Where an endpoint may lead to: whoever can name a URL must not reach what stands beside the service.

Loopback, link-local (with the metadata of clouds), private, multicast and reserved addresses are refused when
an endpoint is made, and again at each connection: a name may lead elsewhere by then, so what is connected to
is the address that was looked at. One setting opens all of them, for tests and for receivers inside.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from ledger.errors import RequestError

URL_LENGTH_MAX: Final = 2_048
"""Characters: what browsers and proxies take."""

_NAT64: Final = IPv6Network("64:ff9b::/96")


class AddressRefusedError(RequestError):
    """A URL that may not be called; what is wrong with it."""


def refuse_url(url: str, *, private_allowed: bool) -> tuple[str, int]:
    """The host and port that a URL leads to. Raises AddressRefusedError by what the text alone says."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefusedError("is no URL") from None
    schemes = ("https", "http") if private_allowed else ("https",)
    if parts.scheme not in schemes or not parts.hostname:
        raise AddressRefusedError(f"is no URL of {' or '.join(schemes)}, with a host")
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressRefusedError(f"has other than {URL_LENGTH_MAX} printable characters of ASCII at most")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise AddressRefusedError("has a user, a password or a fragment")
    if port == 0:
        raise AddressRefusedError("has the port 0")
    return parts.hostname, port or {"https": 443, "http": 80}[parts.scheme]


async def resolve(host: str, port: int, *, private_allowed: bool) -> list[str]:
    """The addresses of a host. Raises AddressRefusedError where there is none, or one that is not public."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefusedError("has a host that is not found") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if not private_allowed and not all(map(is_public, addresses)):
        raise AddressRefusedError("leads to an address that is not public")
    return addresses


def is_public(text: str) -> bool:
    """Whether an address is anybody's on the Internet, also one that is written within another."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = _within(address)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast and not address.is_reserved


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
