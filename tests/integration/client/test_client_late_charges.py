"""A charge of work that is done, with `on_outage="allow"`: made at once, or stored and made later."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from client_world import PATIENT_SECONDS, Shop, charged_searches, files_in, searches

from ledger.client import (
    Charge,
    Credits,
    CustomerNotFound,
    JournalError,
    PendingCharge,
    RequestIdReused,
    SyncCredits,
)
from ledger.client.limits import ClientLimits
from tests.faults.servers import Server
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_a_charge_that_is_answered(shop: Shop, customer: str, tmp_path: Path) -> None:
    """It is a charge like any other: what is owed is not collected, and a refused one leaves nothing."""
    credits = Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=tmp_path)
    credits._limits = ClientLimits(patience_seconds=PATIENT_SECONDS)
    async with credits:
        for replayed in (False, True):
            charge = await credits.charge(
                customer, [searches(100)], already_used=True, on_outage="allow", request_id="search"
            )
            assert isinstance(charge, Charge)
            assert charge.written is not None
            assert (charge.charged, charge.written.replayed) == (1, replayed)
        charge = await credits.charge(customer, amount=150, already_used=True, on_outage="allow")
        assert isinstance(charge, Charge)
        assert (charge.charged, charge.uncollected) == (99, 51)
        with pytest.raises(CustomerNotFound):
            await credits.charge("nobody", amount=1, already_used=True, on_outage="allow")
        assert (await credits.recover()).refused == ()
    assert files_in(tmp_path) == []


async def test_a_charge_while_nobody_answers(server: Server, tmp_path: Path) -> None:
    """It is pending, whatever the client's own policy, and is made once, by this process or another."""
    journal = tmp_path / "journal"
    customer = await Shop(server.public, server.back_office).new_customer()
    await server.kill()
    async with Credits(server.public, timeout_seconds=PATIENT_SECONDS, journal=journal) as first:
        for request_id, quantity in (("one", 100), ("two", 200), ("one", 100)):
            pending = await first.charge(
                customer,
                [searches(quantity)],
                already_used=True,
                on_outage="allow",
                labels={"agent": "reviewer"},
                request_id=request_id,
            )
            assert pending == PendingCharge(request_id, customer)
        with pytest.raises(RequestIdReused):
            await first.charge(customer, amount=3, already_used=True, on_outage="allow", request_id="one")
    async with Credits(server.public, timeout_seconds=PATIENT_SECONDS, journal=journal) as second:
        amount = Decimal("2.5")
        pending = await second.charge(customer, amount=amount, already_used=True, on_outage="allow")
        assert isinstance(pending, PendingCharge)
        await server.start(same_ports=True)

        async def all_is_charged() -> bool:
            recovery = await second.recover()
            balance = await second.balance(customer)
            return recovery.complete and balance.available == 100 - 3 - amount

        await until(all_is_charged)
        assert sorted(await charged_searches(server.public, customer)) == [100, 200]
    assert files_in(journal) == []


async def test_code_without_a_loop_has_it_too(tmp_path: Path) -> None:
    """And what cannot be stored is not sent: it says so."""
    with SyncCredits("127.0.0.1:1", journal=tmp_path / "journal") as credits:
        pending = credits.charge("acme", amount=1, already_used=True, on_outage="allow", request_id="one")
        assert pending == PendingCharge("one", "acme")
        credits._credits._delivery.outbox._journal.close()
        with pytest.raises(JournalError):
            credits.charge("acme", amount=1, already_used=True, on_outage="allow")


async def test_what_it_needs(tmp_path: Path) -> None:
    """Work that is done, and a journal."""
    async with Credits("127.0.0.1:1", journal=tmp_path) as credits:
        with pytest.raises(TypeError, match="already_used"):
            await credits.charge("acme", amount=1, on_outage="allow")
    async with Credits("127.0.0.1:1") as credits:
        with pytest.raises(ValueError, match="journal"):
            await credits.charge("acme", amount=1, already_used=True, on_outage="allow")
