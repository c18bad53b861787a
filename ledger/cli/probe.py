"""`acu-ledger-probe`: whether the server beside it serves, for the health checks of containers.

It reads the server's own settings and asks the health service of the public port, as gRPC's own probes do,
which speak no TLS. It trusts whatever certificate it is shown: it asks about the server beside it, and has no
secret to tell. Files that were replaced, or are broken by now, are no reason to end a server that serves on
with those of before. To a server that asks its clients for certificates it shows the server's own, which has
to be valid for a client then.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from ledger.client.channel import DIRECT
from ledger.doors.address import beside, joined
from ledger.environment import SettingsError
from ledger.settings import Settings

ANSWER_SECONDS: Final = 4.0
"""Less than what those who run it wait for."""


def main() -> None:
    """Ends with status 0 where the server serves; says on stderr why it does not."""
    parser = argparse.ArgumentParser("acu-ledger-probe", description="Whether the server beside it serves.")
    parser.add_argument("--alive", action="store_true", help="enough if it answers, also that it drains")
    options = parser.parse_args()
    try:
        status = _asked(Settings.read())
    except (OSError, SettingsError, grpc.RpcError) as failed:
        why = failed.details() if isinstance(failed, grpc.Call) else str(failed)
        sys.exit(f"acu-ledger-probe: {why}")
    if status != health_pb2.HealthCheckResponse.SERVING and not options.alive:
        sys.exit(f"acu-ledger-probe: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")


def _asked(settings: Settings) -> int:
    host = beside(settings.host)
    with _channel(joined(host, settings.public_port), host, settings) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest()
        return int(health.Check(asked, timeout=ANSWER_SECONDS).status)


def _channel(target: str, host: str, settings: Settings) -> grpc.Channel:
    if settings.tls_certificate is None or settings.tls_key is None:
        return grpc.insecure_channel(target, options=[DIRECT])
    shown = _certificate(host, settings.public_port)
    own: tuple[bytes | None, bytes | None] = (None, None)
    if settings.tls_client_ca is not None:
        own = settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes()
    name = _name(host, settings.public_port, shown)
    credentials = grpc.ssl_channel_credentials(shown.encode("ascii"), *own)
    return grpc.secure_channel(target, credentials, options=[DIRECT, ("grpc.ssl_target_name_override", name)])


def _certificate(host: str, port: int) -> str:
    """What the server shows, in PEM form."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    with _encrypted(host, port, trusting) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")


def _name(host: str, port: int, shown: str) -> str:
    """One that the certificate is for, which gRPC will look for in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=shown)
    with _encrypted(host, port, context) as connection:
        names = (connection.getpeercert() or {}).get("subjectAltName", ())
    return next((str(entry[1]).replace("*", "probe") for entry in names), host)


@contextmanager
def _encrypted(host: str, port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=ANSWER_SECONDS) as plain,
        context.wrap_socket(plain) as connection,
    ):
        yield connection
