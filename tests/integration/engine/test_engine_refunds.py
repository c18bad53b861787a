"""Refunds on a real database: what is charged once is free again when all of it has gone back, not before.

The card charges a ticket once for each subject, however often it is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from engine_world import CARD, Config, World, assert_books_hold, entry_of, fingerprint

import pricing
from ledger import books
from ledger.books import RefusalReason
from ledger.engine.command import Committed
from tests.amounts import CREDIT

TICKETS = """
  - name: tickets
    match: {outcome: ticket}
    price: {outcome: {resolved: "10"}, once: subject}
"""
Start = Callable[..., Awaitable[World]]


@pytest.fixture
def config() -> Config:
    """Give the card an outcome that is charged once."""
    return Config(card=CARD + TICKETS)


class Desk:
    """One customer of some engines, and its tickets."""

    def __init__(self, *worlds: World) -> None:
        self.worlds = worlds
        self.requests = 0

    async def resolve(self, subject: str = "s", *, world: int = 0) -> books.Entry:
        """Report a resolved ticket."""
        ticket = pricing.Outcome("ticket", pricing.Result.RESOLVED, subject)
        command = books.Charge(*self.request(), None)
        return entry_of(await self.worlds[world].execute("acme", command, (ticket,)))

    async def refund(
        self, charge: books.Entry, micros: int | None = None, *, world: int = 0
    ) -> Committed | books.Refusal:
        """Give back a part of a charge, or all that is left."""
        command = books.Refund(*self.request(), charge.sequence, micros, "goodwill")
        return await self.worlds[world].execute("acme", command)

    async def reverse(self, charge: books.Entry) -> books.Entry:
        """Undo a charge."""
        command = books.Reverse(*self.request(), charge.sequence, None, "undone")
        return entry_of(await self.worlds[0].execute("acme", command))

    def request(self) -> tuple[str, bytes]:
        self.requests += 1
        return f"request-{self.requests}", fingerprint(f"{self.requests}")


@pytest.fixture
async def desk(world: World) -> Desk:
    await world.customer("acme", 1_000 * CREDIT)
    return Desk(world)


async def test_a_full_refund_frees_what_is_charged_once(world: World, desk: Desk) -> None:
    """In part it stays charged; with the last of it the subject may be charged again, once."""
    first = await desk.resolve()
    assert entry_of(await desk.refund(first, 4 * CREDIT)).credits.available == 4 * CREDIT
    assert (await desk.resolve()).credits.consumed == 0
    assert entry_of(await desk.refund(first)).credits.available == 6 * CREDIT
    assert (await desk.resolve()).credits.consumed == 10 * CREDIT
    assert (await desk.resolve()).credits.consumed == 0
    assert (await desk.resolve("another")).credits.consumed == 10 * CREDIT
    await assert_books_hold(world)


async def test_a_reversal_after_a_full_refund_leaves_the_next_charges_mark(world: World, desk: Desk) -> None:
    """What the refund has freed belongs to whoever was charged since."""
    first = await desk.resolve()
    await desk.refund(first)
    assert (await desk.resolve()).credits.consumed == 10 * CREDIT
    assert (await desk.reverse(first)).credits.consumed == 0
    assert (await desk.resolve()).credits.consumed == 0
    await assert_books_hold(world)


async def test_refunds_of_two_engines_never_exceed_the_charge(desk: Desk, start: Start) -> None:
    """Whoever decides knows what the other has given back; the mark is freed once."""
    both = Desk(*desk.worlds, await start(name="other"))
    charge = await desk.resolve()
    both.requests = desk.requests
    outcomes = await asyncio.gather(*(both.refund(charge, 3 * CREDIT, world=n % 2) for n in range(8)))
    refused = [each for each in outcomes if isinstance(each, books.Refusal)]
    assert [each.reason for each in refused] == [RefusalReason.REFUND_EXCEEDS_CHARGE] * 5
    rest = entry_of(await both.refund(charge, world=1))
    assert rest.credits.consumed == -CREDIT
    resolved = await asyncio.gather(*(both.resolve(world=n % 2) for n in range(6)))
    assert sorted(each.credits.consumed for each in resolved) == [*[0] * 5, 10 * CREDIT]
    await assert_books_hold(desk.worlds[0])
