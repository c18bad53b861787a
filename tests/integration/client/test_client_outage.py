"""The service is away: with `refuse` it is reported to callers, with `allow` work goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from client_world import PATIENT_SECONDS, Shop, charged_searches, files_in, searches

from ledger.client import Credits, NotNow, Session, Unavailable
from ledger.v1.credit_service_pb2 import BatchItem, BatchResult
from tests.faults.servers import Server
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SESSIONS = 40
ADDS = 5
"""Of each session before the outage, and as many while it lasts."""
SHORT_SECONDS = 3.0
"""Of a call, where nobody answers."""


@pytest_asyncio.fixture(loop_scope="session")
async def customers(server: Server) -> list[str]:
    """Customers of that server with more credits than they use."""
    shop = Shop(server.public, server.back_office)
    return [await shop.new_customer(credits=10_000) for _ in range(4)]


class Work:
    """Sessions at work, before an outage and in it."""

    def __init__(self, customers: list[str]) -> None:
        self._customers = customers
        self.added: Counter[tuple[str, int]] = Counter()
        self.refused = 0
        self._number = 0

    def add(self, session: Session) -> None:
        """Adds something of its own, and counts it as taken; the error may be of an earlier part."""
        self._number += 1
        self.added[session.customer_id, self._number] += 1
        try:
            session.add(searches(self._number))
        except NotNow:
            self.refused += 1

    async def run(
        self, credits: Credits, begins: Callable[[], Awaitable[None]], *, flushed: bool = False
    ) -> None:
        """All sessions at once: some adds, the outage, more adds, the end."""
        ready = asyncio.Barrier(SESSIONS + 1)
        away = asyncio.Event()

        async def session_of(customer: str) -> None:
            async with credits.session(customer, estimate=10) as session:
                for _ in range(ADDS):
                    self.add(session)
                if flushed:
                    await session.flush()
                await ready.wait()
                await away.wait()
                for _ in range(ADDS):
                    self.add(session)
                    await asyncio.sleep(0)

        tasks = [
            asyncio.create_task(session_of(self._customers[number % len(self._customers)]))
            for number in range(SESSIONS)
        ]
        await ready.wait()
        await begins()
        away.set()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, NotNow):
                self.refused += 1
            elif outcome is not None:
                raise outcome

    async def is_charged(self, server: Server) -> bool:
        """Whether all that was added is charged, and nothing else. Fails where something is twice."""
        found: Counter[tuple[str, int]] = Counter()
        for customer in self._customers:
            found.update((customer, each) for each in await charged_searches(server.public, customer))
        assert found <= self.added
        return found == self.added


async def test_work_goes_on(server: Server, customers: list[str], tmp_path: Path) -> None:
    """With `allow` sessions go on, end, and begin, and all is charged when the service is back."""
    work = Work(customers)
    journal = tmp_path / "journal"
    async with Credits(server.public, on_outage="allow", journal=journal) as credits:
        await work.run(credits, server.kill)
        assert work.refused == 0
        async with credits.session(customers[0], estimate=10) as session:
            assert session.reservation_id is None
            work.add(session)
        assert session.summary().uncommitted != ()
        await server.start(same_ports=True)
        await until(lambda: work.is_charged(server))
    assert files_in(journal) == []


async def test_callers_are_told(
    server: Server, customers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `refuse` sessions that cannot end say so, and none begins; from recovery on all is charged."""
    work = Work(customers)
    journal = tmp_path / "journal"
    async with Credits(server.public, timeout_seconds=PATIENT_SECONDS, journal=journal) as credits:

        async def kill() -> None:
            await server.kill()
            # A machine that is busy may need more for what is done before.
            monkeypatch.setattr(credits._delivery, "_timeout_seconds", SHORT_SECONDS)
            monkeypatch.setattr(credits, "_timeout_seconds", SHORT_SECONDS)

        await work.run(credits, kill, flushed=True)
        assert work.refused >= SESSIONS
        with pytest.raises(NotNow):
            await credits.session(customers[0], estimate=10).__aenter__()
        # It says so, and goes on in the background.
        recovery = await credits.recover()
        assert (recovery.complete, recovery.items, recovery.refused) == (False, 0, ())
        await server.start(same_ports=True)
        await until(lambda: work.is_charged(server))
    async with Credits(server.public, timeout_seconds=PATIENT_SECONDS, journal=journal) as credits:
        # What a process left is charged once, however often it is recovered.
        recovery = await credits.recover()
        assert (recovery.complete, recovery.refused) == (True, ())
        assert (await credits.recover()).items == 0
    assert await work.is_charged(server)
    assert files_in(journal) == []


async def test_leaving_waits_for_one_answer(shop: Shop, customer: str) -> None:
    """Not for another attempt after it; and a recovery that nobody waits for any more goes on."""
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS) as credits:
        session = await credits.session(customer, estimate=10).__aenter__()
        is_asked, is_over = asyncio.Event(), asyncio.Event()
        sent: list[BatchItem] = []

        async def nobody(item: BatchItem, *, timeout_seconds: float | None = None) -> BatchResult:
            del timeout_seconds
            sent.append(item)
            is_asked.set()
            await is_over.wait()
            raise Unavailable("nobody answers", code=grpc.StatusCode.UNAVAILABLE)

        assert credits._delivery is not None
        carry_out, credits._delivery._carry_out = credits._delivery._carry_out, nobody
        session.add(searches(100))
        await is_asked.wait()
        leaving = asyncio.create_task(session.__aexit__(None, None, None))
        await asyncio.sleep(0)
        is_over.set()
        with pytest.raises(Unavailable):
            await leaving
        assert len(sent) == 1
        is_asked.clear()
        is_over.clear()
        recovering = asyncio.create_task(credits.recover())
        await is_asked.wait()
        recovering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recovering
        credits._delivery._carry_out = carry_out
        is_over.set()

        async def is_settled() -> bool:
            balance = await credits.balance(customer)
            return (balance.available, balance.held) == (99, 0)

        await until(is_settled)


async def test_the_server_is_killed_under_load(server: Server, customers: list[str], tmp_path: Path) -> None:
    """Killed while sessions commit: what had no answer is sent again, and has one effect."""
    work = Work(customers)
    async with Credits(server.public, on_outage="allow", journal=tmp_path / "journal") as credits:

        async def kill_and_start() -> None:
            await server.kill()
            await server.start(same_ports=True)

        for _ in range(2):
            await work.run(credits, kill_and_start)
        await until(lambda: work.is_charged(server))


async def test_work_that_goes_on_needs_a_journal() -> None:
    """Usage that is charged late is stored, or the work is not begun."""
    with pytest.raises(ValueError, match="journal"):
        Credits("127.0.0.1:1", on_outage="allow")
