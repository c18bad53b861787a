"""A channel to a server: TLS with whose authority and certificate, or plaintext on loopback; and the key.

Off loopback it speaks TLS always; on loopback where an authority or a certificate is given.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""A batch answers with every line of every charge."""
RECONNECT_SECONDS_MAX: Final = 1
"""A server that is back has its callers at once: by default gRPC waits for up to two minutes."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_SECONDS_MAX * 1_000),
)
_DIRECT: Final = ("grpc.enable_http_proxy", 0)
"""To this machine: a proxy of the environment leads elsewhere, and is to see no key."""

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller has to show, and by whom it knows the server."""

    key: str = field(default="", repr=False)
    authorities: bytes | None = None
    """PEM; None: the public ones that gRPC ships."""
    certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)
    """Of the client, and its key, both PEM; for servers that ask for one."""
    plaintext: bool = False
    """Wherever the server is: something on the way there does TLS."""

    @property
    def metadata(self) -> Metadata:
        """What every call shows."""
        return (("authorization", f"Bearer {self.key}"),) if self.key else ()

    def credentials(self, target: str) -> grpc.ChannelCredentials | None:
        """Of a channel to `host:port`; None: plaintext."""
        has_tls = self.authorities is not None or self.certificate is not None
        if self.plaintext or (is_loopback(target) and not has_tls):
            return None
        chain, key = self.certificate or (None, None)
        return grpc.ssl_channel_credentials(self.authorities, key, chain)


def access_of(
    key: str | None,
    ca: str | Path | None,
    certificate: str | Path | None,
    certificate_key: str | Path | None,
) -> Access:
    """Of a key and files in PEM. Raises OSError where one cannot be read, ValueError for half a pair."""
    if (certificate is None) != (certificate_key is None):
        raise ValueError("certificate and certificate_key belong together: give both")
    pair = None
    if certificate is not None and certificate_key is not None:
        pair = Path(certificate).read_bytes(), Path(certificate_key).read_bytes()
    return Access(key or "", None if ca is None else Path(ca).read_bytes(), pair)


def open_channel(target: str, access: Access) -> grpc.aio.Channel:
    """A channel to `host:port`; nothing is sent yet. Calls have to show `access.metadata`."""
    credentials = access.credentials(target)
    options = (*_OPTIONS, _DIRECT) if is_loopback(target) else _OPTIONS
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


def is_loopback(target: str) -> bool:
    """By what is written: where another name leads is for others to say."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
