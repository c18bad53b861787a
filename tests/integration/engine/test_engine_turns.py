"""Long work of one customer leaves the others their turn: deciding what has waited, rows, statements."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from engine_world import CARD, Config, World, assert_books_hold, entry_of, fingerprint, pages

from ledger import books
from ledger.engine.cell.decider import WORK_AT_ONCE
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.command import Pending, WriteOutcome, all_done
from ledger.engine.limits import ENGINE_LIMITS, EngineLimits
from ledger.prices.limits import PriceLimits
from ledger.publishing.publisher import By
from ledger.store.cells import write
from ledger.store.cells.columns import BETWEEN_ROWS
from ledger.store.cells.rows_out import Shared
from ledger.store.prices.versions import Source
from ledger.turns import LINES_AT_ONCE
from tests.acts import ACT
from tests.amounts import CREDIT

ROUND_WORK_MAX = ENGINE_LIMITS.round_work_max
BATCH_WORK_MAX = 50
"""A hundredth of the real one: on a busy machine a batch of that grows too old to be written."""

BUDGETS = ", ".join(f"b{n}: {{by: [session], limit: '1', window: TOTAL}}" for n in range(4))
BUDGETED = f"plans: {{standard: {{budgets: {{{BUDGETS}}}}}}}"


class Written:
    """The batches that cells have written."""

    def __init__(self) -> None:
        self.batches: list[OpenBatch] = []

    def wrote(self, _cell: str, batch: OpenBatch, _seconds: float, outcome: WriteOutcome) -> None:
        if outcome is WriteOutcome.WRITTEN:
            self.batches.append(batch)


@pytest.fixture
def spans() -> Written:
    return Written()


@pytest.fixture
def price_limits() -> PriceLimits:
    """However slowly it goes: prices that are to be looked at again would be waited for in between."""
    return PriceLimits(current_seconds=3_600)


def begin(world: World, customer_id: str, count: int, lines: int) -> list[Pending]:
    """So many charges on their way, of so many lines each."""
    commands = [books.Charge(f"{lines} {n}", fingerprint(f"{n}"), None) for n in range(count)]
    return [world.engine.begin(customer_id, command, pages(1) * lines) for command in commands]


async def test_what_has_waited_is_decided_in_turns(world: World) -> None:
    """Charges that came before their customer was loaded are not all decided at once."""
    acme = await world.customer("acme", 10_000 * CREDIT)
    members = world.engine._cells["cell_00"]._customers.members
    members.clear()
    lines = WORK_AT_ONCE // 4
    waiting = begin(world, acme, 40, lines)
    (member,) = members.values()
    left = [len(member.waiting)]
    while left[-1]:
        await asyncio.sleep(0)
        left.append(len(member.waiting))
    assert left[0] == 40
    assert max(before - after for before, after in pairwise(left)) == WORK_AT_ONCE // lines
    await all_done(waiting)
    consumed = [entry_of(pending.result()).credits.consumed for pending in waiting]
    assert consumed == [lines * CREDIT] * 40


@pytest.mark.parametrize("limits", [EngineLimits(batch_work_max=BATCH_WORK_MAX)])
async def test_a_statement_has_a_bounded_number_of_lines(world: World, spans: Written) -> None:
    """What goes beyond forms the next; each is full but the last, and all is written."""
    acme = await world.customer("acme", 100_000 * CREDIT)
    await world.reserve(acme, "hold", CREDIT)
    spans.batches.clear()
    lines = BATCH_WORK_MAX // 5
    outcomes = begin(world, acme, 11, lines)
    await all_done(outcomes)
    for pending in outcomes:
        entry_of(pending.result())
    assert [batch.work for batch in spans.batches] == [BATCH_WORK_MAX, BATCH_WORK_MAX, lines]
    await assert_books_hold(world)


@pytest.mark.parametrize("config", [Config(plans=BUDGETED)])
@pytest.mark.parametrize("limits", [EngineLimits(batch_work_max=BATCH_WORK_MAX)])
async def test_counters_are_work_of_a_statement(world: World, spans: Written) -> None:
    """Each hold of a session of its own counts in four budgets that nothing has counted in: as five lines."""
    acme = await world.customer("acme", 100_000 * CREDIT)
    await world.reserve(acme, "hold", CREDIT)
    spans.batches.clear()
    labels = [{"session": str(n)} for n in range(BATCH_WORK_MAX // 2)]
    commands = [books.Reserve(f"{n}", fingerprint(f"{n}"), 1, labels=own) for n, own in enumerate(labels)]
    outcomes = [world.engine.begin(acme, command, None) for command in commands]
    await all_done(outcomes)
    for pending in outcomes:
        entry_of(pending.result())
    assert sum(batch.work for batch in spans.batches) == 5 * len(commands)
    assert max(batch.work for batch in spans.batches) <= BATCH_WORK_MAX
    await assert_books_hold(world)


def contend(world: World) -> None:
    """All in memory go through rounds under the lock from now on, the first time with a load."""
    cell = world.engine._cells["cell_00"]
    members = list(cell._customers.members.values())
    cell._settlement.contend([member.customer for member in members])
    for member in members:
        member.forget()


async def test_a_round_under_the_lock_decides_a_bounded_number_of_lines(world: World, spans: Written) -> None:
    """What goes beyond waits for the next round; all is charged, in order."""
    acme = await world.customer("acme", 100_000 * CREDIT)
    await world.reserve(acme, "hold", CREDIT)
    contend(world)
    spans.batches.clear()
    lines = ROUND_WORK_MAX // 5
    outcomes = begin(world, acme, 11, lines)
    await all_done(outcomes)
    entries = [entry_of(pending.result()) for pending in outcomes]
    assert [entry.sequence for entry in entries] == list(range(entries[0].sequence, entries[0].sequence + 11))
    assert [batch.work for batch in spans.batches] == [ROUND_WORK_MAX, ROUND_WORK_MAX, lines]


async def test_who_found_no_room_in_a_round_is_in_the_next(world: World, spans: Written) -> None:
    """However much still waits of another customer, whose command came first."""
    names = [await world.customer(name, 100_000 * CREDIT) for name in ("busy", "other")]
    for name in names:
        await world.reserve(name, "hold", CREDIT)
    contend(world)
    spans.batches.clear()
    outcomes = [
        *begin(world, "busy", 20, ROUND_WORK_MAX // 5),
        *begin(world, "other", 1, ROUND_WORK_MAX // 5),
    ]
    await all_done(outcomes)
    known = [world.engine.directory.known(name) for name in names]
    busy, other = (each.customer for each in known if each is not None)
    assert [list(batch.parts) for batch in spans.batches[:2]] == [[busy], [other, busy]]


async def test_rows_are_made_in_turns(world: World) -> None:
    """The entries of a long batch become texts some hundred lines at a time."""
    acme = await world.customer("acme", 10_000 * CREDIT)
    await world.reserve(acme, "hold", CREDIT)
    lines = LINES_AT_ONCE - 1
    begin(world, acme, 4, lines)
    batch = world.engine._cells["cell_00"]._writer._batches.open[-1].rows()
    rows = asyncio.create_task(write._rows(batch, Shared()))
    turns = 0
    while not rows.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 4
    entries = next(text for part, text in (await rows).items() if part.name == "entries")
    assert len(entries.split(BETWEEN_ROWS)) == 4


async def test_a_card_to_come_is_compiled_before_anybody_needs_it(world: World) -> None:
    """A look at what is published makes it ready to price by, in a thread: a command compiles nothing."""
    document = CARD % (2, "3")
    version = (await world.publishing.publisher.publish_card(document, By(ACT, Source.API))).version
    await world.publishing.step()
    prices = world.engine.prices
    compiled = set(prices._compiled_terms)
    card = prices.card_for(None, "basic", version.effective_from)
    assert card is not None
    assert card.version.number == 2
    quote = prices.estimate(
        pages(1), {}, prices.pin(card, version.effective_from, 10**9), version.effective_from
    )
    assert quote.exact_micros == 3 * CREDIT
    assert set(prices._compiled_terms) == compiled
