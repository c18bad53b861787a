"""Where an endpoint may lead to: whoever can name a URL must not reach what stands beside the service.

Loopback, link-local (with the metadata of clouds), private, multicast and reserved addresses are refused when
an endpoint is made, and again at each connection: a name may lead elsewhere by then, so what is connected to
is the address that was looked at. One setting opens all of them, for tests and for receivers inside.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Thread
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
    addresses = await _look_up(host, port)
    if not addresses:
        raise AddressRefusedError("has a host that is not found")
    if not private_allowed and not all(map(is_public, addresses)):
        raise AddressRefusedError("leads to an address that is not public")
    return addresses


async def _look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, none where it is not found.

    In a thread of its own: name servers that do not answer keep no other look-up waiting, nor the process
    from ending.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str]) -> None:
        if not found.done():
            found.set_result(addresses)

    def look() -> None:
        addresses: list[str] = []
        # A loop that has ended meanwhile waits for nothing.
        with suppress(RuntimeError):
            with suppress(OSError, UnicodeError):
                infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = list(dict.fromkeys(str(each[4][0]) for each in infos))
            loop.call_soon_threadsafe(settle, addresses)

    Thread(target=look, name="webhooks: a host is looked up", daemon=True).start()
    return await found


def is_public(text: str) -> bool:
    """Whether an address is anybody's on the Internet, also one that is written within another."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.is_site_local:
            return False
        address = _within(address) or address
    return address.is_global and not address.is_multicast and not address.is_reserved


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
