"""The books watch themselves: what was tampered with is found, its customer stopped, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from engine_world import World, fingerprint, pages
from structlog.testing import capture_logs

from ledger import books
from ledger.engine.command import Committed
from ledger.followers.watch import Watch
from ledger.metrics.operations import BooksFigures, OperationsMetrics
from ledger.store.directory import due_customers
from ledger.store.finance.findings import DESCRIPTION_MAX, list_findings
from ledger.store.postgres.database import Connection
from ledger.store.postgres.place import verification_due
from tests.amounts import CREDIT

CELL = "cell_00"
STOPPED = books.RefusalReason.BOOKS_DO_NOT_VERIFY
Start = Callable[..., Awaitable[World]]

OF_ACME = "customer = (SELECT customer FROM ledger.customers WHERE customer_id = 'acme')"
A_CHARGE = f"(SELECT max(sequence) FROM {CELL}.entries WHERE kind = 'CHARGE' AND {OF_ACME})"

TAMPERED = {
    "a balance": "wallets SET available = available + 1, issued = issued - 1",
    "what was consumed": "wallets SET consumed = consumed - 1, available = available + 1",
    "an entry": "entries SET consumed = consumed - 1, available = available + 1 WHERE sequence = {charge}",
    "an entry's amount": "entries SET priced = priced - 1 WHERE sequence = {charge}",
    "an entry that is gone": "DELETE entries WHERE sequence = {charge}",
    "a lot": "lots SET remaining = remaining + 1",
    "a lot's value": "lot_values SET value_nanousd = value_nanousd - 1",
    "a pin": "reservations SET pins = jsonb_set(pins::jsonb, '{0,2}', '1')::json WHERE state = 'OPEN'",
    "a pin that is none": "reservations SET pins = '[[1, 1]]' WHERE state = 'OPEN'",
    "pins that are no list": "reservations SET pins = '1' WHERE state = 'OPEN'",
    "a hold": "reservations SET state = 'RELEASED' WHERE state = 'OPEN'",
    "a dollar line": (
        "money SET lines = jsonb_set(lines::jsonb, '{0,cost_nanousd}', '1')::json WHERE sequence = {charge}"
    ),
    "a dollar": (
        "money SET cost = cost - 1, provider_payable = provider_payable + 1 WHERE sequence = {charge}"
    ),
    "a debt": "debts SET unbilled_nanousd = -1",
    "a remainder": """wallets SET tallies = '{"basic": ["1/3", 0]}'""",
    "remainders that are none": """wallets SET tallies = '{"basic": ["1/0", 0]}'""",
    "a wallet that is gone": "DELETE wallets",
    "a wallet that is another's": "wallets SET customer = -customer",
}
"""What a superuser does to acme's rows."""


async def tamper(owner: Connection, damage: str) -> None:
    """Does it, and fails if there was nothing to do it to."""
    what, _, where = damage.replace("{charge}", A_CHARGE).partition(" WHERE ")
    where = f"{where} AND {OF_ACME}" if where else OF_ACME
    verb = f"DELETE FROM {CELL}.{what.removeprefix('DELETE ')}"
    if not what.startswith("DELETE"):
        verb = f"UPDATE {CELL}.{what}"
    status = await owner.execute(f"{verb} WHERE {where}")
    assert not status.endswith(" 0"), "something was damaged"


async def busy_customer(world: World, customer_id: str) -> None:
    """A customer with a grant, a charge, a debt that was paid, and an open hold."""
    await world.customer(customer_id, 100 * CREDIT)
    await charge(world, customer_id, "a charge")
    held = await world.reserve(customer_id, "a hold", 5 * CREDIT)
    assert isinstance(held, Committed)
    done = await world.reserve(customer_id, "another", 5 * CREDIT)
    assert isinstance(done, Committed)
    await world.commit(customer_id, "its commit", done.entry.sequence, 7)


async def charge(world: World, customer_id: str, request_id: str) -> Committed | books.Refusal:
    command = books.Charge(request_id, fingerprint("charge"), None)
    return await world.execute(customer_id, command, pages(3))


def watch_of(world: World, **limits: Any) -> Watch:
    return Watch(world.database, (CELL,), OperationsMetrics(), **limits)


async def finding_of(owner: Connection) -> asyncpg.Record:
    [found] = await owner.fetch(f"SELECT * FROM {CELL}.findings WHERE ended_at IS NULL AND part = 'BOOKS'")
    return found


@pytest.mark.parametrize("damage", TAMPERED.values(), ids=TAMPERED)
async def test_what_is_tampered_with_is_found_and_its_customer_stopped(
    start: Start, owner: Connection, damage: str
) -> None:
    """On every server, whether it has the wallet in memory or not; another customer goes on."""
    worlds = [await start(), await start()]
    for customer_id in ("acme", "other"):
        await busy_customer(worlds[0], customer_id)
    await owner.execute(
        f"INSERT INTO {CELL}.debts SELECT customer, 0 FROM {CELL}.wallets ON CONFLICT DO NOTHING"
    )
    watch = watch_of(worlds[1])
    assert await watch.verify_all() == 0
    await tamper(owner, damage)
    assert await watch.verify_all() == 1
    finding = await finding_of(owner)
    for world in (*worlds, await start()):
        refusal = await charge(world, "acme", "after it")
        assert refusal == books.Refusal(STOPPED, {"finding_id": finding["finding"]})
        assert isinstance(await charge(world, "other", f"{id(world)}"), Committed)
    assert 0 < len(finding["description"]) <= DESCRIPTION_MAX
    [listed], there_are_more = await list_findings(worlds[0].database.finance, [CELL], 9)
    assert not there_are_more
    assert (listed.finding, listed.customer_id, listed.stops) == (finding["finding"], "acme", True)
    assert (listed.invariants, listed.found_at) == (finding["invariants"], finding["found_at"])


async def test_a_verification_that_keeps_a_server_from_its_start_tells_how_far_it_is(world: World) -> None:
    """In the log: how many customers are verified, of how many; at the start, and then every few seconds."""
    for number in range(5):
        await busy_customer(world, f"customer {number}")
    with capture_logs() as logs:
        assert await watch_of(world, slice_customers_max=2, report_seconds=0.0).verify_all() == 0
    reported = [(line["verified"], line["customers"]) for line in logs if line["event"] == "books.verifying"]
    assert reported == [(0, 5), (2, 5), (4, 5)]


async def test_whoever_waits_for_a_verification_tells_so(database_url: str) -> None:
    """In the log, and goes on once it is over: of several servers one verifies."""
    with capture_logs() as logs:
        async with verification_due(database_url) as is_due, asyncio.timeout(60):
            waiting = asyncio.create_task(_is_due(database_url))
            while not logs:  # noqa: ASYNC110 -- the log has no event to wait for
                await asyncio.sleep(0)
    assert is_due
    assert not await waiting
    assert [line["event"] for line in logs] == ["books.verification_awaited"]


async def _is_due(url: str) -> bool:
    async with verification_due(url) as is_due:
        return is_due


async def test_a_repeat_of_what_was_booked_is_answered_from_its_entry(
    world: World, owner: Connection
) -> None:
    """A request that had an effect is answered by it, stopped or not."""
    await busy_customer(world, "acme")
    await tamper(owner, TAMPERED["a lot's value"])
    await watch_of(world).verify_all()
    assert isinstance(await charge(world, "acme", "new"), books.Refusal)
    repeat = await charge(world, "acme", "a charge")
    assert isinstance(repeat, Committed)
    assert repeat.replayed


async def test_a_customer_that_verifies_again_goes_on(world: World, owner: Connection) -> None:
    """Once it is mended, without a restart; a commit that was refused is booked when it is sent again."""
    await busy_customer(world, "acme")
    held = await world.reserve("acme", "a run", CREDIT)
    assert isinstance(held, Committed)
    await tamper(owner, "lot_values SET value_nanousd = value_nanousd - 1")
    watch = watch_of(world)
    await watch.verify_all()
    refused = await world.commit("acme", "its work", held.entry.sequence, 2)
    assert isinstance(refused, books.Refusal)
    await tamper(owner, "lot_values SET value_nanousd = value_nanousd + 1")
    assert await watch.verify_all() == 0
    booked = await world.commit("acme", "its work", held.entry.sequence, 2)
    assert isinstance(booked, Committed)
    assert not booked.replayed
    assert await owner.fetchval(f"SELECT count(ended_at) FROM {CELL}.findings") == 1


async def test_a_finding_that_ops_let_pass_stops_nobody(world: World, owner: Connection) -> None:
    """It stands, and its customer goes on; what is broken beyond it stops the customer anew."""
    await busy_customer(world, "acme")
    await tamper(owner, TAMPERED["a lot's value"])
    watch = watch_of(world)
    await watch.verify_all()
    await owner.execute(f"UPDATE {CELL}.findings SET stops = false")
    assert isinstance(await charge(world, "acme", "let through"), Committed)
    assert await watch.verify_all() == 1
    assert isinstance(await charge(world, "acme", "and again"), Committed)
    await tamper(owner, TAMPERED["a balance"])
    assert await watch.verify_all() == 1
    assert isinstance(await charge(world, "acme", "no more"), books.Refusal)


async def test_nothing_is_due_for_a_stopped_customer(world: World, owner: Connection) -> None:
    """Its holds expire when it goes on: the clock writes upon broken books as little as callers do."""
    await busy_customer(world, "acme")
    await tamper(owner, TAMPERED["a lot's value"])
    await watch_of(world).verify_all()
    await owner.execute(f"UPDATE {CELL}.wallets SET next_due_at = now() - interval '1 hour'")
    before = await owner.fetchval(f"SELECT count(*) FROM {CELL}.entries")
    assert await due_customers(world.database.writer, CELL, world.clock.now(), 10) == []
    for sweeper in world.engine.sweepers:
        assert await sweeper.step() == 0
    assert isinstance(await charge(world, "acme", "woken"), books.Refusal)
    assert await owner.fetchval(f"SELECT count(*) FROM {CELL}.entries") == before


async def test_a_rollup_is_found_and_stops_nobody(world: World, owner: Connection) -> None:
    """Rollups are made of the journal, and can be made again: the customer's books stand."""
    await busy_customer(world, "acme")
    customer = await owner.fetchval("SELECT customer FROM ledger.customers")
    await owner.execute(
        f"INSERT INTO {CELL}.rollup_lines"
        " VALUES (now(), $1, 'p', '', '', '', '', '', 1, 0, 0, 1, 1, 1, 0, 0)",
        customer,
    )
    metrics = OperationsMetrics()
    watch = Watch(world.database, (CELL,), metrics)
    assert await watch.verify_all() == 1
    assert isinstance(await charge(world, "acme", "goes on"), Committed)
    assert (await watch.show())[:2] == (1, 0)


@pytest.mark.parametrize(
    "damage",
    [
        TAMPERED["remainders that are none"],
        TAMPERED["pins that are no list"],
        "reservations SET card_version = 999 WHERE state = 'OPEN'",
    ],
)
async def test_rows_that_cannot_be_read_hold_up_nobody_else(
    world: World, owner: Connection, damage: str
) -> None:
    """Before they are found too: of one load's customers the others go on."""
    for customer_id in ("acme", "other"):
        await busy_customer(world, customer_id)
    world.engine._forget(world.clock.now())
    await tamper(owner, damage)
    held = await owner.fetchval(
        f"SELECT sequence FROM {CELL}.reservations WHERE state = 'OPEN' AND {OF_ACME}"
    )
    broken, other = await asyncio.gather(
        world.commit("acme", "b", held, 1), charge(world, "other", "b"), return_exceptions=True
    )
    assert isinstance(broken, Exception)
    assert isinstance(other, Committed)


async def test_all_are_verified_in_turn_and_who_changed_at_once(world: World, owner: Connection) -> None:
    """A round passes every customer, by slices; one watch is at it at a time, and shows how far it is."""
    for n in range(5):
        await world.customer(f"customer-{n}", CREDIT)
    first, second = (watch_of(world, slice_customers_max=2) for _ in range(2))
    began = await owner.fetchval("SELECT now()")
    passed = []
    for _ in range(12):
        assert await first.step() >= 0
        assert await second.step() == 0, "it is the first one's turn"
        passed.append(await first.show())
    assert {(0, 0, 2, 5), (0, 0, 4, 5), (0, 0, 5, 5)} <= {figures[:4] for figures in passed}
    assert passed[-1].age_seconds < passed[0].age_seconds + 60
    assert await owner.fetchval(f"SELECT verified_since > $1 FROM {CELL}.watch", began), "a whole round later"
    await owner.execute(f"UPDATE {CELL}.watch SET leased_until = now() - interval '1 second'")
    assert await second.step() > 0, "a server that is gone is not missed"


async def test_who_changed_is_verified_before_its_turn(
    world: World, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many customers there are in between."""
    for n in range(3):
        await world.customer(f"customer-{n}", CREDIT)
    await busy_customer(world, "acme")
    watch = watch_of(world)
    [cell] = watch._cells

    async def none(passed: int) -> list[int]:
        return []

    # As if a round took for ever: no number of customers that a test can make would.
    monkeypatch.setattr(cell, "_next", none)
    await watch.step()
    await charge(world, "acme", "a change")
    await tamper(owner, TAMPERED["a lot's value"])
    while not await owner.fetchval(f"SELECT count(*) FROM {CELL}.findings"):
        await watch.step()
    assert isinstance(await charge(world, "acme", "no more"), books.Refusal)


async def test_each_slice_is_paid_for_with_rest(world: World) -> None:
    """Verification has a share of the database's time, whatever there is to verify."""
    await busy_customer(world, "acme")
    watch = watch_of(world)
    [cell] = watch._cells
    for _ in range(3):
        assert await watch.step() == pytest.approx(49 * cell._slice_seconds)


async def test_a_slice_that_fails_each_time_holds_up_no_change(world: World, owner: Connection) -> None:
    """Where the turn of all cannot go on, who changed is verified all the same."""
    for customer_id in ("acme", "beta", "gamma"):
        await busy_customer(world, customer_id)
    watch = watch_of(world, slice_customers_max=1)
    await watch.step()
    await charge(world, "acme", "the turn of all has had less time than changes")
    await watch.step()
    await owner.execute(f"REVOKE SELECT ON {CELL}.rollup_lines FROM acu_finance")
    await charge(world, "acme", "a change")
    await tamper(owner, TAMPERED["a lot's value"])
    for _ in range(10):
        with suppress(asyncpg.InsufficientPrivilegeError):
            await watch.step()
    assert isinstance(await charge(world, "acme", "no more"), books.Refusal)


async def test_a_turn_lasts_as_long_as_its_slice(world: World, owner: Connection) -> None:
    """However long a customer takes to verify: no other server begins with it meanwhile."""
    await busy_customer(world, "acme")
    watch = watch_of(world, lease=timedelta(seconds=0.6))
    lease = f"SELECT leased_until FROM {CELL}.watch"
    before = await owner.fetchval(lease)
    async with owner.transaction():
        await owner.execute(f"LOCK TABLE {CELL}.entries")
        slow = asyncio.create_task(watch.step())
        while (first := await owner.fetchval(lease)) == before:
            pass
        while await owner.fetchval(lease) == first:
            assert not slow.done(), "it waits for the table"
    assert await slow > 0


async def test_no_writer_makes_a_finding(start: Start, owner: Connection) -> None:
    """Two servers write to the same customers while others verify them without a pause: nobody is stopped."""
    worlds = [await start(), await start()]
    customers = [await worlds[0].customer(f"customer-{n}", 1_000 * CREDIT) for n in range(3)]
    writing = asyncio.Event()
    rounds = 0

    async def verify(watch: Watch) -> None:
        nonlocal rounds
        while not writing.is_set():
            assert await watch.verify_all() == 0
            await watch.step()
            rounds += 1

    async def write(world: World, name: str) -> None:
        for n in range(25):
            for customer in customers:
                held = await world.reserve(customer, f"{name} {n}", CREDIT)
                assert isinstance(held, Committed)
                await world.commit(customer, f"{name} {n} done", held.entry.sequence, 2)

    watching = [asyncio.create_task(verify(watch_of(world))) for world in worlds]
    await asyncio.gather(*(write(world, f"{n} {k}") for n, world in enumerate(worlds) for k in range(3)))
    writing.set()
    await asyncio.gather(*watching)
    assert rounds > 1
    assert await owner.fetchval(f"SELECT count(*) FROM {CELL}.findings") == 0


def test_nothing_is_shown_that_nobody_has_read() -> None:
    """Until the database was asked there is no number: 0 violations would be a lie."""
    metrics = OperationsMetrics()
    names = ["violations", "customers_stopped", "customers_verified", "customers", "verified_age_seconds"]

    def shown(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"acu_ledger_books_{name}")

    assert all(shown(name) != shown(name) for name in names), "NaN"
    metrics.books.show(BooksFigures(1, 1, 3, 5, 60.0))
    assert [shown(name) for name in names[:4]] == [1, 1, 3, 5]
    assert shown(names[4]) == pytest.approx(60, abs=5)
