"""Servers are killed in the middle of renewals: each is written once, and what moves on of the old ties.

Days pass while nobody serves: all that is written is moved so far into the past. Then two servers write what
became due meanwhile, and are killed: by turns when the first renewals are written, and while a write of some
waits for a lock, which PostgreSQL may yet carry out for a server that is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, time, timedelta
from itertools import groupby
from operator import itemgetter, not_
from typing import Any

from ledger.admin.v1.admin_service_pb2 import CreateCustomerRequest, Customer
from ledger.environment import environment_name
from ledger.v1.credit_service_pb2 import ChargeRequest
from tests.faults.calls import attempt
from tests.faults.compare import expect
from tests.faults.postgres import backends
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.workload import CREDIT, sure
from tests.sample_plans import sample_with

CUSTOMERS = 40
DAYS = 20
"""That pass before each kill: so many renewals of each customer are due."""
WAIT_SECONDS = 120.0
LOOK_SECONDS = 0.02
PLAN = "daily"
GRANTED_MICROS = 10 * CREDIT
MOVES_MICROS = 4 * CREDIT
"""At most, of what is left of a day."""
SPENT_MAX_MICROS = 12 * CREDIT
_PLANS = f"""\
  {PLAN}:
    card: agents
    grants: {{credits: {{amount: "10", paid_usd: "1", every: day, rollover: {{max: "4"}}}}}}
"""
_INSTANTS = """
    SELECT c.table_schema, c.table_name, c.column_name, c.data_type
    FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema IN ('ledger', 'cell_00') AND t.table_type = 'BASE TABLE'
      AND c.data_type IN ('timestamp with time zone', 'date')
"""
_FAR_DAYS = 100_000
"""Days are keys: they go by a place where none is."""
_DUE = "SELECT count(*) FROM cell_00.wallets WHERE next_due_at <= clock_timestamp()"
_RENEWED = "SELECT count(*) FROM cell_00.entries WHERE kind = 'GRANT'"
_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name LIKE 'acu cell_00 writer%' AND wait_event_type = 'Lock'
"""
_ENTRIES = """
    SELECT c.customer_id, e.kind, e.effective_at, e.available_after
    FROM cell_00.entries e JOIN ledger.customers c USING (customer) ORDER BY e.customer, e.sequence
"""
_MOVED = """
    SELECT c.customer_id, sum(g.rolled_over)::bigint AS moved_on, coalesce(sum(l.amount) FILTER (
               WHERE (SELECT e.kind = 'ROLLOVER' FROM cell_00.entries e
                      WHERE e.customer = g.customer AND e.sequence = g.sequence)
           ), 0)::bigint AS taken_over
    FROM cell_00.grants g JOIN cell_00.lots l USING (customer, sequence, n)
    JOIN ledger.customers c USING (customer) GROUP BY c.customer_id
"""


async def run(world: World, count: int) -> Result:
    """So many kills, each after days in which nobody served."""
    async with scene(world, "renewal_killed") as stage:
        config = sample_with(_PLANS, world.directory / f"plans-{stage.database}")
        await stage.serve(2, settings={environment_name("config_dir"): str(config)})
        for number in range(CUSTOMERS):
            await _make_customer(stage, f"customer-{number}")
        for number in range(count):
            await _until(stage, _DUE, not_)
            for server in stage.servers:
                await server.stop()
            await _pass_days(stage)
            await _kill_in_the_middle(stage, waits_for_a_lock=number % 2 == 1)
            stage.result.injected += 1
        await _until(stage, _DUE, not_)
        await _check_renewals(stage, DAYS * count)
        await stage.check()
    return stage.result


async def _make_customer(stage: Scene, customer_id: str) -> None:
    """One that has what its plan grants, and nothing else."""
    customer = Customer(customer_id=customer_id, plan=PLAN)
    create = CreateCustomerRequest(request_id=stage.journal.request_id(), customer=customer)
    await sure(stage.servers[0], stage.journal, stage.journal.open("CreateCustomer", create))
    stage.customers.append(customer_id)


async def _kill_in_the_middle(stage: Scene, *, waits_for_a_lock: bool) -> None:
    """Starts both servers, kills them while they renew, and starts them again at once."""
    renewed = await _value(stage, _RENEWED)
    async with _renewals_locked(stage) if waits_for_a_lock else nullcontext():
        await asyncio.gather(*(server.start() for server in stage.servers))
        spending = [asyncio.create_task(_spend(stage, customer)) for customer in stage.customers]
        if waits_for_a_lock:
            await _until(stage, _WAITING, lambda writers: writers > 0)
        else:
            await _until(stage, _RENEWED, lambda now: now > renewed)
        await asyncio.gather(*(server.kill() for server in stage.servers))
    async with stage.world.postgres.session(stage.database) as connection:
        left = await backends(connection, stage.database)
        due = int(await connection.fetchval(_DUE))
    _note(stage, "customers_due_at_kills", due)
    await asyncio.gather(*spending, *(server.start() for server in stage.servers))
    await stage.world.postgres.gone(stage.database, left)
    await stage.settle()


async def _spend(stage: Scene, customer: str) -> None:
    """A charge that may find its server gone, or too few credits."""
    charge = ChargeRequest(
        request_id=stage.journal.request_id(),
        customer_id=customer,
        amount_micros=stage.rng.randrange(1, SPENT_MAX_MICROS),
    )
    server = stage.rng.choice(stage.servers)
    await attempt(server.ledger, stage.journal, stage.journal.open("Charge", charge))


async def _pass_days(stage: Scene) -> None:
    """Moves every instant and day that is written into the past."""
    async with stage.world.postgres.session(stage.database) as connection, connection.transaction():
        for schema, table, column, kind in await connection.fetch(_INSTANTS):
            place = f"UPDATE {schema}.{table} SET {column} = {column}"
            if kind == "date":
                await connection.execute(f"{place} - {_FAR_DAYS}")
                await connection.execute(f"{place} + {_FAR_DAYS - DAYS}")
            else:
                await connection.execute(f"{place} - interval '{DAYS} days'")


@asynccontextmanager
async def _renewals_locked(stage: Scene) -> AsyncIterator[None]:
    """Whoever writes a renewal waits until the block ends."""
    async with stage.world.postgres.session(stage.database) as connection, connection.transaction():
        await connection.execute("LOCK TABLE cell_00.renewals IN SHARE MODE")
        yield


async def _until(stage: Scene, sql: str, holds: Callable[[int], bool]) -> None:
    """Waits until what is counted is as it is to be. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds(await _value(stage, sql)):  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(LOOK_SECONDS)


async def _value(stage: Scene, sql: str) -> int:
    async with stage.world.postgres.session(stage.database) as connection:
        return int(await connection.fetchval(sql))


async def _check_renewals(stage: Scene, least: int) -> None:
    """Each customer was granted once on each day; of what it had left so much moved on, the rest ended."""
    findings = stage.result.findings
    async with stage.world.postgres.session(stage.database) as connection:
        rows = await connection.fetch(_ENTRIES)
        moved = await connection.fetch(_MOVED)
    for customer, own in groupby(rows, key=itemgetter("customer_id")):
        entries = list(own)
        days = [entry["effective_at"] for entry in entries if entry["kind"] == "GRANT"]
        expect(findings, len(days) > least, f"{customer}: granted {len(days)} times in {least} days")
        findings.other += [
            f"{customer}: granted at {at}, and not at {midnight}"
            for at, midnight in zip(days[1:], _midnights_after(days[0], len(days) - 1), strict=True)
            if at != midnight
        ][:1]
        findings.other += [f"{customer}: {problem}" for problem in _left_over(entries)]
        _note(stage, "renewals", len(days) - 1)
    for customer, moved_on, taken_over in moved:
        ties = moved_on == taken_over
        expect(findings, ties, f"{customer}: {moved_on} moved on, and {taken_over} were taken over")


def _note(stage: Scene, key: str, more: int) -> None:
    stage.result.notes[key] = int(str(stage.result.notes.get(key, 0))) + more


def _midnights_after(instant: datetime, count: int) -> list[datetime]:
    midnight = datetime.combine(instant.astimezone(UTC), time.min, UTC)
    return [midnight + timedelta(days=number) for number in range(1, count + 1)]


def _left_over(entries: Sequence[Any]) -> Iterator[str]:
    """Renewals that leave something else than the day's credits and what moves on of those before."""
    available = 0
    for at, own in groupby(entries, key=itemgetter("effective_at")):
        after = list(own)[-1]["available_after"]
        if at.astimezone(UTC).time() == time.min:
            expected = GRANTED_MICROS + min(available, MOVES_MICROS)
            if after != expected:
                yield f"{available} were left before {at}, and {after} after it, not {expected}"
        available = after
