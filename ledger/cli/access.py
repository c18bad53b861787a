"""How a client reaches a server: TLS or plaintext, by whose authority, with which certificate and key."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from ledger.access.keys import PREFIX, parse
from ledger.environment import SettingsError

KEY: Final = "ACU_LEDGER_KEY"
"""Never an option: every user of a machine can read the arguments of its programs."""
CA: Final = "ACU_LEDGER_CA"
CLIENT_CERTIFICATE: Final = "ACU_LEDGER_CLIENT_CERTIFICATE"
CLIENT_CERTIFICATE_KEY: Final = "ACU_LEDGER_CLIENT_CERTIFICATE_KEY"


@dataclass(frozen=True, slots=True)
class Access:
    """What a client has. Off loopback it speaks TLS; on loopback, where it has something to speak it with."""

    key: str = field(default="", repr=False)
    authorities: bytes | None = None
    """PEM; None: the public ones that gRPC ships."""
    certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)
    """Of the client, and its key; for servers that ask for one."""
    plaintext: bool = False
    """Wherever the server is: something on the way there does TLS."""

    def credentials(self, target: str) -> grpc.ChannelCredentials | None:
        """Of a channel to `host:port`; None: plaintext."""
        has_tls = self.authorities is not None or self.certificate is not None
        if self.plaintext or (is_loopback(target) and not has_tls):
            return None
        chain, key = self.certificate or (None, None)
        return grpc.ssl_channel_credentials(self.authorities, key, chain)

    @classmethod
    def read(
        cls, environment: Mapping[str, str] = os.environ, *, ca: Path | None = None, plaintext: bool = False
    ) -> Access:
        """Of the environment; arguments win. Raises SettingsError, which never quotes a key."""
        named = environment.get(CA)
        authorities = ca if ca is not None else Path(named) if named else None
        return cls(
            key_of(environment),
            None if authorities is None else _authorities(authorities),
            _certificate(environment.get(CLIENT_CERTIFICATE), environment.get(CLIENT_CERTIFICATE_KEY)),
            plaintext,
        )


def key_of(environment: Mapping[str, str] = os.environ) -> str:
    """The key to call with; empty where there is none. Raises SettingsError for a mistyped one."""
    key = environment.get(KEY, "")
    if key and parse(key) is None:
        raise SettingsError(
            f"{KEY} holds no key: one begins with {PREFIX} and ends with a checksum; copy it whole"
        )
    return key


def is_loopback(target: str) -> bool:
    """By what is written: where another name leads is for others to say."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _authorities(file: Path) -> bytes:
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
    raise SettingsError(f"--ca ({CA}): {file} {why}")


def _certificate(certificate: str | None, key: str | None) -> tuple[bytes, bytes] | None:
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise SettingsError(f"{CLIENT_CERTIFICATE} and {CLIENT_CERTIFICATE_KEY} belong together: set both")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: "")
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        pair = f"{certificate} and {key} are no certificate and its key, without a password"
        raise SettingsError(f"{CLIENT_CERTIFICATE}, {CLIENT_CERTIFICATE_KEY}: {pair} ({reason})") from None
    return Path(certificate).read_bytes(), Path(key).read_bytes()
