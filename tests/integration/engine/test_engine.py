"""The engine on a real database: order, repeats, conflicts, lost connections, what is due by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
import pytest
from engine_world import World, entry_of, fingerprint, pages

from ledger import books
from ledger.books import RefusalReason
from ledger.engine.command import Committed, FaultError, UnavailableError, all_done
from ledger.engine.limits import EngineLimits
from ledger.prices.limits import PriceLimits
from ledger.store.postgres.database import Database
from ledger.store.prices.versions import CONVERGENCE
from tests.amounts import CREDIT

AT_ONCE = PriceLimits(convergence=timedelta())
"""What is published is in force, whoever has not found it yet."""
Start = Callable[..., Awaitable[World]]


async def sequences(database: Database) -> list[int]:
    rows = await database.finance.fetch("SELECT sequence FROM cell_00.entries ORDER BY sequence")
    return [row["sequence"] for row in rows]


async def wallet(database: Database) -> asyncpg.Record:
    row = await database.finance.fetchrow("SELECT * FROM cell_00.wallets")
    assert row is not None
    return row


async def test_commands_of_a_customer_are_numbered_without_gaps(world: World) -> None:
    """However many arrive at once, each takes the next sequence, in order of arrival."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    outcomes = await asyncio.gather(*(world.reserve(acme, f"r{n}", CREDIT) for n in range(200)))
    assert [entry_of(outcome).sequence for outcome in outcomes] == list(range(3, 203))
    assert await sequences(world.database) == list(range(1, 203))


async def test_a_commit_posts_credits_and_dollars_together(world: World) -> None:
    """A reservation of usage is priced, committed and booked in both commodities."""
    acme = await world.customer("acme", 100 * CREDIT)
    reserve = books.Reserve("r", fingerprint("r"), None)
    held = entry_of(await world.execute(acme, reserve, pages(10)))
    assert held.credits.held == 10 * CREDIT
    entry = entry_of(await world.commit(acme, "c", held.sequence, 7))
    assert (entry.credits.consumed, entry.credits.held) == (7 * CREDIT, -10 * CREDIT)
    row = await world.database.finance.fetchrow(
        "SELECT revenue, cost FROM cell_00.money WHERE sequence = $1", entry.sequence
    )
    assert row is not None
    assert (row["revenue"], row["cost"]) == (7 * CREDIT * 10, -7_000_000)


async def test_a_repeat_in_flight_shares_the_outcome(world: World) -> None:
    """Of fifty equal requests at once one has an effect; all get its answer."""
    acme = await world.customer("acme", 100 * CREDIT)
    outcomes = await asyncio.gather(*(world.reserve(acme, "same", CREDIT) for _ in range(50)))
    assert {entry_of(outcome).sequence for outcome in outcomes} == {3}
    assert sum(1 for outcome in outcomes if isinstance(outcome, Committed) and not outcome.replayed) == 1


async def test_the_same_id_with_another_body_is_refused(world: World) -> None:
    """In flight and in the journal alike."""
    acme = await world.customer("acme", 100 * CREDIT)
    first, second = await asyncio.gather(
        world.reserve(acme, "id", CREDIT), world.reserve(acme, "id", 2 * CREDIT)
    )
    third = await world.reserve(acme, "id", 3 * CREDIT)
    assert isinstance(first, Committed)
    for other in (second, third):
        assert isinstance(other, books.Refusal)
        assert other.reason is RefusalReason.REQUEST_ID_REUSED


async def test_a_repeat_is_answered_from_the_journal(world: World, start: Start) -> None:
    """By the same engine, and by one that has never seen the customer."""
    acme = await world.customer("acme", 100 * CREDIT)
    first = entry_of(await world.reserve(acme, "r", CREDIT))
    for engine in (world, await start()):
        again = await engine.reserve(acme, "r", CREDIT)
        assert isinstance(again, Committed)
        assert again.replayed
        assert again.entry == first
    assert await sequences(world.database) == [1, 2, 3]


async def test_a_repeat_of_a_success_is_not_refused(world: World) -> None:
    """The credits are gone since; the request that took them is answered from its entry all the same."""
    acme = await world.customer("acme", 10 * CREDIT)
    first = entry_of(await world.reserve(acme, "all", 10 * CREDIT))
    again = await world.reserve(acme, "all", 10 * CREDIT)
    assert entry_of(again) == first
    refused = await world.reserve(acme, "more", CREDIT)
    assert isinstance(refused, books.Refusal)
    assert refused.reason is RefusalReason.INSUFFICIENT_CREDITS


async def test_a_refusal_takes_no_request_id(world: World) -> None:
    """After a top-up the same request succeeds."""
    acme = await world.customer("acme")
    assert isinstance(await world.reserve(acme, "r", CREDIT), books.Refusal)
    grant = books.IssueGrant("g", fingerprint("g"), CREDIT, books.GrantKind.PROMO, 0)
    await world.execute(acme, grant)
    assert entry_of(await world.reserve(acme, "r", CREDIT)).credits.held == CREDIT


async def test_two_engines_share_a_customer(world: World, start: Start) -> None:
    """Neither loses a command of its own nor doubles one; a stale refusal is never answered."""
    other = await start()
    acme = await world.customer("acme", 1_000 * CREDIT)
    outcomes = await asyncio.gather(
        *(
            engine.reserve(acme, f"{n}-{side}", CREDIT)
            for n in range(100)
            for side, engine in enumerate((world, other))
        )
    )
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert await sequences(world.database) == list(range(1, 203))
    grant = books.IssueGrant("more", fingerprint("more"), 1_000 * CREDIT, books.GrantKind.PROMO, 0)
    assert isinstance(await world.reserve(acme, "large", 1_500 * CREDIT), books.Refusal)
    await other.execute(acme, grant)
    assert isinstance(await world.reserve(acme, "large", 1_500 * CREDIT), Committed)


async def test_a_contended_customer_returns_to_memory(world: World, start: Start) -> None:
    """Once nobody else changes it, a few rounds under the lock are enough, and nothing is lost on the way."""
    other = await start()
    acme = await world.customer("acme", 100 * CREDIT)
    member = None
    entries = 2
    while member is None or not member.contended:  # A look at what others wrote may have come before.
        await world.reserve(acme, f"mine-{entries}", CREDIT)
        await other.reserve(acme, f"theirs-{entries}", CREDIT)
        (member,) = world.engine._cells["cell_00"]._customers.members.values()
        entries += 2
    for n in range(5):
        await world.reserve(acme, f"alone-{n}", CREDIT)
    assert not member.contended
    assert await sequences(world.database) == list(range(1, entries + 6))


async def test_two_engines_cannot_spend_one_credit_twice(world: World, start: Start) -> None:
    """Of two final commits of one reservation one is refused, and the hold is given back once."""
    other = await start()
    acme = await world.customer("acme", 10 * CREDIT)
    for n in range(20):
        held = entry_of(await world.reserve(acme, f"r{n}", CREDIT)).sequence
        outcomes = await asyncio.gather(
            world.commit(acme, f"a{n}", held, 0), other.commit(acme, f"b{n}", held, 0)
        )
        assert sum(isinstance(outcome, Committed) for outcome in outcomes) == 1
    assert (await wallet(world.database))["held"] == 0


async def under_load_and_killed(world: World, url: str) -> list[int]:
    """The sequences of 400 reserves, while backends of writer and loader are ended again and again."""
    acme = await world.customer("acme", 1_000 * CREDIT)
    admin = await asyncpg.connect(url)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'acu cell_00%'"

    async def reserved(request_id: str) -> Committed | books.Refusal:
        while True:  # On a slow machine one command may be cut off as often as it is tried.
            with suppress(UnavailableError):
                return await world.reserve(acme, request_id, CREDIT)

    async def load(client: int) -> list[Committed | books.Refusal]:
        return [await reserved(f"{client}-{n}") for n in range(20)]

    clients = [asyncio.create_task(load(client)) for client in range(20)]
    pause_seconds = 0.2
    while not all(client.done() for client in clients):
        await admin.fetch(kill)
        await asyncio.wait(clients, timeout=pause_seconds)
        pause_seconds *= 1.2  # A machine that is too slow for this pause has time in a later one.
    await admin.close()
    outcomes = [outcome for client in clients for outcome in client.result()]
    return sorted(entry_of(outcome).sequence for outcome in outcomes)


async def test_killed_backends_lose_and_double_nothing(world: World, database_url: str) -> None:
    """Every command takes effect once, and that is reported to its caller."""
    assert await under_load_and_killed(world, database_url) == list(range(3, 403))
    assert await sequences(world.database) == list(range(1, 403))


async def test_killed_backends_of_a_role_that_was_only_set(start: Start, database_url: str) -> None:
    """With the owner's URL alone old backends are ended too, though the role itself may not end them."""
    database = await Database.open(database_url)
    world = await start(database=database)
    assert await under_load_and_killed(world, database_url) == list(range(3, 403))
    await world.engine.drain()
    await database.close()


async def test_a_caller_that_gives_up_cancels_its_wait_only(world: World) -> None:
    """The command of a cancelled call takes effect; its repeat is answered from the journal."""
    acme = await world.customer("acme", 10 * CREDIT)
    call = asyncio.create_task(world.reserve(acme, "r", CREDIT))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    again = await world.reserve(acme, "r", CREDIT)
    assert isinstance(again, Committed)
    assert again.replayed


async def test_one_bad_command_fails_alone(world: World, database_url: str) -> None:
    """A write that the database refuses takes none of its batch with it."""
    acme = await world.customer("acme", 10 * CREDIT)
    beta = await world.customer("beta", 10 * CREDIT)
    admin = await asyncpg.connect(database_url)
    await admin.execute("ALTER TABLE cell_00.entries ADD CHECK (request_id <> 'bad')")
    await admin.close()
    good, bad, other = await asyncio.gather(
        world.reserve(acme, "good", CREDIT),
        world.reserve(acme, "bad", CREDIT),
        world.reserve(beta, "other", CREDIT),
        return_exceptions=True,
    )
    assert isinstance(good, Committed)
    assert isinstance(bad, FaultError)
    assert isinstance(other, Committed)


async def booked(world: World, customer_id: str, request_id: str) -> books.Entry:
    """What is booked, sooner or later: where a busy machine lets it wait for too long it is sent again."""
    async with asyncio.timeout(60):
        while True:
            with suppress(UnavailableError):
                return entry_of(await world.reserve(customer_id, request_id, CREDIT))


@asynccontextmanager
async def locked_wallet(database_url: str, customer_id: str) -> AsyncIterator[None]:
    """Somebody has locked a customer's wallet, and does nothing with it."""
    somebody = await asyncpg.connect(database_url)
    try:
        async with somebody.transaction():
            await somebody.execute(
                "SELECT 1 FROM cell_00.wallets w JOIN ledger.customers c USING (customer)"
                " WHERE c.customer_id = $1 FOR UPDATE OF w",
                customer_id,
            )
            yield
    finally:
        await somebody.close()


@pytest.mark.parametrize("lock_timeout", ["5min"])
async def test_a_wallet_that_somebody_has_locked_holds_up_no_other(world: World, database_url: str) -> None:
    """Who shares its batch is written all the same; its own commands are once the lock is gone."""
    acme, beta = [await world.customer(name, 100 * CREDIT) for name in ("acme", "beta")]
    command = books.Reserve("r", fingerprint(f"reserve {CREDIT}"), CREDIT)
    async with locked_wallet(database_url, acme):
        stands, other = [world.engine.begin(customer_id, command) for customer_id in (acme, beta)]
        async with asyncio.timeout(60):
            await all_done((other,))
    assert entry_of(other.result()).sequence == 3
    await all_done((stands,))
    assert (await booked(world, acme, "r")).sequence == 3


@pytest.mark.parametrize("lock_timeout", ["100ms"])
async def test_who_waits_for_a_lock_is_answered(world: World, start: Start, database_url: str) -> None:
    """UNAVAILABLE after the time for which a command is retried, as while the database is away."""
    acme = await world.customer("acme", 100 * CREDIT)
    soon = await start(limits=EngineLimits(patience_seconds=0.5))
    async with locked_wallet(database_url, acme):
        stands = soon.engine.begin(acme, books.Reserve("r", fingerprint("r"), CREDIT))
        async with asyncio.timeout(60):
            await all_done((stands,))
        with pytest.raises(UnavailableError):
            stands.result()


@pytest.mark.parametrize("limits", [EngineLimits(wallets_max=2)])
async def test_idle_customers_leave_memory(world: World) -> None:
    """More customers than fit are served all the same, each from its last entry."""
    names = [await world.customer(f"c{n}", 10 * CREDIT) for n in range(10)]
    for turn in range(3):
        outcomes = await asyncio.gather(*(world.reserve(name, f"r{turn}", CREDIT) for name in names))
        assert [entry_of(outcome).sequence for outcome in outcomes] == [3 + turn] * 10
    assert len(world.engine._cells["cell_00"]._customers.members) <= 2


@pytest.mark.parametrize("limits", [EngineLimits(in_use_max=5)])
async def test_a_customer_may_need_more_at_once_than_stays_in_memory(world: World, start: Start) -> None:
    """What waits is decided, however much of it has to be loaded for that; then memory is made free again."""
    acme = await world.customer("acme", 100 * CREDIT)
    held = [entry_of(await world.reserve(acme, f"r{n}", CREDIT)).sequence for n in range(20)]
    for engine in (world, await start()):
        name = f"{id(engine)}"
        outcomes = await asyncio.gather(
            *(engine.commit(acme, f"{name} {n}", sequence, 0, final=False) for n, sequence in enumerate(held))
        )
        assert [entry_of(outcome).kind for outcome in outcomes] == [books.EntryKind.COMMIT] * 20


async def test_an_unknown_customer_is_refused(world: World) -> None:
    """CUSTOMER_NOT_FOUND, and nothing waits for it."""
    outcome = await world.reserve("nobody", "r", CREDIT)
    assert isinstance(outcome, books.Refusal)
    assert outcome.reason is RefusalReason.CUSTOMER_NOT_FOUND


async def test_a_reservation_of_another_customer_is_not_found(world: World) -> None:
    """A sequence is looked for among the customer's own reservations only."""
    acme, beta = await world.customer("acme", 10 * CREDIT), await world.customer("beta", 10 * CREDIT)
    both = entry_of(await world.reserve(beta, "x", CREDIT)).sequence
    assert entry_of(await world.reserve(acme, "r", CREDIT)).sequence == both
    hers = entry_of(await world.reserve(acme, "s", CREDIT)).sequence
    entry_of(await world.execute(beta, books.Release("rel", fingerprint("rel"), both)))
    outcome = await world.execute(beta, books.Release("no", fingerprint("no"), hers))
    assert isinstance(outcome, books.Refusal)
    assert outcome.reason is RefusalReason.RESERVATION_NOT_FOUND
    for held in (both, hers):
        committed = entry_of(await world.commit(acme, f"c{held}", held, CREDIT))
        assert (committed.kind, committed.late) == (books.EntryKind.COMMIT, False)


async def overdue(database_url: str) -> None:
    """Lets every open hold have expired a minute ago, as if time had passed."""
    admin = await asyncpg.connect(database_url)
    await admin.execute(
        "UPDATE cell_00.reservations SET created_at = created_at - interval '1 h',"
        " expires_at = now() - interval '1 min' WHERE state = 'OPEN'"
    )
    await admin.execute("UPDATE cell_00.wallets SET next_due_at = now() - interval '1 min'")
    await admin.close()


async def test_what_is_due_is_written_ahead_of_the_next_command(
    world: World, start: Start, database_url: str
) -> None:
    """An expired hold's credits are there for the command that comes after its expiry."""
    acme = await world.customer("acme", 10 * CREDIT)
    await world.reserve(acme, "r", 10 * CREDIT)
    await world.engine.drain()
    await overdue(database_url)
    later = await start()
    entry = entry_of(await later.reserve(acme, "again", 10 * CREDIT))
    rows = await world.database.finance.fetch("SELECT kind, sequence FROM cell_00.entries ORDER BY sequence")
    assert [row["kind"] for row in rows[2:]] == ["RESERVE", "RESERVATION_EXPIRED", "RESERVE"]
    assert entry.sequence == 5


async def test_the_sweeper_writes_what_no_command_wakes(
    world: World, start: Start, database_url: str
) -> None:
    """A hold expires within a second of its instant; a commit after that is late."""
    acme = await world.customer("acme", 10 * CREDIT)
    held = entry_of(await world.reserve(acme, "r", 10 * CREDIT)).sequence
    await world.engine.drain()
    await overdue(database_url)
    later = await start()
    await later.engine.sweepers[0].step()
    assert (await wallet(world.database))["next_due_at"] is None
    late = entry_of(await later.commit(acme, "late", held, 3))
    assert late.late
    assert late.credits.consumed == 3 * CREDIT


async def test_a_reservation_keeps_the_card_that_it_was_made_under(world: World, start: Start) -> None:
    """A price that rises during a run does not reach it, in another process either."""
    acme = await world.customer("acme", 100 * CREDIT)
    held = entry_of(await world.reserve(acme, "r", 10 * CREDIT)).sequence
    dearer = await start(each="5", name="dearer", revision=2, price_limits=AT_ONCE)
    entry = entry_of(await dearer.commit(acme, "c", held, 2))
    assert entry.credits.consumed == 2 * CREDIT
    charge = books.Charge("now", fingerprint("now"), None)
    assert entry_of(await dearer.execute(acme, charge, pages(2))).credits.consumed == 10 * CREDIT


async def test_a_process_that_has_not_looked_lately_looks_before_it_prices(
    world: World, start: Start
) -> None:
    """Whoever may not know what is in force asks first: no command is priced by what another replaced."""
    acme = await world.customer("acme", 100 * CREDIT)
    charge = [books.Charge(name, fingerprint(name), None) for name in ("first", "second")]
    assert entry_of(await world.execute(acme, charge[0], pages(2))).credits.consumed == 2 * CREDIT
    await start(each="5", name="dearer", revision=2, price_limits=AT_ONCE)
    world.engine.prices.published.asked_at -= CONVERGENCE.total_seconds()
    assert entry_of(await world.execute(acme, charge[1], pages(2))).credits.consumed == 10 * CREDIT


async def test_a_reversal_undoes_a_closed_reservation_once(world: World) -> None:
    """Credits and dollars go back; a second reversal, and one of an open reservation, are refused."""
    acme = await world.customer("acme", 10 * CREDIT)
    held = entry_of(await world.reserve(acme, "r", 5 * CREDIT)).sequence

    def reverse(request_id: str) -> books.Reverse:
        return books.Reverse(request_id, fingerprint(request_id), None, held, "test")

    early = await world.execute(acme, reverse("early"))
    assert isinstance(early, books.Refusal)
    assert early.reason is RefusalReason.RESERVATION_OPEN
    await world.commit(acme, "p", held, 1, final=False)
    await world.commit(acme, "f", held, 2)
    outcomes = await asyncio.gather(*(world.execute(acme, reverse(f"v{n}")) for n in range(5)))
    assert sum(isinstance(outcome, Committed) for outcome in outcomes) == 1
    assert (await wallet(world.database))["available"] == 10 * CREDIT
    assert await world.database.finance.fetchval("SELECT sum(revenue) FROM cell_00.money") == 0


async def test_a_lot_that_paid_debt_gets_that_back(world: World) -> None:
    """A charge that made debt is reversed after a grant has paid it: the grant's lot is whole again."""
    acme = await world.customer("acme", 2 * CREDIT, plan="overdraft")
    charge = books.Charge("c", fingerprint("c"), None, already_used=True)
    made = entry_of(await world.execute(acme, charge, pages(5)))
    assert made.credits.debt == -3 * CREDIT
    grant = books.IssueGrant("more", fingerprint("more"), 10 * CREDIT, books.GrantKind.PAID, 10**9)
    assert entry_of(await world.execute(acme, grant)).after.available == 7 * CREDIT
    undo = books.Reverse("undo", fingerprint("undo"), made.sequence, None, "test")
    assert entry_of(await world.execute(acme, undo)).after.available == 12 * CREDIT
    lots = await world.database.finance.fetch("SELECT amount, remaining FROM cell_00.lots ORDER BY sequence")
    assert [(lot["amount"], lot["remaining"]) for lot in lots] == [(2 * CREDIT,) * 2, (10 * CREDIT,) * 2]
    assert await world.database.finance.fetchval("SELECT sum(revenue) FROM cell_00.money") == 0


async def test_a_reversal_sees_what_was_due_before_it(world: World, start: Start, database_url: str) -> None:
    """A hold that expired unseen is closed, and its charges can be undone."""
    acme = await world.customer("acme", 10 * CREDIT)
    held = entry_of(await world.reserve(acme, "r", 5 * CREDIT)).sequence
    await world.commit(acme, "part", held, 2, final=False)
    await world.engine.drain()
    await overdue(database_url)
    later = await start()
    undo = books.Reverse("undo", fingerprint("undo"), None, held, "test")
    assert entry_of(await later.execute(acme, undo)).after.available == 10 * CREDIT


async def test_what_comes_during_a_load_is_not_taken_for_absent(world: World, start: Start) -> None:
    """A commit that arrives while its customer is being loaded finds its reservation."""
    acme = await world.customer("acme", 100 * CREDIT)
    held = [entry_of(await world.reserve(acme, f"r{n}", CREDIT)).sequence for n in range(50)]
    later = await start()
    await later.reserve(acme, "first", CREDIT)
    commits = []
    for n, sequence in enumerate(held):
        commits.append(asyncio.create_task(later.commit(acme, f"c{n}", sequence, 1)))
        await asyncio.sleep(0)
    assert all(isinstance(outcome, Committed) for outcome in await asyncio.gather(*commits))


async def test_a_customer_at_fault_stops_nobody_else(world: World, start: Start, database_url: str) -> None:
    """A hold on a lot that is not there cannot expire: its customer is at fault, and others are served."""
    acme, beta = await world.customer("acme", 10 * CREDIT), await world.customer("beta", 10 * CREDIT)
    await world.reserve(acme, "r", CREDIT)
    await world.engine.drain()
    admin = await asyncpg.connect(database_url)
    await admin.execute("""UPDATE cell_00.reservations SET pins = '[[99, 0, 1000000]]'""")
    await admin.close()
    await overdue(database_url)
    later = await start()
    with pytest.raises(KeyError):
        await later.reserve(acme, "again", CREDIT)
    assert isinstance(await later.reserve(beta, "b", CREDIT), Committed)
