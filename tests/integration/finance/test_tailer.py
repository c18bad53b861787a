"""The tailer: rollups are exactly the sums of the journal, whatever happens while it works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import asyncpg
import pytest
from bookkeeper import CELL, CREDIT, DOLLAR, Bookkeeper, catch_up, line, varied_history

from ledger.books import MAX_AMOUNT
from ledger.followers.tailer import Tailer
from ledger.metrics.finance import FinanceFigures, FinanceMetrics
from ledger.store.finance.rollups import LATEST_WRITE, STEP, advance
from ledger.store.postgres.database import Connection, Database

ROLLED_UP = f"""
SELECT (SELECT coalesce(sum(revenue_nanousd), 0) FROM {CELL}.rollup_lines) AS revenue,
       (SELECT coalesce(sum(cost_nanousd), 0) FROM {CELL}.rollup_lines) AS cost,
       (SELECT coalesce(sum(credits), 0) FROM {CELL}.rollup_lines) AS priced,
       (SELECT coalesce(sum(amount), 0) FROM {CELL}.rollup_accounts WHERE account = 'consumed') AS consumed,
       (SELECT coalesce(sum(amount), 0) FROM {CELL}.rollup_accounts WHERE account = 'deferred') AS deferred
"""
BOOKED = f"""
SELECT coalesce(sum(revenue), 0) AS revenue, coalesce(-sum(cost), 0) AS cost,
       coalesce(sum(priced), 0) AS priced, coalesce(sum(consumed), 0) AS consumed,
       coalesce(sum(deferred), 0) AS deferred
FROM {CELL}.entries LEFT JOIN {CELL}.money USING (customer, sequence)
"""


def tailer(database: Database) -> Tailer:
    return Tailer(database, [CELL], FinanceMetrics())


async def rolled_up(owner: Connection) -> dict[str, Decimal]:
    return dict(await owner.fetchrow(ROLLED_UP))


async def booked(owner: Connection) -> dict[str, Decimal]:
    return dict(await owner.fetchrow(BOOKED))


async def test_rollups_are_the_sums_of_the_journal(database, writer, owner):
    """After any history the rollups' revenue, cost and credits are exactly those of the journal."""
    await varied_history(database, writer)
    assert await tailer(database).step(CELL)
    sums = await booked(owner)
    assert sums["revenue"] > 0
    assert sums["cost"] > 0
    assert await rolled_up(owner) == sums


async def test_every_account_is_rolled_up_by_day_plan_and_card(database, writer, owner):
    """Each account's rollups are the sums of its postings, by the UTC day of booking, plan and card."""
    await varied_history(database, writer)
    await owner.execute(f"UPDATE {CELL}.entries SET booked_at = booked_at - sequence % 3 * interval '1 day'")
    await tailer(database).step(CELL)
    for account in ("issued", "held", "consumed", "debt", "expired", "uncollected"):
        await _assert_rolled_up(owner, account)
    for account in ("receivable", "unbilled", "revenue", "breakage", "cost", "absorbed_uncollected"):
        await _assert_rolled_up(owner, account)


async def _assert_rolled_up(owner: Connection, account: str) -> None:
    journal = await owner.fetch(
        f"""SELECT (e.booked_at AT TIME ZONE 'UTC')::date, plan, coalesce(card, ''), sum({account})
            FROM {CELL}.entries e LEFT JOIN {CELL}.money USING (customer, sequence)
            GROUP BY 1, 2, 3 HAVING sum({account}) <> 0"""
    )
    rollups = await owner.fetch(
        f"""SELECT day, plan, card, sum(amount) FROM {CELL}.rollup_accounts WHERE account = $1
            GROUP BY 1, 2, 3 HAVING sum(amount) <> 0""",
        account,
    )
    assert journal, f"the history moves {account}"
    assert {tuple(row) for row in rollups} == {tuple(row) for row in journal}


async def test_a_commit_in_credits_counts_without_lines(database, writer, owner):
    """What has no lines stands as kind '' with no lines counted: nothing is missing from the sums."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(10 * CREDIT, 5 * DOLLAR)
    await customer.commit_credits(await customer.reserve(10 * CREDIT), 4 * CREDIT)
    await tailer(database).step(CELL)
    [row] = await owner.fetch(f"SELECT kind, model, lines, credits, revenue_nanousd FROM {CELL}.rollup_lines")
    assert tuple(row) == ("", "", 0, 4 * CREDIT, 2 * DOLLAR)


async def test_a_reversal_takes_back_what_was_rolled_up(database, writer, owner):
    """After the reversal of its only charge a customer's lines, revenue and cost are 0 again."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(10 * CREDIT, 10 * DOLLAR)
    unpriced = line(name="new", cost_nanousd=7, uncosted=True)
    charge = await customer.charge(line(micros=3 * CREDIT, cost_nanousd=DOLLAR, lever="routing"), unpriced)
    tail = tailer(database)
    await tail.step(CELL)
    assert (await rolled_up(owner))["revenue"] == 3 * DOLLAR
    await customer.reverse(charge=charge.sequence)
    await tail.step(CELL)
    for row in await owner.fetch(
        f"SELECT lines, unpriced_lines, uncosted_lines, credits, revenue_nanousd, cost_nanousd"
        f" FROM {CELL}.rollup_lines"
    ):
        assert not any(row)


async def test_only_tokens_are_told_apart_by_model(database, writer, owner):
    """A line of tokens keeps the model that was asked for; other kinds have none, so rows stay few."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.charge(
        line("compute", "h100", cost_nanousd=1), line("tokens", "acme/large", cost_nanousd=1)
    )
    await tailer(database).step(CELL)
    rows = await owner.fetch(f"SELECT kind, model FROM {CELL}.rollup_lines ORDER BY kind")
    assert [tuple(row) for row in rows] == [("compute", ""), ("tokens", "acme/large")]


async def test_sums_have_no_limit(database, writer, owner):
    """Charges that each just fit the journal's columns do not stop the tailer when they add up."""
    customer = await Bookkeeper.open(database, writer, "acme")
    for _ in range(3):
        await customer.charge(line(micros=MAX_AMOUNT, cost_nanousd=MAX_AMOUNT))
    await tailer(database).step(CELL)
    assert await rolled_up(owner) == await booked(owner)
    assert (await rolled_up(owner))["priced"] > 2**63


@asynccontextmanager
async def open_transaction(database: Database, customer_id: str) -> AsyncIterator[Bookkeeper]:
    """A customer whose entries are written, and committed only at the end of the block."""
    connection = await database.connect_writer("open transaction")
    try:
        customer = await Bookkeeper.open(database, connection, customer_id)
        async with connection.transaction():
            yield customer
    finally:
        await connection.close()


async def test_a_late_commit_is_not_skipped(database, writer, owner):
    """Nothing at or above the oldest open transaction is taken: what commits late is still found."""
    tail = tailer(database)
    early = await Bookkeeper.open(database, writer, "early")
    async with open_transaction(database, "late") as late:
        await tail.step(CELL)
        await late.charge(line(cost_nanousd=3))
        await early.charge(line(cost_nanousd=5))
        held_back = await tail.step(CELL)
        assert held_back is not None
        assert held_back.entries == 0
        assert (await rolled_up(owner))["cost"] == 0
    await tail.step(CELL)
    assert (await rolled_up(owner))["cost"] == 8


async def test_as_of_waits_for_open_transactions(database, writer, owner):
    """Everything booked up to `as_of` is in: it stays before the instants of what is not committed yet."""
    tail = tailer(database)
    async with open_transaction(database, "late") as late:
        entry = await late.charge(line(cost_nanousd=3))
        stalled = [await tail.step(CELL) for _ in range(3)]
        assert all(step.as_of is None or step.as_of < entry.booked_at for step in stalled)
    freed = await tail.step(CELL)
    assert freed.as_of is not None
    assert all(step.as_of is None or step.as_of < freed.as_of for step in stalled)
    assert freed.as_of <= await owner.fetchval("SELECT clock_timestamp()") - LATEST_WRITE


async def test_as_of_goes_on_under_traffic(database, owner):
    """Where something is always open, `as_of` follows what was given out before each look at the clock."""
    tail = tailer(database)
    async with open_transaction(database, "first") as first:
        await first.charge(line(cost_nanousd=3))
        assert (await tail.step(CELL)).as_of is None
        async with open_transaction(database, "second") as second:
            await second.charge(line(cost_nanousd=3))
            await first.connection.execute("COMMIT; BEGIN")
            step = await tail.step(CELL)
            assert step.as_of is not None
            assert step.entries == 2


async def test_a_step_ends_at_the_end_of_a_transaction(database, writer, owner):
    """A chunk is cut between transactions, never within one: the cursor is a transaction id."""
    customer = await Bookkeeper.open(database, writer, "acme")
    async with writer.transaction():
        for _ in range(5):
            await customer.charge(line(cost_nanousd=1))
    await customer.charge(line(cost_nanousd=1))
    steps = []
    while not steps or steps[-1].behind:
        steps.append(await advance(database.writer, CELL, 2))
    assert [step.entries for step in steps] == [6, 1]
    assert await rolled_up(owner) == await booked(owner)


async def test_one_replica_steps_at_a_time(database, writer, owner):
    """While another replica is at it a step does nothing, and does not wait."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.charge(line(cost_nanousd=1))
    async with owner.transaction():
        await owner.execute(f"SELECT FROM {CELL}.tailer FOR UPDATE")
        assert await tailer(database).step(CELL) is None
    progress = await tailer(database).step(CELL)
    assert progress is not None
    assert progress.entries == 2


async def test_replicas_that_race_count_nothing_twice(database, database_url, owner):
    """Four tailers against two writers: the rollups are the sums, and the cursor never goes back."""
    other = await Database.open(database_url)
    customers = []
    connections = []
    for name in ("acme", "globex"):
        connections.append(await database.connect_writer(name))
        customers.append(await Bookkeeper.open(database, connections[-1], name))
    done = asyncio.Event()

    async def race(pool: Database) -> None:
        cursor = 0
        while not done.is_set():
            await advance(pool.writer, CELL, 3)
            seen = int(await pool.finance.fetchval(f"SELECT cursor::text FROM {CELL}.tailer"))
            assert seen >= cursor
            cursor = seen

    async def work(customer: Bookkeeper) -> None:
        for _ in range(40):
            await customer.charge(line(cost_nanousd=1), line("compute", cost_nanousd=1))

    tailers = [asyncio.create_task(race(pool)) for pool in (database, other, database, other)]
    await asyncio.gather(*(work(customer) for customer in customers))
    done.set()
    await asyncio.gather(*tailers)
    await catch_up(tailer(database))
    sums = await booked(owner)
    assert sums["cost"] == 160
    assert await rolled_up(owner) == sums
    await other.close()
    for connection in connections:
        await connection.close()


@asynccontextmanager
async def blocked_step(database: Database, owner: Connection) -> AsyncIterator[tuple[asyncio.Task, int]]:
    """A step that has taken its entries and waits to write the rollups; and its backend."""
    async with owner.transaction():
        await owner.execute(f"LOCK TABLE {CELL}.rollup_lines IN SHARE ROW EXCLUSIVE MODE")
        step = asyncio.create_task(tailer(database).step(CELL))
        backend = None
        while backend is None:
            backend = await owner.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
        yield step, backend


async def test_a_step_whose_backend_is_killed_moves_nothing(database, writer, owner):
    """Rollups and cursor move together: after a crash in the middle the next step takes all, once."""
    await varied_history(database, writer)
    async with blocked_step(database, owner) as (step, backend):
        await owner.execute("SELECT pg_terminate_backend($1, 5000)", backend)
        with pytest.raises((asyncpg.PostgresError, ConnectionError)):
            await step
    assert not any((await rolled_up(owner)).values())
    assert await owner.fetchval(f"SELECT cursor = '0' FROM {CELL}.tailer")
    await catch_up(tailer(database))
    assert await rolled_up(owner) == await booked(owner)


async def test_a_cancelled_step_moves_all_or_nothing(database, writer, owner):
    """A process that stops in the middle of a step leaves rollups that are exact after the next one."""
    await varied_history(database, writer)
    async with blocked_step(database, owner) as (step, _):
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
    await catch_up(tailer(database))
    assert await rolled_up(owner) == await booked(owner)


class Watched(FinanceMetrics):
    """Metrics that tell when they are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: asyncio.Queue[FinanceFigures] = asyncio.Queue()

    def show(self, figures: FinanceFigures) -> None:
        super().show(figures)
        self.figures.put_nowait(figures)

    async def until_cost(self, nanousd: int) -> None:
        """Waits for figures with so much cost."""
        cost = None
        while cost != nanousd:
            figures = await self.figures.get()
            cost = -sum(amount for key, amount in figures.amounts.items() if key[4] == "cost")


async def test_it_runs_until_cancelled_and_outlives_lost_connections(database, writer, owner):
    """The loop follows the journal; a lost connection costs a round, never an entry."""
    customer = await Bookkeeper.open(database, writer, "acme")
    metrics = Watched()
    running = asyncio.create_task(Tailer(database, [CELL], metrics).run())
    await customer.charge(line(cost_nanousd=2))
    await metrics.until_cost(2)
    await owner.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'acu-ledger'"
    )
    await customer.charge(line(cost_nanousd=3))
    await metrics.until_cost(5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def scans_of(table: str, node) -> list[dict]:
    """The scans of a table in a plan."""
    own = [node] if node.get("Relation Name") == table else []
    return own + [scan for child in node.get("Plans", ()) for scan in scans_of(table, child)]


async def _lengthen(owner: Connection, table: str) -> None:
    """The row of the charge 5,000 times."""
    columns = [
        row["column_name"]
        for row in await owner.fetch(
            """SELECT column_name FROM information_schema.columns
               WHERE table_schema = $1 AND table_name = $2
                 AND column_name NOT IN ('sequence', 'request_id', 'xid')""",
            CELL,
            table,
        )
    ]
    names = ", ".join(columns)
    await owner.execute(
        f"""INSERT INTO {CELL}.{table} (sequence, {names})
            SELECT i, {names} FROM {CELL}.{table}, generate_series(3, 5000) i WHERE sequence = 2"""
    )
    await owner.execute(f"ANALYZE {CELL}.{table}")


async def _plan_of_a_step(owner: Connection) -> dict:
    await owner.execute("SET plan_cache_mode = force_generic_plan")
    await owner.execute(f"PREPARE step AS {STEP.format(cell=CELL)}")
    [[plan]] = await owner.fetch("EXPLAIN (FORMAT json) EXECUTE step(100, '5 s')")
    return json.loads(plan)[0]["Plan"]


async def test_a_step_reads_the_journal_from_its_cursor_on(database, writer, owner):
    """Every scan of the journal is of the index on xid with both bounds: a step costs what is new."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.charge(line(cost_nanousd=1))
    await _lengthen(owner, "entries")
    scans = scans_of("entries", await _plan_of_a_step(owner))
    assert len(scans) == 3
    for scan in scans:
        assert scan["Index Name"] == "entries_xid"
        assert scan["Index Cond"].count("xid >") == scan["Index Cond"].count("xid <") == 1


@pytest.mark.parametrize("is_long", [False, True])
async def test_a_step_looks_its_dollars_up_by_key(database, writer, owner, is_long):
    """Each entry has its own: joined as a whole, the money of all time would be read for one new entry."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.charge(line(cost_nanousd=1))
    if is_long:
        await _lengthen(owner, "entries")
        await _lengthen(owner, "money")
    [scan] = scans_of("money", await _plan_of_a_step(owner))
    assert scan["Node Type"] == "Index Scan"
    for column in ("customer", "sequence", "house_sequence"):
        assert f"({column} = " in scan["Index Cond"]
