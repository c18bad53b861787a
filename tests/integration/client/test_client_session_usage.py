"""Sessions take usage as a program has it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from client_world import Shop

from ledger.client import Credits, UsageError

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_session_charges_an_answer_a_machine_and_an_outcome(shop: Shop, credits: Credits) -> None:
    """Each by the card: 10 credits a million in, 40 out; 4 an hour; 2 a ticket that is resolved.

    100,000 tokens in are 1, 50,000 out 2; an hour is 4; the ticket 2: 9 of 100.
    """
    customer_id = await shop.new_customer()
    usage = {"prompt_tokens": 100_000, "completion_tokens": 50_000, "dreamt_tokens": 7}
    async with credits.session(customer_id, estimate=Decimal(20)) as session:
        warnings = session.add(openai={"usage": usage, "model": "large-2"}, model="acme/large")
        assert warnings == (
            "openai: uncounted: response.usage.dreamt_tokens: 7, a number that is not counted",
        )
        assert session.add(compute="sandbox", seconds=3600.0) == ()
        session.outcome("ticket.resolved", subject="ticket-17")
    summary = session.summary()
    assert summary.charged == 9
    assert {line.name: line.credits for line in summary.lines} == {
        "acme/large": 3,
        "sandbox": 4,
        "ticket.resolved": 2,
    }
    balance = await credits.balance(customer_id)
    assert (balance.available_micros, balance.held_micros) == (91_000_000, 0)


async def test_what_cannot_be_counted_is_not_taken(shop: Shop, credits: Credits) -> None:
    """The error says why; what was added before and after is charged."""
    customer_id = await shop.new_customer()
    async with credits.session(customer_id, estimate=Decimal(20)) as session:
        session.add(compute="sandbox", seconds=1800)
        with pytest.raises(UsageError, match="openai: is None"):
            session.add(openai=None, model="acme/large")
        session.add(compute="sandbox", seconds=1800)
    assert session.summary().charged == 4
