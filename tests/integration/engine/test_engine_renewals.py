"""Grants that recur, on a real database: two servers, who has slept, a connection that is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from engine_world import World, fingerprint

from ledger import books
from ledger.engine.command import Committed
from ledger.store.directory import Directory
from ledger.store.finance.verify import verify_journal
from ledger.store.postgres.database import Database
from ledger.store.reading.month_statement import StatementQuery
from ledger.store.reading.reads import Reads
from tests.acts import ACT
from tests.amounts import CREDIT, DOLLAR
from tests.customers import create_customer
from tests.waiting import until

MONTHS = 14
PLANS = """\
plans:
  standard:
    grants: {monthly: {amount: "100", paid_usd: "10", every: month, rollover: {max: "30"}}}
  other:
    grants: {monthly: {amount: "7", every: month}, weekly: {amount: "7", every: week}}
"""
OWN = (
    '{"grants": {"monthly":'
    ' {"amount": "100", "paid_usd": "10", "every": "month", "rollover": {"max": "30"}}}}'
)
Start = Callable[..., Awaitable[World]]


@pytest.fixture
async def begin(start: Start, tmp_path: Path) -> Start:
    """Starts engines whose plan has a grant that recurs."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plans.yaml").write_text(PLANS)
    return start


async def sleeper(database: Database, plan: str = "standard", own: str | None = None) -> list[datetime]:
    """A customer of whom nobody has looked at what was due for 14 months; the instants of its grants."""
    now = await database.writer.fetchval("SELECT clock_timestamp()")
    months = [now.year * 12 + now.month - 1 - number for number in range(MONTHS + 1)]
    day = (now.day + 14) % 28 + 1  # None that begins while the test runs.
    midnights = [datetime(month // 12, month % 12 + 1, day, tzinfo=UTC) for month in reversed(months)]
    came_at = midnights[0] + timedelta(hours=10)

    def make(customer: int, _: datetime) -> books.Decision:
        print_ = fingerprint("create")
        return books.create(
            customer,
            "Acme",
            plan,
            "basic",
            "UTC",
            "create",
            print_,
            came_at,
            plan_overrides=own,
            is_granted=True,
        )

    await create_customer(database.writer, "acme", "cell_00", make, ACT)
    return [came_at, *(midnight for midnight in midnights[1:] if midnight <= now)]


async def is_renewed(database: Database) -> bool:
    """Whether nothing is due any more."""
    due = "SELECT count(*) FROM cell_00.wallets WHERE next_due_at <= clock_timestamp()"
    return await database.writer.fetchval(due) == 0


async def assert_renewed_once(database: Database, instants: list[datetime]) -> None:
    """Each grant was issued at its own instant, in order, and the books hold."""
    rows = await database.finance.fetch(
        "SELECT sequence, kind, effective_at FROM cell_00.entries"
        " WHERE kind NOT IN ('RESERVE') ORDER BY sequence"
    )
    granted = [row["effective_at"] for row in rows if row["kind"] == "GRANT"]
    assert granted == instants
    moved = [row["effective_at"] for row in rows if row["kind"] == "ROLLOVER"]
    assert moved == instants[1:]
    assert all(first["effective_at"] <= second["effective_at"] for first, second in pairwise(rows))
    wallet = await database.finance.fetchrow("SELECT * FROM cell_00.wallets")
    assert wallet is not None
    assert wallet["available"] + wallet["held"] == 130 * CREDIT
    assert wallet["issued"] == -len(instants) * 100 * CREDIT
    value = await database.finance.fetchval("SELECT sum(value_nanousd) FROM cell_00.lot_values")
    assert value == 13 * DOLLAR
    assert list((await verify_journal(database.finance, ["cell_00"])).violations) == []
    reads = Reads(database.reader, database.reports, Directory(database.reader))
    query = StatementQuery(instants[2].date().replace(day=1), (), instants[-1])
    month = await reads.month("acme", query, None, 10)
    stated = (-month.change.issued, month.change.expired, month.rolled_over_micros)
    assert stated == (100 * CREDIT, 100 * CREDIT, 30 * CREDIT)


@pytest.mark.parametrize(("plan", "own"), [("standard", None), ("other", OWN)])
async def test_who_has_slept_gets_each_renewal_once_though_two_servers_write(
    begin: Start, database: Database, plan: str, own: str | None
) -> None:
    """Sweeps and commands of two servers at once: each renewal in its order, at its own instant.

    By the plan's grants, or the customer's own in their place.
    """
    instants = await sleeper(database, plan, own)
    one, two = await begin(name="one"), await begin(name="two")
    outcomes = await asyncio.gather(
        one.engine.sweepers[0].step(),
        two.engine.sweepers[0].step(),
        one.reserve("acme", "r1", 40 * CREDIT),
        two.reserve("acme", "r2", 90 * CREDIT),
    )
    assert all(isinstance(outcome, Committed) for outcome in outcomes[2:])
    await until(lambda: is_renewed(database))
    await assert_renewed_once(database, instants)


async def test_what_is_due_by_a_clock_that_was_set_ahead_is_left_to_the_sweeper(
    begin: Start, database: Database
) -> None:
    """Nobody waits as long as the database's clock has been set ahead of what the server knows of it."""
    await sleeper(database)
    world = await begin(name="one")
    now = await database.writer.fetchval("SELECT clock_timestamp()")
    async with asyncio.timeout(60):
        await world.engine.write_due("acme", now + timedelta(hours=1))


async def test_a_server_that_is_cut_off_in_the_middle_renews_once(
    begin: Start, database: Database, database_url: str
) -> None:
    """Its backend is ended while it writes renewals; whoever goes on finds them written, or writes them."""
    instants = await sleeper(database)
    admin, blocker = [await asyncpg.connect(database_url) for _ in range(2)]
    await blocker.execute("BEGIN; LOCK TABLE cell_00.renewals IN SHARE MODE")
    one = await begin(name="one")
    stuck = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name LIKE 'acu cell_00 writer%' AND wait_event_type = 'Lock'"
    )
    sweep = asyncio.create_task(one.engine.sweepers[0].step())
    await until(lambda: admin.fetchval(stuck))
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'acu cell_00 writer%'"
    )
    await blocker.close()
    await admin.close()
    two = await begin(name="two")
    await asyncio.gather(sweep, two.engine.sweepers[0].step())
    await until(lambda: is_renewed(database))
    await assert_renewed_once(database, instants)
