"""Loads: one snapshot for many customers, what is due by the clock, what a reversal undoes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_world import CELL, CREDIT, DOLLAR, PLAN, World, priced

from ledger import books
from ledger.books import EntryKind, Facts, LotStatus, ReservationState, State
from ledger.store.cells.load import DUE_MAX, LoadRequest, find_entries, load, load_reversal
from ledger.store.cells.write import write


async def test_each_customer_gets_what_was_asked_of_it(world, connection):
    """Rows go to the customer that they belong to; what does not exist is missing."""
    first, second, third = world.wallets
    mine, theirs = world.reserve(first), world.reserve(second)
    world.commit(first, mine, priced(5, states={"run/1": State("state")}))
    batch = world.take()
    await write(connection, CELL, batch)
    request_id = batch.entries[0].request_id
    loaded = await load(
        connection,
        CELL,
        [
            LoadRequest(
                first, reservations=(mine, 99), states=("run/1", "none"), request_ids=(request_id, "none")
            ),
            LoadRequest(second, reservations=(theirs,), states=("run/1",), request_ids=(request_id,)),
            LoadRequest(third),
            LoadRequest(10**9),
        ],
    )
    assert loaded.keys() == {first, second, third}
    assert loaded[first].reservations.keys() == {mine}
    assert loaded[first].states == {"run/1": State("state")}
    assert loaded[first].entries == {request_id: batch.entries[0]._replace(money=None)}
    assert loaded[second].reservations == {theirs: world.reservations[second, theirs]}
    assert (loaded[second].states, loaded[second].entries) == ({}, {})
    assert (loaded[third].reservations, loaded[third].due) == ({}, ())


async def test_nobody_to_load(connection):
    """A load of no customers, and one of entries of none, give nothing."""
    assert await load(connection, CELL, []) == {}
    assert await find_entries(connection, CELL, []) == {}


async def test_lots_come_in_burn_order_and_empty_ones_stay_away(database, connection):
    """The wallet's lots are those with credits left, pending ones too, in the order in which they burn."""
    world = World()
    customer = await world.new_customer(database, credits_count=0)
    world.grant(customer, 1, priority=-1)
    for more in (
        {"priority": 5},
        {"scope": "tokens"},
        {"expires_at": world.now + timedelta(days=2)},
        {"effective_at": world.now + timedelta(days=1)},
        {"kind": books.GrantKind.PROMO, "paid_total_nanousd": 0},
    ):
        world.grant(customer, 2, **more)
    world.commit(customer, world.reserve(customer, CREDIT), priced(CREDIT))
    await write(connection, CELL, world.take())
    [loaded] = (await load(connection, CELL, [LoadRequest(customer)])).values()
    assert loaded.wallet == world.wallets[customer]
    assert len(loaded.wallet.lots) == 5
    assert {lot.status for lot in loaded.wallet.lots} == {LotStatus.ACTIVE, LotStatus.PENDING_START}


async def test_due_holds_come_oldest_first_and_the_next_one_is_told(world, connection):
    """Open holds that have expired by `due_at` are due; the first expiry after it is the next one."""
    customer, other_customer, _ = world.wallets
    ttls = [timedelta(minutes=minutes) for minutes in (9, 3, 5, 7)]
    sequences = {ttl: world.reserve(customer, 1, ttl=ttl) for ttl in ttls}
    world.reserve(other_customer, 1, ttl=timedelta(minutes=1))
    closed = world.reserve(customer, 1, ttl=timedelta(minutes=4))
    world.do(customer, books.Release(world.request_id(), b"f", closed))
    booked_at = world.wallets[customer].last_instant
    await write(connection, CELL, world.take())

    async def due(minutes):
        due_at = booked_at + timedelta(minutes=minutes) if minutes is not None else None
        [loaded] = (await load(connection, CELL, [LoadRequest(customer, due_at=due_at)])).values()
        following = loaded.next_reservation_due_at
        return [r.sequence for r in loaded.due], following and (following - booked_at).total_seconds() / 60

    assert await due(None) == ([], 3)
    assert await due(2) == ([], 3)
    assert await due(5) == ([sequences[ttls[1]], sequences[ttls[2]]], 7)
    assert await due(60) == ([sequences[ttls[n]] for n in (1, 2, 3, 0)], None)


async def test_more_due_than_one_load_takes(database, connection):
    """At most 200 holds are due in one load; the next one is then the oldest that was left out."""
    world = World()
    customer = await world.new_customer(database)
    for _ in range(DUE_MAX + 2):
        world.reserve(customer, 1, ttl=timedelta(seconds=1))
        world.tick(milliseconds=0.001)
    last = world.reserve(customer, 1, ttl=timedelta(hours=1))
    batch = world.take()
    batch.decided_at = world.now
    await write(connection, CELL, batch)
    open_ones = sorted(r.expires_at for (_, sequence), r in world.reservations.items() if sequence != last)
    request = LoadRequest(customer, due_at=world.now + timedelta(minutes=1))
    [loaded] = (await load(connection, CELL, [request])).values()
    assert [r.expires_at for r in loaded.due] == open_ones[:DUE_MAX]
    assert loaded.next_reservation_due_at == open_ones[DUE_MAX]


async def test_what_is_due_can_be_written_and_loaded_again(world, connection):
    """Holds and lots that expire by the clock are entries; after them memory and database agree."""
    customer = next(iter(world.wallets))
    world.grant(customer, 4, expires_at=world.now + timedelta(seconds=2), priority=-5)
    world.reserve(customer, 6 * CREDIT, ttl=timedelta(seconds=1))
    await write(connection, CELL, world.take())
    world.tick(seconds=4)
    [loaded] = (await load(connection, CELL, [LoadRequest(customer, due_at=world.now)])).values()
    decisions, wallet, _ = books.due(
        loaded.wallet,
        loaded.due,
        loaded.next_reservation_due_at,
        now=world.now,
        plan=PLAN,
        plan_at=lambda _: PLAN,
    )
    assert [decision.entry.kind for decision in decisions] == [
        EntryKind.RESERVATION_EXPIRED,
        EntryKind.GRANT_EXPIRED,
    ]
    for decision in decisions:
        world.apply(decision)
    batch = world.take()
    batch.decided_at = world.now
    await write(connection, CELL, batch)
    [again] = (await load(connection, CELL, [LoadRequest(customer, due_at=world.now)])).values()
    assert again.wallet == wallet
    assert again.due == ()


async def test_a_charge_to_reverse_comes_with_its_money_and_lots(world, connection):
    """The entry with its dollars, and the lots it drew as they are now, empty ones too."""
    customer = next(iter(world.wallets))
    charge = world.do(customer, books.Charge(world.request_id(), b"f", None), priced(5 * CREDIT)).entry
    batch = world.take()
    await write(connection, CELL, batch)
    facts = await load_reversal(connection, CELL, customer, charge=charge.sequence, reservation=None)
    assert facts.charges == (charge,)
    assert not facts.reversed
    assert facts.reservation is None
    assert {lot.key: lot for lot in facts.lots} == {key: lot for (_, key), (lot, _) in batch.lots.items()}
    assert LotStatus.DEPLETED in {lot.status for lot in facts.lots}

    command = books.Reverse(world.request_id(), b"f", charge.sequence, None, "by mistake")
    world.do(customer, command, facts=facts)
    await write(connection, CELL, world.take())
    [loaded] = (await load(connection, CELL, [LoadRequest(customer)])).values()
    assert loaded.wallet == world.wallets[customer]
    again = await load_reversal(connection, CELL, customer, charge=charge.sequence, reservation=None)
    assert again.reversed


async def test_a_reservation_to_reverse_comes_with_all_its_entries(world, connection):
    """All its commits, and the entry that closed it without one: that may carry what was absorbed."""
    customer, other_customer, _ = world.wallets
    sequence = world.reserve(customer, 5 * CREDIT)
    world.reserve(other_customer, 5 * CREDIT)
    parts = [world.commit(customer, sequence, final=False).entry for _ in range(2)]
    release = world.do(customer, books.Release(world.request_id(), b"f", sequence)).entry
    await write(connection, CELL, world.take())
    facts = await load_reversal(connection, CELL, customer, charge=None, reservation=sequence)
    assert facts.charges == (*parts, release)
    stored = world.reservations[customer, sequence]
    assert facts.reservation == stored._replace(costs=books.ReservationCosts())
    assert stored.state is ReservationState.RELEASED
    command = books.Reverse(world.request_id(), b"f", None, sequence, "by mistake")
    world.do(customer, command, facts=facts)
    await write(connection, CELL, world.take())
    again = await load_reversal(connection, CELL, customer, charge=None, reservation=sequence)
    assert again.reversed
    assert again.reservation is not None
    assert again.reservation.state is ReservationState.REVERSED


@pytest.mark.parametrize("subject", [{"charge": 1, "reservation": None}, {"charge": None, "reservation": 1}])
async def test_nothing_to_reverse(world, connection, subject):
    """A sequence that is no charge or no reservation gives no facts."""
    customer = next(iter(world.wallets))
    assert await load_reversal(connection, CELL, customer, **subject) == Facts()


async def test_a_debt_is_loaded_with_its_price(world, connection):
    """What a customer owes stands in a table that the reader does not see, and comes with the wallet."""
    customer = next(iter(world.wallets))
    world.commit(customer, world.reserve(customer), priced(1_004 * CREDIT))
    await write(connection, CELL, world.take())
    [loaded] = (await load(connection, CELL, [LoadRequest(customer)])).values()
    assert loaded.wallet.balances.debt == -CREDIT
    assert loaded.wallet.unbilled_nanousd == -DOLLAR // 100
    assert loaded.wallet == world.wallets[customer]
