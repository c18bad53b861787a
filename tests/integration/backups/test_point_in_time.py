"""Recovery to a point in time, by the page's commands, on a PostgreSQL whose log is archived."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from backups_world import CREDIT, bash, block, sell

from ledger.admin.v1.admin_service_pb2 import PublishRateCardRequest
from ledger.cli.services import call
from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from ledger.sample import SAMPLE_CONFIG
from ledger.v1.credit_service_pb2 import ChargeRequest
from ledger.v1.wallet_service_pb2 import GetBalanceRequest
from tests.databases import DatabaseUrls
from tests.faults.postgres import PORT, SYSTEM_USER, Postgres
from tests.faults.servers import Server

DATABASE = "books"
BACKUPS = "/var/backups/acu-ledger"
"""On the page."""
CHARGES = 20
WRONG = (SAMPLE_CONFIG / "cards" / "agents.yaml").read_text().replace("revision: 1", "revision: 2")
AS_POSTGRES = SYSTEM_USER if os.geteuid() == 0 else None
VERSIONS = "SELECT count(*) FROM ledger.price_versions WHERE name = 'agents'"


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not in pytest's own, which the database's user cannot enter.
    with TemporaryDirectory(prefix="acu-pit-") as made:
        Path(made).chmod(0o777)
        yield Path(made)


def _archiving(backups: Path) -> list[str]:
    """The page's settings, for a server's command line."""
    lines = [line.partition(" = ") for line in block("archive").splitlines()]
    return [name + "=" + value.strip("'").replace(BACKUPS, str(backups)) for name, _, value in lines]


async def _charge(server: Server, first: int) -> None:
    for number in range(first, first + CHARGES):
        charge = ChargeRequest(request_id=f"charge-{number}", customer_id="acme", amount_micros=CREDIT)
        await call(server.ledger.credits.Charge, charge)


async def test_recovery_to_the_instant_before_a_bad_act(directory: Path) -> None:
    """What was acknowledged before it is there, nothing of later; the books are verified first."""
    backups, recovered = directory / "backups", directory / "recovered"
    first = Postgres.create(directory / "data", _archiving(backups))
    for made in (backups, backups / "wal"):
        first._make_directory(made)
    await first.start()
    replication = f"postgresql://postgres@/?host={first.sockets}&port={PORT}"
    environment = {"BACKUPS": str(backups), "RECOVERED": str(recovered), "REPLICATION_URL": replication}
    try:
        await first.create_database(DATABASE)
        server = Server(
            "first", DatabaseUrls.by_socket(DATABASE, first.sockets).environment, directory / "logs"
        )
        await server.start()
        await sell(server.ledger, "acme")
        bash(block("base"), directory, environment, AS_POSTGRES)
        await _charge(server, 0)
        async with first.session(DATABASE) as owner:
            environment["BEFORE"] = str(await owner.fetchval("SELECT clock_timestamp()"))
            publish = PublishRateCardRequest(document=WRONG)
            await call(server.ledger.admin.PublishRateCard, publish)
            await _charge(server, CHARGES)
            assert await owner.fetchval(VERSIONS) == 2
            await server.stop()
            await owner.execute("SELECT pg_switch_wal()")
    finally:
        first.stop()  # it archives what is complete
    bash(block("recover"), directory, environment, AS_POSTGRES)
    second = Postgres(recovered, (), None)
    shutil.rmtree(second.sockets)
    second._make_directory(second.sockets)
    try:
        await second.start()
        async with second.session("postgres") as owner:
            while await owner.fetchval("SELECT pg_is_in_recovery()"):
                await owner.execute("SELECT pg_sleep(0.05)")
        server = Server(
            "second", DatabaseUrls.by_socket(DATABASE, second.sockets).environment, directory / "logs"
        )
        await server.start()
        assert '"event": "books.verified"' in server.log()
        answer = await call(server.ledger.wallet.GetBalance, GetBalanceRequest(customer_id="acme"))
        assert answer.balance.available_micros == (97 - CHARGES) * CREDIT
        assert (await call(server.ledger.finance.VerifyJournal, VerifyJournalRequest())).holds
        async with second.session(DATABASE) as owner:
            assert await owner.fetchval(VERSIONS) == 1
        await _charge(server, CHARGES)
        await server.stop()
    finally:
        second.stop()
