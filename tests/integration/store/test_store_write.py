"""The batched write: verdict per customer, all or nothing per customer, definite and unknown failures."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from store_world import CELL, CREDIT, TABLES, World, priced

from ledger import books
from ledger.books import State
from ledger.store.cells import write as write_module
from ledger.store.cells.load import LoadRequest, find_entries, load
from ledger.store.cells.rows_out import Shared
from ledger.store.cells.write import (
    Batch,
    RepeatedRequestError,
    Standing,
    UnknownOutcomeError,
    WriteRefusedError,
    check,
    write,
)


async def contents(database, cell=CELL):
    """All rows of a cell but what differs from run to run."""
    return {
        table: [
            dict(row) for row in await database.finance.fetch(f"SELECT * FROM {cell}.{table} ORDER BY 1, 2")
        ]
        for table in TABLES
    }


def batch_rows(batch):
    """The rows of each part of the statement."""
    return write_module._rows(batch, Shared())


async def assert_as_in_memory(world, connection):
    loaded = await load(connection, CELL, [LoadRequest(customer) for customer in world.wallets])
    assert {customer: found.wallet for customer, found in loaded.items()} == world.wallets


async def test_what_was_decided_is_what_is_loaded(world, connection):
    """After any batch the loaded wallets, lots in burn order included, are those in memory."""
    first, second, _ = world.wallets
    held = [world.reserve(first, 2 * CREDIT), world.reserve(second, CREDIT), world.reserve(first)]
    written = await write(connection, CELL, world.take())
    assert written.customers == {first, second}
    assert not written.stale
    await assert_as_in_memory(world, connection)
    world.commit(first, held[0], priced(CREDIT, states={"run/1": State("state")}), final=False)
    world.commit(first, held[0], priced(3 * CREDIT), final=True)
    world.do(second, books.Release(world.request_id(), b"f", held[1]))
    world.commit(second, world.reserve(second, 7), priced(1_003 * CREDIT))
    await write(connection, CELL, world.take())
    await assert_as_in_memory(world, connection)


async def test_partial_commits_keep_the_exact_amounts(world, connection):
    """A reservation open to commits comes back as it was, its exact price and costs included."""
    customer = next(iter(world.wallets))
    sequence = world.reserve(customer, 5 * CREDIT, labels={"project": "å"})
    world.commit(customer, sequence, priced(CREDIT, 11, own_run="run"), final=False)
    await write(connection, CELL, world.take())
    world.commit(customer, sequence, priced(CREDIT, 13), final=False)
    await write(connection, CELL, world.take())
    loaded = await load(connection, CELL, [LoadRequest(customer, reservations=(sequence,))])
    stored = world.reservations[customer, sequence]
    assert stored.costs.cost_exact[1] == 7
    assert loaded[customer].reservations == {sequence: stored}


async def test_born_and_changed_in_one_batch_is_written_in_its_last_state(world, connection):
    """A row born in a batch is inserted as the batch leaves it."""
    customer = next(iter(world.wallets))
    sequence = world.reserve(customer)
    world.commit(customer, sequence)
    await write(connection, CELL, world.take())
    loaded = await load(connection, CELL, [LoadRequest(customer, reservations=(sequence,))])
    reservation = loaded[customer].reservations[sequence]
    assert reservation == world.reservations[customer, sequence]._replace(costs=books.ReservationCosts())
    assert reservation.state is books.ReservationState.COMMITTED


ONE, TWO = {"project": "å", "session": "1"}, {"session": "2"}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("reserved", "committed"), [(ONE, ONE), (ONE, TWO), (ONE, {}), ({}, TWO), ({}, {})], ids=str
)
async def test_entries_have_their_own_labels(world, connection, together, reserved, committed):
    """Labels that a reservation has already are not sent with its entries, and are in them; others are sent.

    It is all the same whether the reservation was there before, or is born in the same batch.
    """
    customer = next(iter(world.wallets))
    sequence = world.reserve(customer, labels=reserved)
    if not together:
        await write(connection, CELL, world.take())
    commit = books.Commit(world.request_id(), b"f", sequence, None, final=True)
    world.do(customer, commit, priced(5))
    batch = world.take()
    batch.entries[-1] = batch.entries[-1]._replace(labels=committed)
    await write(connection, CELL, batch)
    found = await find_entries(connection, CELL, [(customer, commit.request_id)])
    assert found[customer, commit.request_id].labels == committed
    loaded = await load(connection, CELL, [LoadRequest(customer, reservations=(sequence,))])
    assert loaded[customer].reservations[sequence].labels == reserved


async def test_an_entry_of_a_reservation_that_is_not_in_the_batch(world, connection):
    """Its labels are sent, none among them: nobody has looked at what the reservation has."""
    customer = next(iter(world.wallets))
    sequence = world.reserve(customer, labels=ONE)
    await write(connection, CELL, world.take())
    commit = books.Commit(world.request_id(), b"f", sequence, None, final=True)
    world.do(customer, commit, priced(5))
    batch = world.take()
    batch.reservations.clear()
    batch.entries[-1] = batch.entries[-1]._replace(labels={})
    await write(connection, CELL, batch)
    found = await find_entries(connection, CELL, [(customer, commit.request_id)])
    assert found[customer, commit.request_id].labels == {}


@pytest.mark.parametrize("change", [{"labels": ONE}, {"created_at": timedelta(1)}, {"sequence": 99}])
async def test_a_reservation_is_born_with_its_entry(world, connection, change):
    """One that its entry does not tell of is a fault, and nothing is written."""
    customer = next(iter(world.wallets))
    sequence = world.reserve(customer)
    batch = world.take()
    reservation, _ = batch.reservations.pop((customer, sequence))
    if "created_at" in change:
        change = {"created_at": reservation.created_at + change["created_at"]}
    reservation = reservation._replace(**change)
    batch.reservations[customer, reservation.sequence] = (reservation, True)
    with pytest.raises(WriteRefusedError, match="reservation"):
        await write(connection, CELL, batch)
    await assert_not_written(connection, customer, sequence)


async def assert_not_written(connection, customer, sequence):
    rows = "SELECT count(*) FROM cell_00.entries WHERE customer = $1 AND sequence = $2"
    assert await connection.fetchval(rows, customer, sequence) == 0


@pytest.mark.parametrize("card", ["other", ""])
async def test_name_and_policies_change_with_the_entry_that_says_so(world, connection, card):
    """They are sent with it alone, a card that is taken away too; what comes after it leaves them."""
    customer = next(iter(world.wallets))
    for chosen in ("first", card):
        update = books.UpdateCustomer(
            world.request_id(),
            b"f",
            display_name="Bo",
            card=chosen,
            multiplier_nanos=2,
            zone="UTC",
            plan_overrides=chosen,
        )
        world.do(customer, update)
        await write(connection, CELL, world.take())
        await assert_as_in_memory(world, connection)
        assert world.wallets[customer].card == (chosen or None)
        assert world.wallets[customer].plan_overrides == (chosen or None)
    world.reserve(customer)
    batch = world.take()
    other = {"display_name": "", "plan": "", "card": "no", "zone": "", "multiplier_nanos": 9}
    other["plan_overrides"] = "no"
    batch.wallets[customer] = batch.wallets[customer]._replace(**other)
    await write(connection, CELL, batch)
    await assert_as_in_memory(world, connection)


@pytest.mark.parametrize("off_by", [(-1, 0), (1, 0), (0, 1)])
async def test_who_does_not_stand_as_decided_upon_is_not_written(world, connection, database, off_by):
    """A customer behind, ahead, or at the same sequence by another write is not written; the others are."""
    first, second, _ = world.wallets
    held = [world.reserve(customer, 2 * CREDIT) for customer in (first, second)]
    await write(connection, CELL, world.take())
    before = await contents(database)
    for customer, sequence in zip((first, second), held, strict=True):
        world.commit(customer, sequence, priced(1, states={"run/1": State("state")}), final=False)
        world.commit(customer, world.reserve(customer), priced(1_003 * CREDIT))
        world.grant(customer, 1, scope="tokens")
    batch = world.take()
    assert all((await batch_rows(batch)).values())
    sequence, token = batch.before[first]
    batch.before[first] = Standing(sequence + off_by[0], token + off_by[1])
    written = await write(connection, CELL, batch)
    assert written.customers == {second}
    after = await contents(database)
    for table in TABLES:
        rows = [row for row in after[table] if row["customer"] == first]
        assert rows == [row for row in before[table] if row["customer"] == first]
        assert any(row["customer"] == second and row not in before[table] for row in after[table])


async def test_of_two_processes_one_wins_each_customer(world, connection, other):
    """Two batches decided upon the same wallets: each customer is written by exactly one of them."""
    twin = world.twin()
    for round_number in range(20):
        for process in (world, twin):
            customers = list(process.wallets)
            for customer in customers if (round_number + (process is twin)) % 2 else reversed(customers):
                process.reserve(customer, 1)
        one, two = await asyncio.gather(
            write(connection, CELL, world.take()), write(other, CELL, twin.take())
        )
        assert one.customers | two.customers == set(world.wallets)
        assert not one.customers & two.customers
        loaded = await load(connection, CELL, [LoadRequest(customer) for customer in world.wallets])
        for process in (world, twin):
            process.learn(loaded)
    assert all(found.wallet.sequence == 3 + 20 for found in loaded.values())


async def test_batches_in_opposite_orders_do_not_deadlock(database, connection, other):
    """Locks are taken in the order of customers, whatever the order of the arrays."""
    world = World()
    customers = await world.new_customers(database, 40)
    await write(connection, CELL, world.take())
    twin = world.twin()
    for _ in range(10):
        for up, down in zip(customers, reversed(customers), strict=True):
            world.reserve(up, 1)
            twin.reserve(down, 1)
        await asyncio.gather(write(connection, CELL, world.take()), write(other, CELL, twin.take()))
        loaded = await load(connection, CELL, [LoadRequest(customer) for customer in customers])
        for process in (world, twin):
            process.learn(loaded)


async def test_refusals_are_checked_with_the_writes(world, connection):
    """A customer with refusals only is in the verdict if its wallet still stands so."""
    first, second, third = world.wallets
    world.reserve(first)
    batch = world.take()
    batch.before[second] = world.standing(second)
    batch.before[third] = world.standing(third)._replace(sequence=world.wallets[third].sequence - 1)
    assert (await write(connection, CELL, batch)).customers == {first, second}


async def test_a_batch_of_refusals_is_one_read(world, connection):
    """`check` gives the customers whose wallet stands so, and the database's clock."""
    first, second, third = world.wallets
    before = {
        first: world.standing(first),
        second: world.standing(second)._replace(sequence=1),
        third: world.standing(third)._replace(token=0),
        10**9: Standing(1, 1),
    }
    reported = await check(connection, CELL, before, world.now)
    assert reported.customers == {first}
    assert abs(reported.clock - world.now) < timedelta(minutes=1)
    assert (await check(connection, CELL, {third: Standing(99, 0)}, world.now)).customers == frozenset()
    early = await check(connection, CELL, before, world.now - timedelta(seconds=6))
    assert early.stale
    assert early.customers == frozenset()


async def test_a_wallet_may_change_without_an_entry(world, connection):
    """What is due next may be known better than it was: the row is written, the sequence stays."""
    customer = next(iter(world.wallets))
    wallet = world.wallets[customer]._replace(next_due_at=world.now + timedelta(days=3))
    batch = world.take()
    batch.before[customer] = world.standing(customer)
    batch.wallets[customer] = world.wallets[customer] = wallet
    assert (await write(connection, CELL, batch)).customers == {customer}
    await assert_as_in_memory(world, connection)


@pytest.mark.parametrize("seconds", [-6, 6])
async def test_nothing_is_written_that_was_decided_off_the_clock(world, connection, database, seconds):
    """A batch decided more than 5 s off the database's clock is not applied, and that is said."""
    before = await contents(database)
    world.reserve(next(iter(world.wallets)))
    batch = world.take()
    batch.decided_at += timedelta(seconds=seconds)
    written = await write(connection, CELL, batch)
    assert written.stale
    assert written.customers == frozenset()
    assert await contents(database) == before


async def test_an_entry_that_waited_too_long_makes_its_batch_stale(world, connection):
    """The oldest entry counts, not only the instant when the batch was sent."""
    first, second, _ = world.wallets
    world.reserve(first)
    world.reserve(second)
    batch = world.take()
    batch.entries[0] = batch.entries[0]._replace(booked_at=batch.entries[0].booked_at - timedelta(seconds=6))
    assert (await write(connection, CELL, batch)).stale


async def test_a_known_request_id_is_definite_and_writes_nothing(world, connection, database):
    """A repeat that memory did not know raises RepeatedRequestError, for the whole batch."""
    first, second, _ = world.wallets
    world.reserve(first)
    known = world.batch.entries[0].request_id
    await write(connection, CELL, world.take())
    before = await contents(database)
    world.reserve(second)
    world.do(first, books.Reserve(known, b"f", amount_micros=5))
    with pytest.raises(RepeatedRequestError):
        await write(connection, CELL, world.take())
    assert await contents(database) == before
    assert set(await find_entries(connection, CELL, [(first, known), (second, known)])) == {(first, known)}


async def test_an_update_that_finds_no_row_raises(world, connection, database):
    """A lost update would be silent: the rows are counted, and a mismatch refuses the whole statement."""
    customer = next(iter(world.wallets))
    before = await contents(database)
    world.reserve(customer)
    batch = world.take()
    [(key, (reservation, _))] = batch.reservations.items()
    batch.reservations[key] = (reservation, False)
    with pytest.raises(WriteRefusedError, match="division by zero"):
        await write(connection, CELL, batch)
    assert await contents(database) == before


@pytest.mark.parametrize("commodity", ["credits", "dollars"])
async def test_the_database_refuses_unbalanced_entries(world, connection, database, commodity):
    """Postings that do not sum to 0 are refused by a CHECK, in credits and in dollars."""
    customer = next(iter(world.wallets))
    before = await contents(database)
    world.grant(customer, 1)
    batch = world.take()
    entry = batch.entries[0]
    if commodity == "credits":
        entry = entry._replace(credits=entry.credits._replace(held=1))
    else:
        entry = entry._replace(money=entry.money._replace(dollars=entry.money.dollars._replace(cost=1)))
    batch.entries[0] = entry
    with pytest.raises(WriteRefusedError, match="check constraint"):
        await write(connection, CELL, batch)
    assert await contents(database) == before


async def test_an_amount_that_fits_no_column_is_definite(world, connection):
    """A value beyond 64 bits is found before anything is sent."""
    customer = next(iter(world.wallets))
    batch = world.take()
    batch.before[customer] = Standing(2**63, 0)
    with pytest.raises(WriteRefusedError):
        await write(connection, CELL, batch)


@pytest.mark.parametrize("labels", [{"a": "\0"}, {"\ud800": "b"}])
async def test_a_text_that_the_database_cannot_keep_is_definite(world, connection, database, labels):
    """NUL and half a surrogate pair are refused, and nothing is written."""
    before = await contents(database)
    world.reserve(next(iter(world.wallets)), labels=labels)
    with pytest.raises(WriteRefusedError):
        await write(connection, CELL, world.take())
    assert await contents(database) == before


@pytest.mark.parametrize("said", [["\0"], ("a", ("\0",)), ({"\0": 1},), {"a": ("\0",)}])
async def test_nul_is_found_wherever_a_line_says_it(world, connection, said):
    """In lists, in tuples, which are arrays too, and in keys."""
    customer = next(iter(world.wallets))
    usage = priced(3)
    usage.lines[0].internal["said"] = said
    world.do(customer, books.Charge(world.request_id(), b"f", None), usage)
    with pytest.raises(WriteRefusedError, match="NUL"):
        await write(connection, CELL, world.take())


async def _wait_for_lock(database, application_name):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
    while not await database.writer.fetchval(waiting, application_name):
        continue


async def test_a_lost_connection_leaves_the_outcome_unknown(world, connection, other, database):
    """Whatever is no ERROR on a connection that stays open is unknown, not refused."""
    customer = next(iter(world.wallets))
    world.reserve(customer)
    async with other.transaction():
        await other.execute(f"LOCK TABLE {CELL}.wallets IN ACCESS EXCLUSIVE MODE")
        writing = asyncio.create_task(write(connection, CELL, world.take()))
        await _wait_for_lock(database, "test writer")
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test writer'"
            " AND datname = current_database()"
        )
        with pytest.raises(UnknownOutcomeError):
            await writing
    with pytest.raises(UnknownOutcomeError):
        await check(connection, CELL, {customer: 1}, world.now)


async def test_a_time_out_of_the_server_is_definite(world, connection, other):
    """The server's lock time-out undoes the statement and leaves the connection open."""
    customer = next(iter(world.wallets))
    world.reserve(customer)
    await connection.execute("SET lock_timeout = '20ms'")
    async with other.transaction():
        await other.execute(f"LOCK TABLE {CELL}.wallets IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(WriteRefusedError, match="lock timeout"):
            await write(connection, CELL, world.take())


async def test_a_wallet_that_somebody_has_locked_is_left_out(world, connection, other):
    """The others of the batch are written, and do not wait for the lock."""
    locked, *rest = world.wallets
    for customer in world.wallets:
        world.reserve(customer)
    async with other.transaction():
        await other.execute(f"SELECT FROM {CELL}.wallets WHERE customer = {locked} FOR UPDATE")
        written = await write(connection, CELL, world.take())
    assert written.customers == frozenset(rest)
    assert not written.stale


async def test_an_empty_batch_writes_nothing(connection):
    """No customers, no verdict."""
    world = World()
    written = await write(connection, CELL, Batch(decided_at=world.now))
    assert written.customers == frozenset()
