"""Commands that no cell can take yet: they are counted, limited, kept in order, and waited for at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from engine_world import World, fingerprint

from ledger import books
from ledger.books import RefusalReason
from ledger.engine import entrance as entrance_module
from ledger.engine.engine import told
from ledger.engine.outcomes import Committed, Overloaded
from ledger.engine.pending import Pending, all_done

CREDIT = 1_000_000


def begin(world: World, customer: str, request_id: str, micros: int) -> Pending:
    command = books.Reserve(request_id, fingerprint(f"{request_id} {micros}"), micros)
    return world.engine.begin(customer, command)


def reason_of(pending: Pending) -> RefusalReason | None:
    answer = told(pending)
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


async def test_what_waits_for_a_look_up_is_limited(
    world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is refused before anything is kept of it, whoever has gone away meanwhile."""
    monkeypatch.setattr(entrance_module, "WAITING_MAX", 3)
    acme = await world.customer("acme")
    async with nobody_can_be_looked_up(database_url):
        waiting = [begin(world, acme, f"r{n}", CREDIT) for n in range(3)]
        with pytest.raises(Overloaded):
            begin(world, acme, "r3", CREDIT)
        with pytest.raises(Overloaded):
            begin(world, "nobody", "r", CREDIT)
    await all_done(waiting)
    assert [reason_of(pending) for pending in waiting] == [RefusalReason.INSUFFICIENT_CREDITS] * 3


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
    assert isinstance(told(second), Committed)
    assert reason_of(third) is RefusalReason.INSUFFICIENT_CREDITS
