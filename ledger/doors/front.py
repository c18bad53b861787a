"""Where a process is reached, and with what: what all its ports have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext

import grpc

from ledger.doors.address import Address, address_of, require_tls
from ledger.doors.tls import Noted, Tls, Which, tls_of
from ledger.settings import Settings


@dataclass(frozen=True, slots=True)
class Front:
    """One address, and TLS or none."""

    address: Address
    tls: Tls | None

    @classmethod
    async def of(cls, settings: Settings, noted: Noted) -> Front:
        """As the settings have it, before any port opens. Raises SettingsError."""
        address = await address_of(settings)
        require_tls(settings, address)
        return cls(address, tls_of(settings, noted))

    def credentials(self, which: Which) -> Callable[[], grpc.ServerCredentials] | None:
        """For a gRPC port; None: plaintext."""
        return None if self.tls is None else self.tls.credentials(which)

    def context(self, which: Which) -> Callable[[], SSLContext] | None:
        """For a port of sockets; None: plaintext."""
        return None if self.tls is None else self.tls.context(which)

    @property
    def scheme(self) -> str:
        """Of URLs that lead here."""
        return "http" if self.tls is None else "https"
