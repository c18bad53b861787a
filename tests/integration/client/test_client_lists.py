"""What a product's backend looks at by the client: lists, the wallet, the usage report, prices."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from client_world import Shop, sandbox, searches

from ledger.client import (
    Credits,
    CustomerNotFound,
    Event,
    GrantKind,
    GrantStatus,
    ReservationState,
    StatementLineType,
    SyncCredits,
    TransactionType,
)
from ledger.client.lists import PAGE_SIZE
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHARGES = PAGE_SIZE + 20


async def test_lists_go_through_all_pages(credits: Credits, shop: Shop, customer: str) -> None:
    """Newest first, nothing twice and nothing left out; without a loop the same."""
    charging = (
        credits.charge(customer, amount=Decimal("0.1"), labels={"agent": "odd" if number % 2 else "even"})
        for number in range(CHARGES)
    )
    made = {each.charge_id for each in await asyncio.gather(*charging)}

    listed = [each async for each in credits.list_charges(customer)]
    assert (len(listed), {each.charge_id for each in listed}) == (CHARGES, made)
    odd = [each.labels async for each in credits.list_charges(customer, labels={"agent": "odd"})]
    assert odd == [{"agent": "odd"}] * (CHARGES // 2)

    lines = [each async for each in credits.list_transactions(customer)]
    assert [each.type for each in lines] == [TransactionType.CHARGE] * CHARGES + [TransactionType.GRANT]
    assert [each.charge_id for each in lines[:-1]] == [each.charge_id for each in listed]
    for later, earlier in pairwise(lines):
        assert later.balance_after.available == earlier.balance_after.available + later.available_change
    assert {each.consumed for each in lines[:-1]} == {Decimal("0.1")}

    def listed_in_a_thread() -> tuple[list[object], list[object]]:
        with SyncCredits(shop.target) as waiting:
            return list(waiting.list_charges(customer)), list(waiting.list_transactions(customer))

    assert await asyncio.to_thread(listed_in_a_thread) == (listed, lines)


async def test_reservations_by_state_and_label(credits: Credits, customer: str) -> None:
    """And charges of one of them: the parts of a hold."""
    first = await credits.reserve(customer, amount=1, labels={"project": "web"})
    second = await credits.reserve(customer, amount=2, labels={"project": "cli"})
    await credits.commit(customer, first.reservation_id, [searches(3)], final=False)
    await credits.commit(customer, first.reservation_id, [sandbox(900)], final=True)
    await credits.charge(customer, amount=1)

    async def ids(**asked: object) -> list[str]:
        return [each.reservation_id async for each in credits.list_reservations(customer, **asked)]

    assert await ids() == [second.reservation_id, first.reservation_id]
    assert await ids(state=ReservationState.OPEN) == [second.reservation_id]
    assert await ids(labels={"project": "web"}) == [first.reservation_id]
    assert await ids(state=ReservationState.OPEN, labels={"project": "web"}) == []
    parts = [each async for each in credits.list_charges(customer, reservation_id=first.reservation_id)]
    assert [(each.charged, each.final) for each in parts] == [(1, True), (Decimal("0.03"), False)]
    with pytest.raises(ValueError, match="unknown"):
        credits.list_reservations(customer, state=ReservationState.UNKNOWN)


async def test_the_wallet(credits: Credits, customer: str) -> None:
    """What credits are of, the grants, and prices; a balance of the past is of then."""
    await credits.reserve(customer, amount=40)
    now = await credits.balance(customer)
    (kind,) = now.by_kind
    assert (now.available, now.held, kind.kind, kind.available, kind.held) == (60, 40, GrantKind.PAID, 60, 40)
    (grant,) = [each async for each in credits.list_grants(customer)]
    assert (grant.kind, grant.status) == (GrantKind.PAID, GrantStatus.ACTIVE)
    assert (grant.amount, grant.remaining, grant.held) == (100, 100, 40)
    assert (grant.consumed, grant.expired, grant.voided, grant.external_reference) == (0, 0, 0, "")

    ends = [each async for each in credits.list_grants(customer, expires_before=datetime.now(UTC))]
    assert ends == []  # it never expires
    with pytest.raises(ValueError, match="time zone"):
        credits.list_grants(customer, expires_before=datetime(2026, 1, 1))  # noqa: DTZ001 -- on purpose

    before = datetime.now(UTC) - timedelta(hours=1)
    past = await credits.balance(customer, as_of=before)
    assert (past.available, past.by_kind, past.next_expiry, past.as_of) == (0, (), None, before)
    with pytest.raises(ValueError, match="time zone"):
        await credits.balance(customer, as_of=before.replace(tzinfo=None))

    prices = await credits.price_list(customer)
    hours = next(each for each in prices.items if "sandbox" in each.names)
    assert (hours.kind, [(rate.per, rate.price) for rate in hours.rates]) == ("compute", [("hour", 4)])


async def test_events_by_a_cursor(credits: Credits, customer: str) -> None:
    """Each is read once, in its order, by whoever comes early too; or those of a type alone."""
    found: list[Event] = []
    cursor = ""

    async def has_read(number: int) -> bool:
        nonlocal cursor
        page = await credits.events_since(customer, cursor)
        found.extend(page.events)
        cursor = page.cursor
        return page.is_last and len(found) >= number

    await until(lambda: has_read(2))
    await credits.charge(customer, amount=100)
    await until(lambda: has_read(3))
    types = ["grant.issued", "credit.balance.recovered", "credit.balance.depleted"]
    assert [(each.number, each.type) for each in found] == [*enumerate(types, 1)]
    assert (found[0].customer_id, found[0].data["amount_micros"]) == (customer, "100000000")
    page = await credits.events_since(customer, types=["credit.balance.depleted"])
    assert (page.events, page.is_last) == ((found[2],), True)


async def test_the_usage_report(credits: Credits, customer: str) -> None:
    """By day and label, exact; the days are those of the customer."""
    await credits.charge(customer, [sandbox(1800), searches(3)], labels={"agent": "a"})
    await credits.charge(customer, [searches(2)], labels={"agent": "b"})
    (charged, *_) = [each async for each in credits.list_transactions(customer)]
    day = charged.effective_at.date()
    rows = await credits.usage_report(customer, day - timedelta(days=1), day, label_keys=["agent"])
    found = {(row.labels["agent"], row.kind): row for row in rows}
    assert {key: (row.items, row.credits) for key, row in found.items()} == {
        ("a", "compute"): (1, 2),
        ("a", "units"): (1, Decimal("0.03")),
        ("b", "units"): (1, Decimal("0.02")),
    }
    assert found["a", "compute"].quantities["duration_seconds"] == 1800
    (only,) = await credits.usage_report(customer, day, labels={"agent": "b"})
    assert (only.day, only.labels, only.credits_micros, only.measured) == (day, {}, 20_000, None)


async def test_the_statement_of_a_month(credits: Credits, customer: str) -> None:
    """Its lines and totals lead from what it began with to what was left."""
    charge = await credits.charge(customer, [sandbox(1800), searches(3)], labels={"agent": "a"})
    await credits.refund(customer, charge.charge_id, amount=1, reason="goodwill")
    lines = [each async for each in credits.list_transactions(customer)]
    months = dict.fromkeys(f"{each.effective_at:%Y-%m}" for each in reversed(lines))
    statements = [await credits.statement(customer, month, label_keys=["agent"]) for month in months]
    assert (statements[0].opening.available, statements[-1].closing.available) == (0, Decimal("98.97"))
    assert (sum(each.granted for each in statements), sum(each.used for each in statements)) == (
        100,
        Decimal("1.03"),
    )
    found = [line for each in statements for line in each.lines]
    used = {line.name: line for line in found if line.type is StatementLineType.USAGE}
    assert {name: line.credits for name, line in used.items()} == {
        "sandbox": 2,
        "web_search": Decimal("0.03"),
    }
    assert (used["sandbox"].quantities["duration_seconds"], used["sandbox"].labels) == (1800, {"agent": "a"})
    (granted,) = [line for line in found if line.type is StatementLineType.GRANT]
    assert (granted.grant_kind, granted.credits, granted.measured) == (GrantKind.PAID, 100, None)
    refunded = [line for line in found if line.type is StatementLineType.REFUND]
    assert sum(line.credits for line in refunded) == -1
    assert {line.grant_kind for line in refunded} == {None}


async def test_a_token_of_a_front_end(credits: Credits, shop: Shop, customer: str) -> None:
    """Reads the wallet of its customer, and is in no text of it."""
    made = await credits.create_customer_token(customer, ttl_seconds=600)
    assert made.token not in repr(made)
    assert made.expires_at > datetime.now(UTC)
    async with Credits(shop.target, key=made.token) as front_end:
        assert (await front_end.balance(customer)).available == 100


async def test_a_list_that_cannot_be_read_says_why(credits: Credits) -> None:
    """When it is read; nothing is asked for before."""
    listed = credits.list_charges("nobody")
    with pytest.raises(CustomerNotFound):
        _ = [each async for each in listed]
