"""What goes back is bounded, and nobody else waits for it: large reservations, many refunds, slow loads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import pytest
from engine_world import World, assert_books_hold, entry_of, fingerprint, pages

from ledger import books
from ledger.books import RefusalReason
from ledger.books.limits import LINES_UNDONE_MAX, REFUND_LINES_MAX, REFUNDS_MAX
from ledger.engine.cell.customer import Member
from ledger.engine.command import Committed
from ledger.store.cells.load import LOAD_REVERSAL
from tests.amounts import CREDIT


async def in_parts(world: World, customer_id: str, count: int) -> int:
    """A closed reservation of so many commits of a page each; its sequence."""
    held = entry_of(await world.reserve(customer_id, f"hold {customer_id}", CREDIT)).sequence
    commits = (world.commit(customer_id, f"commit {n}", held, 1, final=False) for n in range(count))
    assert all(isinstance(outcome, Committed) for outcome in await asyncio.gather(*commits))
    release = books.Release("release", fingerprint("release"), held)
    entry_of(await world.execute(customer_id, release))
    return held


def reversal(reservation: int) -> books.Reverse:
    return books.Reverse("undo", fingerprint("undo"), None, reservation, "undone")


@pytest.mark.parametrize("beyond", [0, 1])
async def test_a_reservation_is_reversed_up_to_a_bound(world: World, beyond: int) -> None:
    """With its release it has as many lines as are undone at once: all comes back. With one more, nothing."""
    acme = await world.customer("acme", 10_000 * CREDIT)
    commits = LINES_UNDONE_MAX - 1 + beyond
    held = await in_parts(world, acme, commits)
    outcome = await world.execute(acme, reversal(held))
    if beyond:
        assert outcome == books.Refusal(
            RefusalReason.REVERSAL_TOO_LARGE, {"lines_max": str(LINES_UNDONE_MAX)}
        )
    else:
        assert entry_of(outcome).credits.consumed == -commits * CREDIT
    await assert_books_hold(world)


async def test_the_refunds_of_parts_count_where_the_whole_is_reversed(world: World) -> None:
    """A reversal looks at them too."""
    acme = await world.customer("acme", 10_000 * CREDIT)
    held = await in_parts(world, acme, LINES_UNDONE_MAX - 1)
    commit = held + 1
    refund = books.Refund("refund", fingerprint("refund"), commit, 1, "goodwill")
    assert entry_of(await world.execute(acme, refund)).charged_micros == -1
    refused = await world.execute(acme, reversal(held))
    assert isinstance(refused, books.Refusal)
    assert refused.reason is RefusalReason.REVERSAL_TOO_LARGE


@pytest.mark.parametrize(("lines", "refunds_max"), [(1, REFUNDS_MAX), (1_000, REFUND_LINES_MAX // 1_000 - 1)])
async def test_a_charge_takes_a_bounded_number_of_refunds(world: World, lines: int, refunds_max: int) -> None:
    """After so many of a part of it there is none but that of all that is left."""
    acme = await world.customer("acme", 10_000 * CREDIT)
    charge = books.Charge("charge", fingerprint("charge"), None)
    charged = entry_of(await world.execute(acme, charge, pages(1) * lines))

    async def refund(name: str, micros: int | None) -> Committed | books.Refusal:
        command = books.Refund(name, fingerprint(name), charged.sequence, micros, "goodwill")
        return await world.execute(acme, command)

    for n in range(refunds_max):
        assert entry_of(await refund(f"{n}", 3)).charged_micros == -3
    left = lines * CREDIT - 3 * refunds_max
    assert await refund("one more", 3) == books.Refusal(
        RefusalReason.TOO_MANY_REFUNDS, {"refunds_max": str(refunds_max), "left_micros": str(left)}
    )
    last = entry_of(await refund("the rest", None))
    assert (last.charged_micros, last.final) == (-left, True)
    await assert_books_hold(world)


async def test_a_load_of_what_goes_back_looks_up_row_by_row(world: World, database_url: str) -> None:
    """Under the plan that was made for empty tables, too: no row is compared with every other."""
    owner = await asyncpg.connect(database_url)
    for name in ("hashjoin", "mergejoin", "seqscan"):
        await owner.execute(f"SET enable_{name} = off")
    await owner.execute("SET plan_cache_mode = force_generic_plan")
    await owner.execute(f"PREPARE undo(bigint, bigint, bigint) AS {LOAD_REVERSAL.format(cell='cell_00')}")
    acme = await world.customer("acme", 10_000 * CREDIT)
    held = await in_parts(world, acme, 50)
    for n in range(20):
        refund = books.Refund(f"{n}", fingerprint(f"{n}"), held + 1, 1, "goodwill")
        entry_of(await world.execute(acme, refund))
    explain = "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE undo"
    customer = await owner.fetchval("SELECT customer FROM cell_00.wallets")
    for subject in (f"{held + 1}, NULL", f"NULL, {held}"):
        found = json.loads(await owner.fetchval(f"{explain}({customer}, {subject})"))
        assert list(compared(found[0]["Plan"])) == []
    await owner.close()


def compared(node):
    """The joins that threw away pairs of rows."""
    if node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"] > 1:
        yield node
    for child in node.get("Plans", ()):
        yield from compared(child)


async def test_nobody_waits_for_what_goes_back_of_another(world: World, database_url: str) -> None:
    """While the load of a reversal waits, a customer who is not in memory is loaded and holds credits."""
    acme = await world.customer("acme", 100 * CREDIT)
    charge = books.Charge("charge", fingerprint("charge"), CREDIT)
    charged = entry_of(await world.execute(acme, charge))
    other = await world.customer("other", 100 * CREDIT)
    world.engine._cells["cell_00"]._customers.members.clear()
    owner = await asyncpg.connect(database_url)
    async with owner.transaction():
        # Only a load of what goes back reads dollars, and a hold writes none.
        await owner.execute("LOCK TABLE cell_00.money IN ACCESS EXCLUSIVE MODE")
        undo = books.Reverse("undo", fingerprint("undo"), charged.sequence, None, "undone")
        waiting = asyncio.create_task(world.execute(acme, undo))
        waits = "SELECT count(*) FROM pg_locks WHERE relation = 'cell_00.money'::regclass AND NOT granted"
        while not await owner.fetchval(waits):
            assert not waiting.done()
        assert entry_of(await world.reserve(other, "hold", CREDIT)).credits.held == CREDIT
        assert not waiting.done()
    await owner.close()
    assert entry_of(await waiting).charged_micros == -CREDIT


async def test_a_load_of_what_goes_back_leaves_the_other_connection_to_others(
    world: World, database_url: str
) -> None:
    """While one customer's reversal waits for its reservation, another's refund is loaded and booked."""
    acme = await world.customer("acme", 100 * CREDIT)
    held = await in_parts(world, acme, 1)
    other = await world.customer("other", 100 * CREDIT)
    charge = books.Charge("charge", fingerprint("charge"), CREDIT)
    charged = entry_of(await world.execute(other, charge))
    cell = world.engine._cells["cell_00"]
    loads = [loader.fetch for loader in cell._returns]
    begun, goes_on = asyncio.Event(), asyncio.Event()

    def held_up(load: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def fetch(
            connection: object, members: Sequence[Member], *said: object, **named: object
        ) -> object:
            if not begun.is_set():
                begun.set()
                await goes_on.wait()
            return await load(connection, members, *said, **named)

        return fetch

    for loader, load in zip(cell._returns, loads, strict=True):
        loader.fetch = held_up(load)  # type: ignore[method-assign, assignment]
    waiting = asyncio.create_task(world.execute(acme, reversal(held)))
    await begun.wait()
    refund = books.Refund("refund", fingerprint("refund"), charged.sequence, 1, "goodwill")
    assert entry_of(await world.execute(other, refund)).charged_micros == -1
    assert not waiting.done()
    goes_on.set()
    assert entry_of(await waiting).credits.consumed == -CREDIT
