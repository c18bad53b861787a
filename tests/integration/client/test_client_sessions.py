"""Sessions: what is added is charged while the work goes on; the hold is kept up, and given back."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import pytest
from client_world import Shop, sandbox, searches

from ledger.client import (
    Balance,
    ClientClosed,
    Credits,
    InsufficientCredits,
    InvalidArgument,
    JournalFull,
    Session,
    SyncCredits,
    SyncSession,
    UsageError,
)
from ledger.client.usage import Work
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOUR = 3_600
"""Of a sandbox: 4 credits."""
Ending: TypeAlias = Callable[[Credits, Session], Awaitable[None]]


async def test_what_was_added_is_charged_and_the_rest_given_back(credits: Credits, customer: str) -> None:
    """Leaving a session makes its last part final: nothing stays held."""
    async with credits.session(customer, estimate=10, labels={"agent": "reviewer"}) as session:
        assert (session.held, session.remaining) == (10, 100)
        session.add(sandbox(HOUR))
        session.add([sandbox(HOUR // 2), sandbox(HOUR // 4)])
    assert session.charged == 7
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (93, 0)
    (line,) = session.summary().lines
    assert (line.title, line.credits, line.quantities["duration_seconds"]) == ("Sandbox time", 7, 6300)
    assert session.summary().uncommitted == ()


async def test_a_session_in_which_nothing_was_used_releases_its_hold(credits: Credits, customer: str) -> None:
    """Nothing is charged."""
    async with credits.session(customer, estimate=[sandbox(HOUR)]) as session:
        assert session.held == 4
    assert session.charged == 0
    assert (await credits.balance(customer)).available == 100


async def test_the_hold_is_filled_up(credits: Credits, customer: str) -> None:
    """Credits are asked for before they run out: a session charges many times its estimate."""
    async with credits.session(customer, estimate=5) as session:
        for _ in range(20):
            session.add(sandbox(HOUR))
            await session.flush()
    assert session.charged == 80
    assert (await credits.balance(customer)).available == 20


async def test_a_refused_extension_stops_the_work_within_one_add(credits: Credits, shop: Shop) -> None:
    """The usage of the add that raises is charged too."""
    customer = await shop.new_customer(credits=10)
    added = 0

    async def work(session: Session) -> None:
        nonlocal added
        async with session:
            while True:
                added += 1
                session.add(sandbox(HOUR // 4))
                await session.flush()

    session = credits.session(customer, estimate=4)
    with pytest.raises(InsufficientCredits) as short:
        await work(session)
    assert short.value.short_micros > 0
    assert session.charged == added
    assert added >= 9
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (10 - added, 0)


async def test_a_wrong_item_fails_alone(credits: Credits, customer: str) -> None:
    """What was added with it is charged, and leaving says what is wrong with it."""
    with pytest.raises(InvalidArgument):
        async with credits.session(customer, estimate=10) as session:
            session.add([sandbox(HOUR), sandbox(-1), sandbox(HOUR), sandbox(HOUR)])
    assert session.charged == 12
    assert (await credits.balance(customer)).held == 0


async def test_an_exception_ends_the_session(credits: Credits, customer: str) -> None:
    """What was used before it is charged, the rest given back, and the exception goes on."""

    async def work() -> None:
        async with credits.session(customer, estimate=10) as session:
            session.add(sandbox(HOUR))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (96, 0)


async def test_a_task_that_is_cancelled_ends_its_session(credits: Credits, customer: str) -> None:
    """In its work, and again while it leaves: what it used is charged."""
    added = asyncio.Event()

    async def work() -> None:
        async with credits.session(customer, estimate=10) as session:
            session.add(sandbox(HOUR))
            added.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await added.wait()
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def is_settled() -> bool:
        balance = await credits.balance(customer)
        return (balance.available, balance.held) == (96, 0)

    await until(is_settled)


async def test_a_task_that_is_cancelled_while_it_enters_holds_nothing(shop: Shop, customer: str) -> None:
    """The client gives back what the answer that nobody waited for says is held."""
    async with Credits(shop.target) as credits:
        task = asyncio.create_task(credits.session(customer, estimate=10).__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with Credits(shop.target) as credits:
        balance = await credits.balance(customer)
        assert (balance.available, balance.held) == (100, 0)


async def test_closing_the_client_ends_its_sessions(shop: Shop, customer: str) -> None:
    """Nobody has to remember them: what was added is charged, and no task is left."""
    async with Credits(shop.target) as credits:
        session = await credits.session(customer, estimate=10).__aenter__()
        session.add(sandbox(HOUR))
    assert session.charged == 4
    with pytest.raises(ClientClosed):
        session.add(sandbox(HOUR))
    with pytest.raises(ClientClosed):
        credits.session(customer, estimate=10)

    async def has_no_tasks() -> bool:
        return not [task for task in asyncio.all_tasks() if _is_the_clients(task)]

    await until(has_no_tasks)


async def _left(credits: Credits, session: Session) -> None:
    await session.__aexit__(None, None, None)


async def _left_by_an_error(credits: Credits, session: Session) -> None:
    await session.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)


async def _left_by_a_cancelled_task(credits: Credits, session: Session) -> None:
    leaving = asyncio.create_task(_left(credits, session))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def _closed_before_it_is_left(credits: Credits, session: Session) -> None:
    await credits.close()
    await _left(credits, session)


async def _closed_while_it_is_left(credits: Credits, session: Session) -> None:
    leaving = asyncio.create_task(_left(credits, session))
    closing = asyncio.create_task(credits.close())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving, closing])


async def _closed_while_it_commits(credits: Credits, session: Session) -> None:
    session.add(sandbox(HOUR))
    flushing = asyncio.create_task(session.flush())
    await asyncio.sleep(0)
    await credits.close()
    await flushing


@pytest.mark.parametrize(
    ("ended", "charged"),
    [
        (_left, 4),
        (_left_by_an_error, 4),
        (_left_by_a_cancelled_task, 4),
        (_closed_before_it_is_left, 4),
        (_closed_while_it_is_left, 4),
        (_closed_while_it_commits, 8),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_was_used_so_far_is_charged_whatever_ends_the_session(
    shop: Shop, customer: str, ended: Ending, charged: int
) -> None:
    """A stream is not read on, and nobody may have ended it when the client is closed."""
    asked = 0

    def used() -> Work:
        nonlocal asked
        asked += 1
        return {"compute": "sandbox", "seconds": asked * HOUR}

    async with Credits(shop.target) as credits:
        session = await credits.session(customer, estimate=10).__aenter__()
        session.add_at_end(used)
        await ended(credits, session)
    assert session.charged == charged
    with pytest.raises(ClientClosed):
        session.add_at_end(used)
    async with Credits(shop.target) as credits:
        balance = await credits.balance(customer)
        assert (balance.available, balance.held) == (100 - charged, 0)


@pytest.mark.parametrize(
    ("used", "said"),
    [
        (dict, "give one of usage"),
        ([].pop, "what a session adds at its end: IndexError"),
    ],
)
async def test_what_cannot_be_added_at_the_end(
    shop: Shop, customer: str, used: Callable[[], Work], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Leaving raises it, closing logs it; the rest is charged, also of other sessions."""
    async with Credits(shop.target) as credits:
        session = await credits.session(customer, estimate=10).__aenter__()
        session.add_at_end(used)
        session.add_at_end(lambda: {"compute": "sandbox", "seconds": HOUR})
        with pytest.raises(UsageError, match=said):
            await _left(credits, session)
        for at_end in (used, lambda: Work(compute="sandbox", seconds=HOUR)):
            other = await credits.session(customer, estimate=10).__aenter__()
            other.add_at_end(at_end)
    logged = [record.message for record in caplog.records if record.name == "ledger.client.session"]
    assert [said in message for message in logged] == [True, True]
    async with Credits(shop.target) as credits:
        assert (await credits.balance(customer)).available == 92


@pytest.mark.timeout(300)
async def test_a_session_of_ten_times_its_life(credits: Credits, customer: str) -> None:
    """Time is asked for before it runs out: the hold lives as long as the session."""
    async with credits.session(customer, estimate=10, ttl_seconds=1) as session:

        async def is_ten_times_as_old() -> bool:
            # Where the machine stood still for as long as the hold lived, it is a new one, or about to be.
            if session.reservation_id is None:
                return False
            held = await credits.get_reservation(customer, session.reservation_id)
            assert held.created_at is not None
            return held.expires_at - held.created_at > timedelta(seconds=10)

        await until(is_ten_times_as_old)
        session.add(sandbox(HOUR))
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (96, 0)


async def test_a_hold_that_is_gone_is_taken_anew(credits: Credits, customer: str) -> None:
    """What was to be charged to it is charged all the same, and the work goes on."""
    async with credits.session(customer, estimate=10) as session:
        first = session.reservation_id
        assert first is not None
        await credits.release(customer, first)
        session.add(sandbox(HOUR))
        await session.flush()

        async def holds_anew() -> bool:
            return session.reservation_id not in (None, first)

        await until(holds_anew)
        session.add(sandbox(HOUR))
    assert session.charged == 8
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (92, 0)


async def test_a_full_disk(
    shop: Shop, customer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An add that cannot be stored says so and is not charged; what was stored before is."""
    async with Credits(shop.target, journal=tmp_path) as credits:
        async with credits.session(customer, estimate=10) as session:
            session.add(sandbox(HOUR))
            with monkeypatch.context() as patched:
                patched.setattr(os, "pwrite", _no_room)
                with pytest.raises(JournalFull, match="No space left"):
                    session.add(sandbox(HOUR))
                session.leave()
                assert session._task is not None
                await session._task
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", _no_room)
            with pytest.raises(JournalFull):
                await credits.session(customer, estimate=10).__aenter__()
        assert session.charged == 4
        balance = await credits.balance(customer)
        assert (balance.available, balance.held) == (96, 0)
    async with Credits(shop.target, journal=tmp_path) as credits:
        await credits.recover()
        assert (await credits.balance(customer)).available == 96


async def test_a_journal_has_a_bound(shop: Shop, customer: str, tmp_path: Path) -> None:
    """What is past it is refused; what is charged makes room again."""
    async with Credits(shop.target, journal=tmp_path, journal_bytes_max=3_000) as credits:
        async with credits.session(customer, estimate=10) as session:
            with pytest.raises(JournalFull, match="at most 3000"):
                session.add([searches(1) for _ in range(200)])
            for _ in range(20):
                session.add([searches(1) for _ in range(10)])
                await session.flush()
        assert session.charged == 2


def _is_the_clients(task: asyncio.Task[object]) -> bool:
    """The server of the tests is in this process too."""
    work = task.get_coro()
    return work is not None and "/ledger/client/" in work.cr_code.co_filename


def _no_room(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_whatever_a_program_has_at_hand(credits: Credits, customer: str) -> None:
    """Machines, meters, outcomes, or items; of what cannot be counted nothing is taken."""
    async with credits.session(customer, estimate=10) as session:
        session.add(compute="sandbox", seconds=HOUR)
        session.outcome("ticket.resolved", subject="ticket-17")
        session.outcome("ticket.resolved", subject="ticket-18", result="failed")
        with pytest.raises(UsageError):
            session.add(usage=[{"units": {"meter": "web_search", "quantity": "5"}}, {"units": {}}, None])
        with pytest.raises(UsageError):
            session.add(searches(1), usage=searches(1))
    assert session.charged == 6


async def test_a_session_without_an_event_loop(shop: Shop, customer: str) -> None:
    """The same calls wait, with the same errors and the same end; no thread is left."""

    def work() -> SyncSession:
        with SyncCredits(shop.target) as credits:
            with credits.session(customer, estimate=10) as session:
                assert (session.held, session.remaining, session.reservation_id is None) == (10, 100, False)
                session.add(compute="sandbox", seconds=HOUR)
                session.flush()
                session.check()
                assert session.summary().charged == 4
                session.outcome("ticket.resolved", subject="ticket-17")
            with pytest.raises(ClientClosed):
                session.add(sandbox(HOUR))
            return session

    assert (await asyncio.to_thread(work)).charged == 6
    assert [thread.name for thread in threading.enumerate() if thread.name == "ledger-client"] == []
    balance = await _balance(shop, customer)
    assert (balance.available, balance.held) == (94, 0)


async def _balance(shop: Shop, customer: str) -> Balance:
    async with Credits(shop.target) as credits:
        return await credits.balance(customer)


async def test_1000_sessions_at_once(credits: Credits, shop: Shop) -> None:
    """One process has as many: each charges what was added to it, and no task is left."""
    customers = [await shop.new_customer(credits=1_000) for _ in range(10)]

    async def work(number: int) -> Decimal:
        async with credits.session(customers[number % 10], estimate=1) as session:
            for _ in range(3):
                session.add(sandbox(HOUR // 8))
                await asyncio.sleep(0)
        return session.charged

    charged = await asyncio.gather(*(work(number) for number in range(1_000)))
    assert set(charged) == {Decimal("1.5")}
    for customer in customers:
        balance = await credits.balance(customer)
        assert (balance.available, balance.held) == (850, 0)
