"""Budgets on a real database: counted with the wallet, so no race of servers overruns one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import asyncpg
import pytest
from engine_world import Config, World, assert_books_hold, entry_of, fingerprint

from ledger import books
from ledger.books import RefusalReason
from ledger.books.limits import BUDGET_VALUES_MAX
from ledger.engine.command import Committed, UnavailableError, all_done
from tests.amounts import CREDIT
from tests.waiting import until

OLD = "2026-01-05T09.00"
"""The hour of counters that are made older than they are."""
TRIES = 10_000
AT_ONCE = 250
PLANS = """
plans:
  standard: {budgets: {all: {limit: "1000.000001", window: TOTAL}}}
  agents:
    budgets:
      team: {limit: "100", window: TOTAL}
      each: {by: [agent], limit: "0.5", window: TOTAL}
  hourly:
    over_capture: ALLOW_IF_AVAILABLE
    budgets: {each: {by: [agent], limit: "5", window: HOUR}, all: {limit: "50", window: TOTAL}}
"""
Start = Callable[..., Awaitable[World]]
Outcome = Committed | books.Refusal


@pytest.fixture
def config() -> Config:
    """Give the customers' plans budgets."""
    return Config(plans=PLANS)


def reserve(request_id: str, micros: int, agent: str = "", *, up_to: bool = False) -> books.Reserve:
    fill = books.Fill.UP_TO if up_to else books.Fill.ALL_OR_NOTHING
    labels = {"agent": agent} if agent else {}
    return books.Reserve(request_id, fingerprint(request_id), micros, fill, labels=labels)


async def tried(world: World, customer: str, commands: Sequence[books.Command]) -> list[Outcome]:
    """What comes of commands, many at once; what is left unsettled is asked again, as callers do."""
    outcomes: list[Outcome] = []
    left = list(commands)
    while left:
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        asked = [world.engine.begin(customer, command, None) for command in some]
        await all_done(asked)
        for command, pending in zip(some, asked, strict=True):
            try:
                outcomes.append(pending.result())
            except UnavailableError:
                left.append(command)
    return outcomes


def taken(outcomes: Sequence[Outcome]) -> list[books.Entry]:
    """The entries of those that had an effect; the others are refused for the budget."""
    refused = {outcome.reason for outcome in outcomes if isinstance(outcome, books.Refusal)}
    assert refused <= {RefusalReason.BUDGET_EXCEEDED}
    return [outcome.entry for outcome in outcomes if isinstance(outcome, Committed)]


async def counts(world: World) -> dict[str, int]:
    """What is stored of each budget, of all its counters together."""
    rows = await world.database.finance.fetch(
        "SELECT split_part(key, ':', 2) AS name, sum(state::bigint)::bigint AS used FROM cell_00.states"
        " WHERE key LIKE 'budget:%' GROUP BY 1"
    )
    return {row["name"]: row["used"] for row in rows}


async def test_four_servers_never_overrun_a_budget(world: World, start: Start) -> None:
    """Of 10,000 tries that race as many are taken as the budget has room for, to the micro-credit."""
    servers = [world, *[await start() for _ in range(3)]]
    acme = await world.customer("acme", 1_000_000 * CREDIT)
    lines = [[reserve(f"{side}-{n}", CREDIT) for n in range(TRIES // 4)] for side in range(4)]
    raced = await asyncio.gather(
        *(tried(server, acme, line) for server, line in zip(servers, lines, strict=True))
    )
    held = [entry.credits.held for outcomes in raced for entry in taken(outcomes)]
    assert held == [CREDIT] * 1_000
    rest = [await tried(world, acme, [reserve(name, CREDIT, up_to=True)]) for name in ("last", "beyond")]
    assert [[entry.credits.held for entry in taken(outcomes)] for outcomes in rest] == [[1], []]
    assert await counts(world) == {"all": 1_000 * CREDIT + 1}
    await assert_books_hold(world)


async def test_a_runaway_agent_is_stopped_at_its_limit(world: World, start: Start) -> None:
    """However many reserves it makes, whatever server takes them; and other agents go on."""
    other = await start()
    acme = await world.customer("acme", 1_000_000 * CREDIT, plan="agents")
    asked = [reserve(f"{n}", 700 + n, "runaway", up_to=True) for n in range(2_000)]
    raced = await asyncio.gather(tried(world, acme, asked[::2]), tried(other, acme, asked[1::2]))
    held = [entry.credits.held for outcomes in raced for entry in taken(outcomes)]
    assert sum(held) == CREDIT // 2
    [good] = await tried(other, acme, [reserve("good", CREDIT // 4, "good")])
    assert isinstance(good, Committed)
    assert await counts(world) == {"each": 3 * CREDIT // 4, "team": 3 * CREDIT // 4}


async def test_no_race_begins_more_counters_than_a_window_has(world: World, start: Start) -> None:
    """Work of as many agents as there is room for is taken; that of another is refused, on every server."""
    other = await start()
    acme = await world.customer("acme", 1_000_000 * CREDIT, plan="agents")
    await world.database.writer.execute(
        "INSERT INTO cell_00.states (customer, key, state, surplus, collected, uncollected, revenue_nanousd)"
        " SELECT customer, 'budget_values:each:TOTAL:', $1, 0, 0, 0, 0 FROM cell_00.wallets",
        str(BUDGET_VALUES_MAX - 3),
    )
    asked = [reserve(f"{n}", 1, f"agent-{n}") for n in range(20)]
    raced = await asyncio.gather(tried(world, acme, asked[::2]), tried(other, acme, asked[1::2]))
    begun = [entry for outcomes in raced for entry in taken(outcomes)]
    assert len(begun) == 3
    for server, entry in zip((world, other), begun, strict=False):
        again = reserve(f"again-{entry.sequence}", 1, entry.labels["agent"])
        assert len(taken(await tried(server, acme, [again]))) == 1
    assert await counts(world) == {"each": 5, "team": 5}
    await assert_books_hold(world)


async def test_what_one_server_counted_another_gives_back(world: World, start: Start) -> None:
    """Parts, releases, extensions, reversals: the count is what is held or charged."""
    other = await start()
    acme = await world.customer("acme", 1_000 * CREDIT, plan="agents")
    asked = [reserve(f"{n}", CREDIT // 10, "a") for n in range(5)]
    committed, released, reversed_, longer, kept = taken(await tried(world, acme, asked))
    more_time = books.Extend("ttl", fingerprint("ttl"), longer.sequence, 0, timedelta(hours=1))
    charge = books.Charge("charge", fingerprint("charge"), CREDIT, labels={"agent": "b"}, already_used=True)
    await tried(other, acme, [more_time])
    [charged] = taken(await tried(other, acme, [charge]))
    assert (charged.charged_micros, charged.uncollected_micros) == (CREDIT // 2, CREDIT // 2)
    done = [
        books.Commit("part", fingerprint("part"), committed.sequence, 30_000, final=True),
        books.Commit("whole", fingerprint("whole"), reversed_.sequence, 100_000, final=True),
        books.Release("release", fingerprint("release"), released.sequence),
        books.Extend("more", fingerprint("more"), kept.sequence, 100_000),
    ]
    assert len(taken(await tried(other, acme, done))) == len(done)
    assert await counts(world) == {"each": 930_000, "team": 930_000}
    undone = [
        books.Reverse("undo", fingerprint("undo"), None, reversed_.sequence, "it did not happen"),
        books.Reverse("undo charge", fingerprint("undo charge"), charged.sequence, None, "nor did this"),
    ]
    assert len(taken(await tried(world, acme, undone))) == len(undone)
    assert await counts(world) == {"each": 330_000, "team": 330_000}
    await assert_books_hold(world)


async def test_a_hold_that_expires_is_counted_no_more(world: World, start: Start) -> None:
    """By whichever server books that."""
    other = await start()
    acme = await world.customer("acme", 1_000 * CREDIT, plan="agents")
    command = books.Reserve(
        "brief", fingerprint("brief"), CREDIT // 2, ttl=timedelta(seconds=1), labels={"agent": "a"}
    )
    assert len(taken(await tried(world, acme, [command]))) == 1
    deadline = asyncio.get_running_loop().time() + 60
    for n in range(10_000):
        if taken(await tried(other, acme, [reserve(f"again-{n}", CREDIT // 2, "a")])):
            break
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    assert await counts(world) == {"each": CREDIT // 2, "team": CREDIT // 2}


async def test_counters_are_swept_two_days_after_their_window(
    world: World, start: Start, owner: asyncpg.Connection
) -> None:
    """Whichever server comes to it. The rest of the window's work counts nowhere, and nothing refuses it.

    Others, of windows that ended a little later or never do, are left.
    """
    customers = [await world.customer(name, 100 * CREDIT, plan="hourly") for name in ("acme", "later")]
    held = [entry_of(await world.execute(name, reserve("r", CREDIT, "a1"))) for name in customers]
    undone = entry_of(await world.execute("acme", reserve("undone", CREDIT, "a2")))
    entry_of(await world.commit("acme", "paid", undone.sequence, 1))
    await make_old(owner, "acme", timedelta(hours=49))
    await make_old(owner, "later", timedelta(hours=47))
    other = await start()
    await until(lambda: is_swept(world))
    stored = {("acme", "all"), ("later", "all"), ("later", "each")}
    assert await counters_of_customers(world) == stored
    await assert_books_hold(world)
    reverse = books.Reverse("gone", fingerprint("gone"), None, undone.sequence, "")
    entry_of(await other.execute("acme", reverse))
    parts = [
        entry_of(await other.commit(name, "more", entry.sequence, 7))
        for name, entry in zip(customers, held, strict=True)
    ]
    assert [part.uncollected_micros for part in parts] == [0, 2 * CREDIT]
    assert await counters_of_customers(world) == stored
    await assert_books_hold(world)


async def make_old(owner: asyncpg.Connection, customer_id: str, ago: timedelta) -> None:
    """Lets the customer's counters of an hour be of one of January, which ended so long ago.

    Each is of another agent: were they of two hours, they would still be two.
    """
    for table, column, kind in (("states", "key", "text"), ("budgeted", "counters", "json")):
        await owner.execute(
            f"UPDATE cell_00.{table} t"
            f" SET {column} = regexp_replace({column}::text, '(HOUR:)[-0-9T.]+', '\\1{OLD}', 'g')::{kind}"
            " FROM ledger.customers c WHERE c.customer = t.customer AND c.customer_id = $1"
            f" AND {column}::text LIKE '%budget:each:%'",
            customer_id,
        )
    await owner.execute(
        "UPDATE cell_00.states s SET closes_at = now() - $2::interval FROM ledger.customers c"
        " WHERE c.customer = s.customer AND c.customer_id = $1 AND s.key LIKE '%:HOUR:%'",
        customer_id,
        ago,
    )


async def counters_of_customers(world: World) -> set[tuple[str, str]]:
    """The customers' counters that are stored, by their budgets."""
    rows = await world.database.finance.fetch(
        "SELECT c.customer_id, split_part(s.key, ':', 2) AS name FROM cell_00.states s"
        " JOIN ledger.customers c USING (customer) WHERE s.key LIKE 'budget:%'"
    )
    return {(row["customer_id"], row["name"]) for row in rows}


async def is_swept(world: World) -> bool:
    """Whether nothing of acme's hour is stored: neither the counter nor how many there are."""
    return not await world.database.finance.fetchval(
        "SELECT count(*) FROM cell_00.states s JOIN ledger.customers c USING (customer)"
        " WHERE c.customer_id = 'acme' AND s.key LIKE '%:HOUR:%'"
    )
