"""`acu-ledger-probe`: whether the server beside it serves, for the health checks of containers.

It reads the server's own settings and asks the health service of the public port, as gRPC's own probes do,
which speak no TLS. It trusts the very certificate that the server was given, whatever names that is for; to a
server that asks its clients for certificates it shows the same one, which has to be valid for a client then.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from ledger.settings import Settings, SettingsError

ANSWER_SECONDS: Final = 4.0
"""Less than what those who run it wait for."""
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (nothing is bound here)


def main() -> None:
    """Ends with status 0 where the server serves; says on stderr why it does not."""
    options = argparse.ArgumentParser("acu-ledger-probe", description="Whether the server beside it serves.")
    options.add_argument("--alive", action="store_true", help="enough if it answers, also that it drains")
    given = options.parse_args()
    try:
        status = _asked(Settings.read())
    except (OSError, SettingsError, grpc.RpcError) as failed:
        why = failed.details() if isinstance(failed, grpc.Call) else str(failed)
        sys.exit(f"acu-ledger-probe: {why}")
    if status != health_pb2.HealthCheckResponse.SERVING and not given.alive:
        sys.exit(f"acu-ledger-probe: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")


def _asked(settings: Settings) -> int:
    host = _ANY.get(settings.host, settings.host)
    target = f"[{host}]:{settings.public_port}" if ":" in host else f"{host}:{settings.public_port}"
    with _channel(target, host, settings) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest()
        return int(health.Check(asked, timeout=ANSWER_SECONDS).status)


def _channel(target: str, host: str, settings: Settings) -> grpc.Channel:
    if settings.tls_certificate is None or settings.tls_key is None:
        return grpc.insecure_channel(target)
    certificate, key = settings.tls_certificate, settings.tls_key
    name = _name_of_server(host, settings.public_port, certificate, key)
    chain = certificate.read_bytes()
    credentials = grpc.ssl_channel_credentials(chain, key.read_bytes(), chain)
    return grpc.secure_channel(target, credentials, options=[("grpc.ssl_target_name_override", name)])


def _name_of_server(host: str, port: int, certificate: Path, key: Path) -> str:
    """A name that the certificate is for, which gRPC will look for in it: the server's own is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=ANSWER_SECONDS) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        names = (encrypted.getpeercert() or {}).get("subjectAltName", ())
    return next((str(entry[1]).replace("*", "probe") for entry in names), host)
