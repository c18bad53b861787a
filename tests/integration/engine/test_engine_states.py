"""What prices remember, on a real database: one memory whoever decides, and in one statement with the wallet.

The card's machine bills each run for a minute at least, so of a run's many short parts only the first costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from engine_world import CARD, Config, World, assert_books_hold, entry_of, fingerprint

import pricing
from ledger import books
from ledger.books import RefusalReason
from ledger.engine.command import Committed, UnavailableError
from pricing.rating.pieces import PIECES_MAX
from tests.amounts import CREDIT

SECOND = 10**9
KILLS = 20
MINUTE_CREDITS = 60
COSTS = """
units:
  page: {each: "0.001"}
  mail: {each: "0.001"}
  letter: {each: "0.001"}
  seat: {each: "0.001"}
compute:
  box: {per_hour: "0.1"}
tokens:
  models:
    a/model: {per_million: {input: "3"}}
"""
BOX = """
  - name: boxes
    match: {compute: box}
    price: {per_hour: "3600", minimum: 60s}
  - name: mails
    match: {units: mail}
    price: {each: "2", bundle: {count: quantity, quantity: 10, per: month}}
  - name: letters
    match: {units: letter}
    price:
      tiers: {count: quantity, per: month, volume: [{up_to: 100, price: {each: "1"}}, {price: {each: "0.5"}}]}
  - name: seats
    match: {units: seat}
    price: {pool: seats, ratio: "0.5", then: {each: "3"}}
  - name: tickets
    match: {outcome: ticket}
    price: {outcome: {resolved: "2"}, once: subject}
  - name: answers
    match: {tokens: a/model}
    price:
      tiers:
        count: requests
        per: month
        graduated: [{up_to: 2, price: {cost_plus: {markup: "50%%"}}}, {price: {cost_plus: {markup: "20%%"}}}]
"""
Items = tuple[pricing.Item, ...]
Start = Callable[..., Awaitable[World]]


@pytest.fixture
def config() -> Config:
    """Give the card a machine whose runs have a minimum."""
    return Config(card=CARD + BOX, costs=COSTS)


def box(seconds: int, run_id: str | None = "run") -> Items:
    return (pricing.Compute("box", seconds * SECOND, run_id=run_id),)


def asked(tokens: int) -> Items:
    return (pricing.Tokens("a/model", {"input": tokens}),)


async def charge(
    world: World, customer: str, request_id: str, items: tuple[pricing.Item, ...]
) -> books.Entry:
    command = books.Charge(request_id, fingerprint(request_id), None)
    return entry_of(await world.execute(customer, command, items))


async def states(world: World) -> dict[str, str]:
    rows = await world.database.finance.fetch("SELECT key, state FROM cell_00.states")
    return {row["key"]: row["state"] for row in rows}


async def test_two_engines_bill_one_minimum_once(world: World, start: Start) -> None:
    """Whoever decides knows what the other has billed: of twenty parts of a run only one costs."""
    other = await start()
    acme = await world.customer("acme", 1_000 * CREDIT)
    entries = await asyncio.gather(
        *(
            charge(engine, acme, f"{n}-{side}", box(3))
            for n in range(10)
            for side, engine in enumerate((world, other))
        )
    )
    assert sorted(entry.credits.consumed for entry in entries) == [0] * 19 + [MINUTE_CREDITS * CREDIT]
    last = await charge(other, acme, "last", box(7))
    assert last.credits.consumed == 7 * CREDIT


async def test_a_killed_backend_leaves_both_or_neither(world: World, database_url: str) -> None:
    """However often the connection is lost, the run has lasted as long as its charges say.

    What is answered UNAVAILABLE in between is asked again under its id, as callers do.
    """
    acme = await world.customer("acme", 10_000 * CREDIT)
    admin = await asyncpg.connect(database_url)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'acu cell_00%'"

    async def charge_surely(request_id: str) -> books.Entry:
        while True:
            with suppress(UnavailableError):
                return await charge(world, acme, request_id, box(1))

    work = [asyncio.create_task(charge_surely(f"{n}")) for n in range(100)]
    for _ in range(KILLS):
        await admin.fetch(kill)
        await asyncio.wait(work, timeout=0.1)
    await admin.close()
    charged = sum(entry.credits.consumed for entry in await asyncio.gather(*work))
    assert charged == 100 * CREDIT
    assert str(100 * SECOND) in (await states(world))["run/run"]


def loads_of(world: World) -> list[Any]:
    """What the loader takes from now on, each time that it takes anything."""
    wanting = world.engine._cells["cell_00"]._customers.wanting
    loads: list[Any] = []
    take = wanting.take

    def taken() -> Any:
        members = take()
        loads.extend([members] if members else [])
        return members

    wanting.take = taken  # type: ignore[method-assign]
    return loads


async def test_runs_in_turn_stay_in_memory(world: World) -> None:
    """A load of what one command lacks does not drop what another has brought."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    await charge(world, acme, "a", box(10, "a"))
    await charge(world, acme, "b", box(10, "b"))
    loads = loads_of(world)
    for n in range(3):
        for run in ("a", "b"):
            assert (await charge(world, acme, f"{run}{n}", box(10, run))).credits.consumed == 0
    assert loads == []


async def test_a_customer_out_of_memory_needs_one_load(world: World, start: Start) -> None:
    """Its card is only known with its wallet: what its prices remember comes in the same look."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    await charge(world, acme, "first", box(10))
    later = await start()
    loads = loads_of(later)
    entry = await charge(later, acme, "second", box(10))
    assert entry.credits.consumed == 0
    assert len(loads) == 1


async def test_a_reversal_winds_the_run_back(world: World) -> None:
    """What did not happen has not begun the run: the next part pays the minimum."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    first = await charge(world, acme, "first", box(20))
    second = await charge(world, acme, "second", box(20))
    reverse = books.Reverse("v1", fingerprint("v1"), first.sequence, None, "test")
    await world.execute(acme, reverse)
    assert str(20 * SECOND) in (await states(world))["run/run"]
    reverse = books.Reverse("v2", fingerprint("v2"), second.sequence, None, "test")
    await world.execute(acme, reverse)
    assert await states(world) == {"run/run": ""}
    assert (await charge(world, acme, "again", box(20))).credits.consumed == MINUTE_CREDITS * CREDIT
    await assert_books_hold(world)


def units(meter: str, quantity: int) -> Items:
    return (pricing.Units(meter, quantity * 10**9),)


async def test_two_engines_cannot_give_one_bundle_twice(world: World, start: Start) -> None:
    """Of thirty mails ten are included, whichever engine charges them, and however they meet."""
    other = await start()
    acme = await world.customer("acme", 1_000 * CREDIT)
    entries = await asyncio.gather(
        *(
            charge(engine, acme, f"{n}-{side}", units("mail", 1))
            for n in range(15)
            for side, engine in enumerate((world, other))
        )
    )
    assert sum(entry.credits.consumed for entry in entries) == 20 * 2 * CREDIT
    assert [entry.credits.consumed for entry in sorted(entries, key=lambda entry: entry.sequence)][:10] == [
        0
    ] * 10
    await assert_books_hold(world)


async def test_two_engines_cannot_charge_one_subject_twice(world: World, start: Start) -> None:
    """One ticket is charged once; reversed, it may be charged again."""
    other = await start()
    acme = await world.customer("acme", 1_000 * CREDIT)
    ticket = (pricing.Outcome("ticket", pricing.Result.RESOLVED, "t-1"),)
    entries = await asyncio.gather(
        *(
            charge(engine, acme, f"{n}-{side}", ticket)
            for n in range(5)
            for side, engine in enumerate((world, other))
        )
    )
    [charged] = [entry for entry in entries if entry.credits.consumed]
    assert charged.credits.consumed == 2 * CREDIT
    reverse = books.Reverse("v", fingerprint("v"), charged.sequence, None, "test")
    await other.execute(acme, reverse)
    assert (await charge(world, acme, "again", ticket)).credits.consumed == 2 * CREDIT


async def test_a_reversal_gives_the_bundle_back(world: World, start: Start) -> None:
    """What did not happen has not used the bundle, in whichever engine: 12 paid are 6 that others pay for."""
    other = await start()
    acme = await world.customer("acme", 1_000 * CREDIT)
    first = await charge(world, acme, "first", units("mail", 8))
    assert (await charge(other, acme, "second", units("mail", 8))).credits.consumed == 6 * 2 * CREDIT
    reverse = books.Reverse("v", fingerprint("v"), first.sequence, None, "test")
    await world.execute(acme, reverse)
    assert (await charge(other, acme, "third", units("mail", 3))).credits.consumed == 0
    assert (await charge(other, acme, "fourth", units("mail", 6))).credits.consumed == 2 * CREDIT


async def test_a_months_surplus_goes_back_by_itself(world: World, start: Start, database_url: str) -> None:
    """100 letters at 1, then 50 at 0.5 for all: 25 are too much, twice that for who pays twice the price."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    double = books.UpdateCustomer("m", fingerprint("m"), multiplier_nanos=2 * 10**9)
    await world.execute(acme, double)
    for n, (letters, credits_paid) in enumerate(((100, 200), (50, 0))):
        entry = await charge(world, acme, f"l{n}", units("letter", letters))
        assert entry.credits.consumed == credits_paid * CREDIT
    [row] = await world.database.finance.fetch(
        "SELECT s.closes_at > now() + interval '27 d' AS late, s.closes_at = w.next_due_at AS due,"
        " s.surplus, s.collected FROM cell_00.states s JOIN cell_00.wallets w USING (customer)"
    )
    assert tuple(row) == (True, True, 50 * CREDIT, 200 * CREDIT)
    await world.engine.drain()
    admin = await asyncpg.connect(database_url)
    await admin.execute("UPDATE cell_00.wallets SET next_due_at = last_instant")
    await admin.execute("UPDATE cell_00.states s SET closes_at = w.last_instant FROM cell_00.wallets w")
    await admin.close()
    later = await start()
    await later.engine.sweepers[0].step()
    [closed] = await later.database.finance.fetch(
        "SELECT consumed, available FROM cell_00.entries WHERE kind = 'PERIOD_CLOSED'"
    )
    assert tuple(closed) == (-50 * CREDIT, 50 * CREDIT)
    await assert_books_hold(later)


async def test_what_a_period_did_not_collect_never_leaves_its_bound(world: World) -> None:
    """Twelve charges whose prices add up to more than 63 bits are booked, and so is what comes after them."""
    acme = await world.customer("acme", 1)
    for n in range(12):
        command = books.Charge(f"l{n}", fingerprint(f"l{n}"), None, already_used=True)
        entry = entry_of(await world.execute(acme, command, units("letter", 1_800_000_000_000)))
        assert entry.uncollected_micros >= 9 * 10**17 - 1
    [row] = await world.database.finance.fetch("SELECT uncollected FROM cell_00.states")
    assert row["uncollected"] == books.MAX_AMOUNT
    await assert_books_hold(world)


async def test_a_reversal_in_a_closed_period_is_settled_at_once(
    world: World, start: Start, database_url: str
) -> None:
    """8 of a bundle of 10, then 8 for 12 credits: without the first these 12 go back, closed or not."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    first = await charge(world, acme, "first", units("mail", 8))
    assert (await charge(world, acme, "second", units("mail", 8))).credits.consumed == 12 * CREDIT
    await world.engine.drain()
    admin = await asyncpg.connect(database_url)
    await admin.execute("UPDATE cell_00.states s SET closes_at = w.last_instant FROM cell_00.wallets w")
    await admin.close()
    later = await start()
    await later.execute(acme, books.Reverse("v", fingerprint("v"), first.sequence, None, "test"))
    # What is due is written ahead of whatever comes next.
    entry_of(await later.reserve(acme, "hold", CREDIT))
    [closed] = await later.database.finance.fetch(
        "SELECT consumed, available FROM cell_00.entries WHERE kind = 'PERIOD_CLOSED'"
    )
    assert tuple(closed) == (-12 * CREDIT, 12 * CREDIT)
    [state] = await later.database.finance.fetch("SELECT closes_at, surplus, collected FROM cell_00.states")
    assert tuple(state) == (None, 0, 0)
    await assert_books_hold(later)


async def test_what_refunds_left_nothing_of_is_set_off_in_a_closed_period(
    world: World, start: Start, database_url: str
) -> None:
    """100 letters for 100 credits, 50 for 0, the 100 refunded: of a surplus of 25 nothing can go back.

    Without the first, what is left is 50 letters at 1: 50 credits, not 25 more.
    """
    acme = await world.customer("acme", 1_000 * CREDIT)
    first = await charge(world, acme, "first", units("letter", 100))
    assert (await charge(world, acme, "second", units("letter", 50))).credits.consumed == 0
    refund = books.Refund("r", fingerprint("r"), first.sequence, None, "goodwill")
    assert entry_of(await world.execute(acme, refund)).credits.consumed == -100 * CREDIT
    await world.engine.drain()
    admin = await asyncpg.connect(database_url)
    await admin.execute("UPDATE cell_00.wallets SET next_due_at = last_instant")
    await admin.execute("UPDATE cell_00.states s SET closes_at = w.last_instant FROM cell_00.wallets w")
    await admin.close()
    later = await start()
    await later.engine.sweepers[0].step()
    await assert_books_hold(later)
    [state] = await later.database.finance.fetch("SELECT closes_at, surplus, collected FROM cell_00.states")
    assert tuple(state) == (None, 25 * CREDIT, 0)
    await later.execute(acme, books.Reverse("v", fingerprint("v"), first.sequence, None, "test"))
    # What is due is written ahead of whatever comes next.
    entry_of(await later.reserve(acme, "hold", CREDIT))
    [state] = await later.database.finance.fetch("SELECT closes_at, surplus, collected FROM cell_00.states")
    assert tuple(state) == (None, 0, 50 * CREDIT)
    await assert_books_hold(later)


async def test_a_pool_is_drawn_on_while_it_lasts(world: World, start: Start) -> None:
    """A seat takes 1.5 of the pool's credits, half of what it costs without; lines tell both amounts."""
    other = await start()
    acme = await world.customer("acme", 100 * CREDIT)
    pool = books.IssueGrant(
        "p", fingerprint("p"), 6 * CREDIT, books.GrantKind.PAID, 12 * 10**9, scope="pool:seats"
    )
    await world.execute(acme, pool)
    entries = [
        await charge(engine, acme, f"s{n}", units("seat", 3)) for n, engine in enumerate((world, other))
    ]
    reported = [
        (line.credits_micros, line.pool, line.pool_micros) for entry in entries for line in entry.lines
    ]
    assert reported == [(4_500_000, "seats", 4_500_000), (7_500_000, "seats", 1_500_000)]
    lots = await world.database.finance.fetch("SELECT scope, remaining FROM cell_00.lots ORDER BY sequence")
    assert [tuple(lot) for lot in lots] == [(None, 94 * CREDIT), ("pool:seats", 0)]
    await assert_books_hold(world)


async def surplus(world: World, url: str, closes_in: timedelta) -> None:
    """Make the run a counter of a period, of which 10 of the 60 credits charged are to go back.

    It closes so long after the customer's last instant: before it, it would have been closed.
    """
    admin = await asyncpg.connect(url)
    await admin.execute(
        """UPDATE cell_00.states s SET closes_at = e.booked_at + $1, surplus = 10000000, collected = 60000000,
           revenue_nanousd = 600000000, card = e.card, card_version = e.card_version,
           cost_version = e.cost_version, credit_price_nanousd = e.credit_price_nanousd,
           multiplier_nanos = e.multiplier_nanos
           FROM cell_00.entries e WHERE e.kind = 'CHARGE'""",
        closes_in,
    )
    await admin.execute("UPDATE cell_00.wallets SET next_due_at = last_instant + $1", closes_in)
    await admin.close()


@pytest.mark.parametrize("woken_by", ["the sweeper", "a command"])
async def test_a_period_closes_by_the_clock(
    world: World, start: Start, database_url: str, woken_by: str
) -> None:
    """Credits and revenue go back ahead of the next command, or by the sweeper, and once."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    await charge(world, acme, "c", box(10))
    await world.engine.drain()
    await surplus(world, database_url, timedelta(0))
    later = await start()
    if woken_by == "the sweeper":
        await later.engine.sweepers[0].step()
        await later.engine.sweepers[0].step()
    else:
        await later.reserve(acme, "r", CREDIT)
    rows = await later.database.finance.fetch(
        "SELECT kind, consumed, revenue, effective_at < e.booked_at AS late, card FROM cell_00.entries e"
        " JOIN cell_00.money USING (customer, sequence) WHERE kind = 'PERIOD_CLOSED'"
    )
    assert [tuple(row) for row in rows] == [("PERIOD_CLOSED", -10 * CREDIT, -100_000_000, True, "basic")]
    [state] = await later.database.finance.fetch("SELECT closes_at, surplus, collected FROM cell_00.states")
    assert tuple(state) == (None, 0, 50 * CREDIT)
    await assert_books_hold(later)


async def test_a_period_that_is_still_open_waits(world: World, start: Start, database_url: str) -> None:
    """The wallet is due when the period closes, and no sooner."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    await charge(world, acme, "c", box(10))
    await world.engine.drain()
    await surplus(world, database_url, timedelta(hours=1))
    later = await start()
    await later.reserve(acme, "r", CREDIT, "ttl")
    kinds = await later.database.finance.fetch(
        "SELECT kind FROM cell_00.entries WHERE kind = 'PERIOD_CLOSED'"
    )
    assert kinds == []
    await assert_books_hold(later)


async def test_a_reversal_that_cannot_be_exact_is_refused(world: World) -> None:
    """Behind two requests of the first step come 140 of other costs: those that are kept apart move there."""
    acme = await world.customer("acme", 10**9 * CREDIT)
    first = [await charge(world, acme, f"first {n}", asked(10**6)) for n in range(2)]
    rest = [await charge(world, acme, f"rest {n}", asked(10**5 * n)) for n in range(1, 141)]
    moving = [*first, *rest]

    async def reverse(entry: books.Entry) -> Committed | books.Refusal:
        name = f"undo {entry.sequence}"
        return await world.execute(acme, books.Reverse(name, fingerprint(name), entry.sequence, None, "test"))

    undone = 0
    while isinstance(await reverse(moving[undone]), Committed):
        undone += 1
    assert undone == PIECES_MAX - 2
    assert await reverse(moving[undone]) == books.Refusal(RefusalReason.REVERSAL_NOT_EXACT)
    assert isinstance(await reverse(moving[-1]), Committed)
    refund = books.Refund("refund", fingerprint("refund"), moving[undone].sequence, None, "instead")
    assert entry_of(await world.execute(acme, refund)).charged_micros == -moving[undone].charged_micros
    await assert_books_hold(world)
