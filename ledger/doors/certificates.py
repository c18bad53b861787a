"""Reads the files of TLS, and refuses what would keep callers out, with the setting, the file and what to do.

OpenSSL reads them for the ports of metrics, BoringSSL for gRPC's; both have to take them.
"""

from __future__ import annotations

import ipaddress
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
import structlog

from ledger.environment import SettingsError, environment_name

ENDS_SOON: Final = timedelta(days=30)
"""A certificate that ends so soon is warned of: longer than the holidays of whoever renews it."""

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which `ssl` has no name for: dates are looked at here, to be named."""
_NO_PAIR: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})
_OTHER_KIND: Final = (
    "is of a kind that clients do not take: have a key of RSA, Ed25519, P-256, P-384 or P-521"
)
_WEAK: Final = frozenset({"EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files, by the settings that name them."""

    tls_certificate: Path
    """The server's, and behind it those between it and its authority."""
    tls_key: Path
    tls_client_ca: Path | None
    """Authorities of clients, of both APIs; None: none is asked for a certificate."""
    back_office_tls_client_ca: Path | None
    """Of the back office's, and of who scrapes finance's metrics, in place of the other."""


@dataclass(frozen=True, slots=True)
class Door:
    """What a door shows and asks for, as gRPC and as a socket take it."""

    configuration: Any
    """Of gRPC."""
    context: ssl.SSLContext
    asks_for_certificates: bool


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held at one look."""

    public: Door
    back_office: Door
    operations: Door
    """Asks for no certificate, whatever the others do."""
    names: tuple[str, ...]
    """What the certificate is for: names of hosts, and addresses."""
    ends_at: datetime


class _EncryptedError(Exception):
    """A key asks for a password."""


def read(files: TlsFiles, now: datetime) -> Material:
    """Reads and checks the files. Raises SettingsError; warns of what is likely a mistake, or will be one."""
    chain, key = _bytes_of(files, "tls_certificate"), _bytes_of(files, "tls_key")
    context = _context(files)
    about = _seen_by_client(files, context)
    ends_at = _checked_dates(files, about, now)
    _warn_of_readers(files.tls_key)
    operations = Door(_configuration(files, chain, key, None), context, asks_for_certificates=False)
    public = operations if files.tls_client_ca is None else _asking(files, "tls_client_ca", chain, key, now)
    back_office = public
    if files.back_office_tls_client_ca is not None:
        back_office = _asking(files, "back_office_tls_client_ca", chain, key, now)
    names = tuple(_name(kind, name) for kind, name in about.get("subjectAltName", ()))
    return Material(public, back_office, operations, names, ends_at)


def _asking(files: TlsFiles, field: str, chain: bytes, key: bytes, now: datetime) -> Door:
    """A door that asks for certificates of these authorities."""
    authorities = _bytes_of(files, field)
    context = _context(files)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(getattr(files, field))
    except ssl.SSLError:
        _refuse(files, field, "holds no certificate in PEM form: name the file of the clients' authorities")
    found = context.get_ca_certs()
    if not found:
        why = (
            "holds no certificate that may sign others: name that of the clients' authority, not of a client"
        )
        _refuse(files, field, why)
    if all(_instant(str(each["notAfter"])) <= now for each in found):
        _refuse(
            files, field, "holds authorities whose time is over only: name the file of those that succeed"
        )
    return Door(_configuration(files, chain, key, authorities), context, asks_for_certificates=True)


def _bytes_of(files: TlsFiles, field: str) -> bytes:
    path: Path = getattr(files, field)
    try:
        # Whoever opens a pipe waits for its writer, and a device may have no end. Links are followed.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            why = "is a pipe or a device, and is not read: put a file there, or a link to one"
            _refuse(files, field, why)
        return path.read_bytes()
    except OSError as error:
        _refuse(files, field, f"cannot be read ({error.strerror}): name a PEM file that this user may read")


def _context(files: TlsFiles) -> ssl.SSLContext:
    """The certificate and its key, for sockets."""

    def password() -> NoReturn:
        raise _EncryptedError

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The certificate alone first: an error of the pair does not say which of them it is about.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(files.tls_certificate)
    except ssl.SSLError:
        _refuse(files, "tls_certificate", "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    try:
        context.load_cert_chain(files.tls_certificate, files.tls_key, password)
    except _EncryptedError:
        clear = f"openssl pkey -in {files.tls_key} -out NEW_FILE"
        _refuse(
            files, "tls_key", f"asks for a password, which nobody gives a service: `{clear}` takes it off"
        )
    except ssl.SSLError as error:
        if error.reason in _NO_PAIR:
            own = "it must belong to the first certificate of that file"
            _refuse(files, "tls_key", f"is not the key of the certificate in {files.tls_certificate}: {own}")
        if error.reason in _WEAK:
            _refuse(files, "tls_certificate", f"is too weak ({error.reason}): have one made with 2,048 bits")
        _refuse(files, "tls_key", "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    return context


def _seen_by_client(files: TlsFiles, context: ssl.SSLContext) -> dict[str, Any]:
    """What a client that trusts the certificate itself reads in it."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    trusting.load_verify_locations(files.tls_certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        client.do_handshake()
    except ssl.SSLCertVerificationError as error:
        why = f"is none that a server may show ({error.verify_message}): have one made for a server"
        _refuse(files, "tls_certificate", why)
    except ssl.SSLError:
        _refuse(files, "tls_certificate", _OTHER_KIND)
    return dict(client.getpeercert() or {})


def _name(kind: str, name: str) -> str:
    """OpenSSL writes IPv6 addresses out in full."""
    return str(ipaddress.ip_address(name)) if kind == "IP Address" else name


def _checked_dates(files: TlsFiles, about: dict[str, Any], now: datetime) -> datetime:
    """The end of the certificate's time."""
    starts_at, ends_at = _instant(about["notBefore"]), _instant(about["notAfter"])
    if now >= ends_at:
        _refuse(files, "tls_certificate", f"has expired ({ends_at:%Y-%m-%d %H:%M} UTC): renew it")
    if now < starts_at:
        why = f"is not valid before {starts_at:%Y-%m-%d %H:%M} UTC: wait, or look at this machine's clock"
        _refuse(files, "tls_certificate", why)
    if ends_at - now < ENDS_SOON:
        _log.warning("tls.ends_soon", certificate=str(files.tls_certificate), ends_at=ends_at.isoformat())
    return ends_at


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _warn_of_readers(key: Path) -> None:
    if key.stat().st_mode & stat.S_IROTH:
        _log.warning("tls.key_readable", key=str(key), hint=f"every user can read it: chmod o-r {key}")


def _configuration(files: TlsFiles, chain: bytes, key: bytes, authorities: bytes | None) -> Any:
    """For gRPC, which takes fewer kinds of keys than OpenSSL, and says so only when it is to listen."""
    made = grpc.ssl_server_certificate_configuration([(key, chain)], authorities)
    with ThreadPoolExecutor(1) as never_used:
        server = grpc.server(never_used)
        try:
            server.add_secure_port("127.0.0.1:0", grpc.dynamic_ssl_server_credentials(made, lambda: made))
        except RuntimeError:
            _refuse(files, "tls_certificate", _OTHER_KIND)
        finally:
            server.stop(None)
    return made


def _refuse(files: TlsFiles, field: str, why: str) -> NoReturn:
    raise SettingsError(f"{environment_name(field)}: {getattr(files, field)} {why}") from None
