"""A channel to a server: TLS with whose authority and certificate, or plaintext on loopback; and the key.

Off loopback it speaks TLS always; on loopback where an authority or a certificate is given.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
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
DIRECT: Final = ("grpc.enable_http_proxy", 0)
"""Of channels to this machine: a proxy of the environment leads elsewhere, and is to see no key."""

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
    *,
    plaintext: bool = False,
) -> Access:
    """Of a key, and files in PEM form. Raises ValueError for what cannot be used."""
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ValueError("the key has characters that no key has: of a file take the line without its end")
    authorities = None if ca is None else authorities_in(Path(ca))
    return Access(key or "", authorities, _pair(certificate, certificate_key), plaintext)


def authorities_in(file: Path) -> bytes:
    """The content of a file of authorities. Raises ValueError where it cannot be read, or holds none."""
    try:
        # Once: it may be a pipe. Outside of the certificates there may be text in any encoding.
        found = file.read_bytes()
        text = found.decode("ascii", "ignore")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        why = "holds no certificate in PEM form: name the file of the authority that signed the server's"
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    else:
        return found
    raise ValueError(f"{file} {why}")


def pair_in(certificate: str | Path, key: str | Path) -> tuple[bytes, bytes]:
    """The contents of a certificate's file and its key's. Raises ValueError where they are no pair."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: "")
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        pair = f"{certificate} and {key} are no certificate and its key, without a password"
        raise ValueError(f"{pair} ({reason})") from None
    return Path(certificate).read_bytes(), Path(key).read_bytes()


def _pair(certificate: str | Path | None, key: str | Path | None) -> tuple[bytes, bytes] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ValueError("certificate and certificate_key belong together: give both")
    return pair_in(certificate, key)


def open_channel(
    target: str, access: Access, interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None
) -> grpc.aio.Channel:
    """A channel to `host:port`; nothing is sent yet. Calls have to show `access.metadata`."""
    credentials = access.credentials(target)
    options = (*_OPTIONS, DIRECT) if is_loopback(target) else _OPTIONS
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def is_loopback(target: str) -> bool:
    """By what is written: where another name leads is for others to say."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
