"""Commands that no cell can take yet: they are counted, limited, kept in order, and waited for at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from engine_world import World, entry_of, fingerprint

from ledger import books
from ledger.books import RefusalReason
from ledger.engine.command import Committed, Pending, all_done
from tests.amounts import CREDIT


def begin(world: World, customer: str, request_id: str, micros: int) -> Pending:
    command = books.Reserve(request_id, fingerprint(f"{request_id} {micros}"), micros)
    return world.engine.begin(customer, command)


def reason_of(pending: Pending) -> RefusalReason | None:
    answer = pending.result()
    return answer.reason if isinstance(answer, books.Refusal) else None


@asynccontextmanager
async def nobody_can_be_looked_up(owner_url: str) -> AsyncIterator[None]:
    owner = await asyncpg.connect(owner_url)
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE ledger.customers IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await owner.close()


async def test_what_waits_for_a_look_up_counts_and_grows_old(world: World, database_url: str) -> None:
    """It is in the line like all that has no answer, from its arrival on, until it has its answer."""
    acme = await world.customer("acme")
    line = world.engine.waiting
    async with nobody_can_be_looked_up(database_url):
        waiting = [begin(world, acme, f"r{n}", CREDIT) for n in range(3)]
        assert line.begun == 3
        assert line.oldest_seconds() > 0
    await all_done(waiting)
    assert [reason_of(pending) for pending in waiting] == [RefusalReason.INSUFFICIENT_CREDITS] * 3
    assert (line.begun, line.oldest_seconds()) == (0, 0.0)


async def test_new_work_that_nobody_waits_for_is_not_begun(world: World, database_url: str) -> None:
    """A hold whose caller has gone is dropped while it waits; a charge of work that is done is booked."""
    acme = await world.customer("acme", 10 * CREDIT)
    world.engine.directory.forget()
    async with nobody_can_be_looked_up(database_url):
        hold = begin(world, acme, "hold", CREDIT)
        charge = world.engine.begin(acme, books.Charge("charge", fingerprint("charge"), CREDIT))
        other = begin(world, acme, "other", CREDIT)
        waits = [asyncio.create_task(each.asked.all_done()) for each in (hold, charge)]
        await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    await all_done((hold, charge, other))
    assert hold.is_dropped
    assert [entry_of(each.result()).sequence for each in (charge, other)] == [3, 4]


async def test_who_repeats_an_abandoned_request_has_it_carried_out(world: World, database_url: str) -> None:
    """Its id is free: the repeat that waited behind it is the first that has an effect."""
    acme = await world.customer("acme", 10 * CREDIT)
    world.engine.directory.forget()
    async with nobody_can_be_looked_up(database_url):
        gone, repeat = (begin(world, acme, "r", CREDIT) for _ in range(2))
        gone.asked.abandoned = True
    await all_done((gone, repeat))
    assert gone.is_dropped
    answer = repeat.result()
    assert isinstance(answer, Committed)
    assert not answer.replayed


async def test_a_command_in_a_batch_is_written_whoever_has_gone(world: World) -> None:
    """What is decided when its caller goes is on its way to the database."""
    acme = await world.customer("acme", 10 * CREDIT)
    await world.reserve(acme, "first", CREDIT)
    pending = begin(world, acme, "r", CREDIT)
    pending.asked.abandoned = True
    await all_done((pending,))
    assert isinstance(pending.result(), Committed)


async def test_a_drain_waits_for_a_look_up(world: World, database_url: str) -> None:
    """A command that has been begun is answered, though its customer was not known when the end began."""
    acme = await world.customer("acme")
    async with nobody_can_be_looked_up(database_url):
        pending = begin(world, acme, "r", CREDIT)
        drained = asyncio.create_task(world.engine.drain())
        await asyncio.sleep(0)
        assert not pending.done
    await drained
    assert reason_of(pending) is RefusalReason.INSUFFICIENT_CREDITS


async def test_nobody_overtakes_one_that_waits_for_its_request_id(world: World) -> None:
    """Two requests under one id: until the first is refused, the second waits, and whatever came after it."""
    acme = await world.customer("acme", 100 * CREDIT)
    first, second, third = (
        begin(world, acme, request_id, micros * CREDIT)
        for request_id, micros in (("r", 200), ("r", 60), ("other", 60))
    )
    await all_done([first, second, third])
    assert reason_of(first) is RefusalReason.INSUFFICIENT_CREDITS
    assert isinstance(second.result(), Committed)
    assert reason_of(third) is RefusalReason.INSUFFICIENT_CREDITS
