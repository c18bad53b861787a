"""`acu-ledger-probe` beside a server: by TLS and without, and where clients have to show certificates."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ledger.app import running
from ledger.settings import Settings
from tests.certificates import Authority
from tests.serving import ANY_PORTS

DRAINING = health_pb2.HealthCheckResponse.NOT_SERVING


def _probe(target: str, *options: str, **settings: object) -> subprocess.CompletedProcess[str]:
    of_server = {"public_port": target.rpartition(":")[2], **settings}
    environment = {f"ACU_LEDGER_{name.upper()}": str(value) for name, value in of_server.items()}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "from ledger.cli.start import probe; probe()", *options],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_a_server_in_plaintext_serves(database_url: str) -> None:
    """On loopback, by its settings alone; all addresses are reached at loopback's."""
    async with running(Settings(database_url=database_url, **ANY_PORTS)) as stack:
        for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 -- nothing is bound here
            asked = await asyncio.to_thread(_probe, stack.public_target, host=host)
            assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")


async def test_a_server_with_tls_serves(database_url: str, tmp_path: Path) -> None:
    """Whatever names its certificate is for; clients have to show one, and it shows the server's own."""
    authority = Authority(tmp_path)
    pair = authority.issue("server", "*.ledger.example", "ledger.example")
    files = {
        "tls_certificate": pair.certificate,
        "tls_key": pair.key,
        "tls_client_ca": authority.file,
    }
    async with running(Settings(database_url=database_url, **ANY_PORTS, **files)) as stack:
        asked = await asyncio.to_thread(_probe, stack.public_target, **files)
        assert (asked.returncode, asked.stderr) == (0, "")
        another = Authority(tmp_path, "other").issue("other", "ledger.example")
        files |= {"tls_certificate": another.certificate, "tls_key": another.key}
        refused = await asyncio.to_thread(_probe, stack.public_target, **files)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1


async def test_a_server_whose_files_are_broken_serves(database_url: str, tmp_path: Path) -> None:
    """It goes on with those of before, and is not to be ended for it."""
    pair = Authority(tmp_path).issue("server")
    files = {"tls_certificate": pair.certificate, "tls_key": pair.key}
    async with running(Settings(database_url=database_url, **ANY_PORTS, **files)) as stack:
        pair.certificate.write_text("half")
        pair.key.unlink()
        for options in ((), ("--alive",)):
            asked = await asyncio.to_thread(_probe, stack.public_target, *options, **files)
            assert (asked.returncode, asked.stderr) == (0, "")


def test_a_server_that_drains_is_alive_and_does_not_serve() -> None:
    """What readiness asks and what liveness asks are two questions."""
    servicer = health.HealthServicer()
    servicer.set("", DRAINING)
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    ready, alive = _probe(target), _probe(target, "--alive")
    server.stop(None).wait()
    assert (ready.returncode, ready.stderr) == (1, "acu-ledger-probe: NOT_SERVING\n")
    assert (alive.returncode, alive.stderr) == (0, "")
    gone = _probe(target, "--alive")
    assert gone.returncode == 1
    assert gone.stderr.startswith("acu-ledger-probe: ")
    assert gone.stderr.count("\n") == 1
