"""Where all doors listen, and what has to be there before they may be reached from other machines."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.environment import LOOPBACK, OWNER_URL, SettingsError, environment_name

if TYPE_CHECKING:
    from ledger.settings import Settings

_FORM: Final = (
    "write an address of this machine (127.0.0.1, ::1, 0.0.0.0 for all) or a name that leads to one"
)
_ALL: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 -- nothing is bound here
"""What stands for all addresses of a machine, and where it reaches itself."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address of this machine, or all of them."""

    ip: str
    is_loopback: bool

    def at(self, port: int) -> str:
        """As `host:port`."""
        return joined(self.ip, port)


def joined(host: str, port: int) -> str:
    """As `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def beside(host: str) -> str:
    """Where the same machine reaches a host that ports listen on: all of its addresses at loopback."""
    return _ALL.get(host, host)


async def address_of(settings: Settings) -> Address:
    """Where the host of the settings leads; of a name's addresses the first. Raises SettingsError."""
    host = settings.host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SettingsError(f"{environment_name('host')}: {host!r} leads nowhere: {_FORM}") from None
    ip = str(found[0][4][0])
    return Address(ip, ipaddress.ip_address(ip).is_loopback)


def require_tls(settings: Settings, address: Address) -> None:
    """Off loopback TLS has to be there, or somebody who says that it ends elsewhere. Raises SettingsError."""
    certificate, plaintext = environment_name("tls_certificate"), environment_name("plaintext")
    has_tls = settings.tls_certificate is not None
    if has_tls and settings.plaintext:
        raise SettingsError(f"--plaintext ({plaintext}) and {certificate} exclude each other: leave one out")
    if not (address.is_loopback or has_tls or settings.plaintext):
        raise SettingsError(f"""\
{environment_name("host")}: {address.ip} can be reached from other machines: that takes TLS. Name files
  export {certificate}=/etc/acu-ledger/tls.crt {environment_name("tls_key")}=/etc/acu-ledger/tls.key
of a certificate and its key; or say that a proxy or mesh on the way here ends TLS
  acu-ledger serve --plaintext""")


def require_key(settings: Settings, address: Address, *, usable: bool) -> None:
    """Off loopback somebody has to have a key that is good for something. Raises SettingsError."""
    if address.is_loopback or usable:
        return
    if settings.database_url is None:
        data = settings.data_dir
        how = f"make one at the database\n  acu-ledger keys create --scope ops --name first --data {data}"
    else:
        how = f"make one at the database of {OWNER_URL}\n  acu-ledger keys create --scope ops --name first"
    host = environment_name("host")
    raise SettingsError(f"{host}: {address.ip} can be reached from other machines: that takes a key; {how}")
