"""What a product's backend does by the client: hold, charge, give back, look."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from client_world import Shop, sandbox, searches

from ledger.client import (
    Credits,
    InsufficientCredits,
    ReservationNotFound,
    ReservationState,
    SyncCredits,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_hold_and_charge(credits: Credits, customer: str) -> None:
    """A hold is extended, partly charged, and given back; credits are exact decimals and micro-credits."""
    held = await credits.reserve(
        customer, amount=Decimal(10), labels={"agent": "reviewer", "team": "blue"}, ttl_seconds=60
    )
    assert (held.held, held.held_micros, held.state) == (Decimal(10), 10_000_000, ReservationState.OPEN)
    assert held.labels == {"agent": "reviewer", "team": "blue"}
    more = await credits.extend(customer, held.reservation_id, amount=Decimal("2.5"), ttl_seconds=600)
    assert more.held == Decimal("12.5")
    assert more.expires_at > held.expires_at
    part = await credits.commit(customer, held.reservation_id, [sandbox(3600)], final=False)
    assert (part.charged, part.final, part.lines[0].quantities["duration_seconds"]) == (4, False, 3600)
    assert part.reservation is not None
    assert part.reservation.held == Decimal("8.5")
    closed = await credits.release(customer, held.reservation_id)
    assert (closed.state, closed.held) == (ReservationState.RELEASED, 0)
    assert (await credits.balance(customer)).available == 96


async def test_refusals_are_classes(credits: Credits, customer: str) -> None:
    """What was refused says by its class why, and by its attributes what is short."""
    with pytest.raises(InsufficientCredits) as short:
        await credits.reserve(customer, amount=101, request_id="too-much")
    assert (short.value.short_micros, short.value.short) == (1_000_000, 1)
    assert short.value.request_id == "too-much"
    with pytest.raises(ReservationNotFound) as unknown:
        await credits.release(customer, "rsv_unknown")
    assert unknown.value.reservation_id == "rsv_unknown"


async def test_a_check_says_what_a_reserve_would_raise(credits: Credits, shop: Shop, customer: str) -> None:
    """And what each item costs, in all and a unit; nothing is held. Without a loop the same."""
    found = await credits.check(customer, [searches(3), sandbox(60)])
    assert (found.allowed, found.refusal, found.items[0].denied_by) == (True, None, "")
    quoted = await credits.quote(customer, [searches(3), sandbox(60)])
    assert ([item.line for item in found.items], found.credits) == ([*quoted.lines], quoted.credits)
    listed = {rate for item in (await credits.price_list(customer)).items for rate in item.rates}
    assert all(item.prices and listed.issuperset(item.prices) for item in found.items)

    available = (await credits.balance(customer)).available
    refused = await credits.check(customer, amount=available + 1)
    assert not refused.allowed
    with pytest.raises(InsufficientCredits) as caught:
        await credits.reserve(customer, amount=available + 1)
    assert isinstance(refused.refusal, InsufficientCredits)
    assert (str(refused.refusal), refused.refusal.short) == (str(caught.value), caught.value.short)
    assert refused.balance.available == available

    def checked_in_a_thread() -> object:
        with SyncCredits(shop.target) as waiting:
            return waiting.check(customer, [searches(3), sandbox(60)]).items

    assert await asyncio.to_thread(checked_in_a_thread) == found.items
