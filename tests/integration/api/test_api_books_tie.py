"""One customer's months as everybody sees them: the customer, ops, finance and their metrics say the same."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import pytest
from api_world import CONFIG, CREDIT, World, searches, served, tokens, usage
from google.protobuf.duration_pb2 import Duration
from prometheus_client.parser import text_string_to_metric_families
from test_api_grants import confirm, extend, issued, named, void

from ledger import books
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.store.postgres.database import Database
from ledger.v1 import wallet_service_pb2 as wallet
from tests.acts import ACT
from tests.customers import create_customer
from tests.databases import DatabaseUrls
from tests.serving import settings_on
from tests.waiting import until

ZONE, OTHER_ZONE = "Europe/Stockholm", "Pacific/Auckland"
GRANTED = wallet.STATEMENT_LINE_TYPE_GRANT
SINCE = timedelta(days=220)
"""A change of Stockholm's clocks is in any such time."""
WHY = {"reason": "asked for"}
SHOWN = {
    "revenue": "revenue_usd",
    "deferred": "deferred_revenue_usd",
    "breakage": "breakage_usd",
    "refund_payable": "refunded_usd",
    "cost": "cost_usd",
    "unbilled": "unbilled_usd",
    "write_off": "write_off_usd",
}
"""Accounts of dollars, and the metric of each."""
TOTALS = ("granted", "used", "expired", "voided", "refunded")


async def come_long_ago(database: Database) -> datetime:
    """Has a customer come to a plan whose grants recur and roll over; nobody has written what was due."""
    came_at = datetime.now(UTC) - SINCE
    # None of them recurs while the test runs.
    came_at = came_at.replace(day=(datetime.now(UTC).day + 14) % 28 + 1)

    def make(customer: int, _: datetime) -> books.Decision:
        return books.create(
            customer, "Acme", "renewing", None, ZONE, "create", b"0" * 16, came_at, is_granted=True
        )

    await create_customer(database.writer, "acme", "cell_00", make, ACT)
    return came_at


async def live_through_everything(world: World) -> None:
    """What may happen to credits, all of it: bought, used, given back, set aside, owed and given up."""
    bought = await issued(world, 100, "150.000000007", external_reference="INV-1")
    gift = await issued(world, 10, "0", kind=wallet.GRANT_KIND_PROMO)
    reservation_id = await world.reservation(amount_micros=20 * CREDIT, ttl=Duration(seconds=3_600))
    await world.commit(reservation_id, usage=usage(tokens(input=333_333), searches("2.5")))
    await world.commit(reservation_id, usage=usage(tokens(input=1_234_567)), final=True)
    await world.reservation(amount_micros=1_000_003, ttl=Duration(seconds=3_600))
    charges = [(await world.charge(usage=usage(tokens(input=777_777)))).charge.charge_id for _ in range(3)]
    await world.refund(charges[0], amount_micros=1_111_111)
    await world.reverse(charge_id=charges[1])
    await extend(world, gift, never_expires=True, priority=5)
    paying_back = {"amount_micros": 7_000_001, "refund_usd": "1.000000001"}
    for fields in (paying_back, {"amount_micros": 3 * CREDIT}):
        await world.admin.RefundGrant(admin.RefundGrantRequest(**named(world, bought, **WHY, **fields)))
    late = await issued(world, 40, "20", pending_payment=True, priority=-2)
    await confirm(world, late, paid_total_usd="19.990000003")
    await world.charge(amount_micros=15_000_007)
    kept = await issued(world, 5, "5")
    for disputed in (late, kept):
        await world.admin.DisputeGrant(admin.DisputeGrantRequest(**named(world, disputed, **WHY)))
    await void(world, gift)
    given_up = {"amount_usd": "0.500000001"}
    await world.admin.WriteOffGrant(admin.WriteOffGrantRequest(**named(world, bought, **WHY, **given_up)))
    lost = {"outcome": admin.DISPUTE_OUTCOME_LOST, "used": admin.USED_CREDITS_BECOME_DEBT}
    for grant_id, outcome in ((kept, {"outcome": admin.DISPUTE_OUTCOME_WON}), (late, lost)):
        resolved = named(world, grant_id, **WHY, **outcome)
        await world.admin.ResolveDispute(admin.ResolveDisputeRequest(**resolved))
    await issued(world, 4, "3.999999999")
    request = admin.WriteOffDebtRequest(
        request_id="forgiven", customer_id=world.customer_id, amount_micros=2_000_001, **WHY
    )
    await world.admin.WriteOffDebt(request)


async def statements(world: World, came_at: datetime, zone: str) -> list[wallet.GetStatementResponse]:
    """Of all months since the customer came, by the calendar of its zone."""
    begin, now = (when.astimezone(ZoneInfo(zone)) for when in (came_at, datetime.now(UTC)))
    numbers = range(begin.year * 12 + begin.month - 1, now.year * 12 + now.month)
    return [
        await world.wallet.GetStatement(
            wallet.GetStatementRequest(
                customer_id=world.customer_id,
                month=f"{number // 12:04}-{number % 12 + 1:02}",
                page_size=1000,
            )
        )
        for number in numbers
    ]


def net(balance: Any) -> int:
    return balance.available_micros + balance.held_micros + balance.pending_micros - balance.debt_micros


def assert_they_lead_to(balance: Any, found: list[wallet.GetStatementResponse]) -> Counter[str]:
    """Months begin with what the one before has left; lines, totals and balances agree. All totals."""
    sums: Counter[str] = Counter()
    left = type(balance)()
    for month in found:
        assert month.opening == left
        total = {name: getattr(month, f"{name}_micros") for name in TOTALS}
        came = [line.credits_micros for line in month.lines if line.type == GRANTED]
        assert (sum(came), sum(line.credits_micros for line in month.lines)) == (
            total["granted"],
            total["granted"] + total["used"],
        )
        went = sum(total[name] for name in TOTALS[1:])
        assert net(month.opening) + total["granted"] - went == net(month.closing)
        sums.update(total, rolled_over=month.rolled_over_micros)
        left = month.closing
    assert left == balance
    return sums


async def metrics(world: World) -> dict[str, Decimal]:
    """Finance's page, each metric over all of its labels."""

    def read() -> str:
        with urlopen(world.stack.finance_url, timeout=60) as page:  # noqa: S310 -- ours
            return page.read().decode()

    sums: dict[str, Decimal] = {}
    for family in text_string_to_metric_families(await asyncio.to_thread(read)):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, Decimal(0)) + Decimal(repr(sample.value))
    return sums


async def accounts(world: World) -> dict[str, dict[str, Decimal]]:
    """The trial balance, by commodity."""
    found = await world.finance.GetTrialBalance(finance.GetTrialBalanceRequest())
    return {
        name: {each.account: Decimal(each.balance) for each in getattr(found, name)}
        for name in ("credits", "dollars")
    }


async def event_sums(world: World, field_of: dict[str, str]) -> dict[str, int]:
    """What the customer's events of some types amount to."""
    request = wallet.ListEventsRequest(customer_id=world.customer_id, types=[*field_of], page_size=1000)
    sums = dict.fromkeys(field_of, 0)
    for event in (await world.wallet.ListEvents(request)).events:
        sums[event.type] += int(json.loads(event.data)[field_of[event.type]])
    return sums


async def test_all_doors_say_the_same(database: Database, database_urls: DatabaseUrls) -> None:
    """Statements lead to the balance; grants, books, margins, metrics and events amount to what they say.

    Over a change of the clocks, rollovers, what expired, a chargeback with its debt, and in two time zones.
    """
    came_at = await come_long_ago(database)
    async with served(settings_on(database_urls, config_dir=CONFIG)) as world:
        world.customer_id = "acme"

        async def is_written() -> bool:
            due = "SELECT count(*) FROM cell_00.wallets WHERE next_due_at <= clock_timestamp()"
            return await world.owner.fetchval(due) == 0

        await until(is_written)
        await live_through_everything(world)
        balance = await world.balance()
        sums = assert_they_lead_to(balance, await statements(world, came_at, ZONE))
        assert all(sums[name] for name in (*TOTALS, "rolled_over"))
        assert balance.debt_micros > 0

        request = wallet.ListGrantsRequest(customer_id="acme", page_size=1000)
        grants = (await world.wallet.ListGrants(request)).grants
        of_grants = {
            name: sum(getattr(grant, f"{name}_micros") for grant in grants)
            for name in ("amount", "remaining", "held", "expired", "refunded", "rolled_over")
        }
        assert of_grants == {
            "amount": sums["granted"] + sums["rolled_over"],
            "remaining": balance.available_micros + balance.held_micros + balance.pending_micros,
            "held": balance.held_micros,
            **{name: sums[name] for name in ("expired", "refunded", "rolled_over")},
        }

        trial = await accounts(world)
        assert {name: sum(each.values()) for name, each in trial.items()} == {"credits": 0, "dollars": 0}
        assert {name: int(each * CREDIT) for name, each in trial["credits"].items()} == {
            "issued": -sums["granted"],
            "pending": balance.pending_micros,
            "available": balance.available_micros,
            "held": balance.held_micros,
            "consumed": sums["used"],
            "expired": sums["expired"],
            "voided": sums["voided"],
            "refunded": sums["refunded"],
            "debt": -balance.debt_micros,
        }

        booked = trial["dollars"]

        async def is_rolled_up() -> bool:
            rows = (await world.finance.GetMarginReport(finance.GetMarginReportRequest())).rows
            return [(Decimal(row.revenue_usd), Decimal(row.cost_usd)) for row in rows] == [
                (booked["revenue"], -booked["cost"])
            ]

        await until(is_rolled_up)
        shown = {name: each for name, each in booked.items() if name in SHOWN}
        assert all(shown.values())

        async def is_shown() -> bool:
            page = await metrics(world)
            return all(
                float(page[f"acu_ledger_{SHOWN[account]}"]) == pytest.approx(abs(float(each)), abs=1e-9)
                for account, each in shown.items()
            )

        await until(is_shown)

        async def events_agree() -> bool:
            field_of = {
                "grant.issued": "amount_micros",
                "grant.expired": "expired_micros",
                "grant.refunded": "refunded_micros",
            }
            return await event_sums(world, field_of) == {
                "grant.issued": sums["granted"],
                "grant.expired": sums["expired"],
                "grant.refunded": sums["refunded"],
            }

        await until(events_agree)
        await world.update(zone=OTHER_ZONE)
        assert assert_they_lead_to(balance, await statements(world, came_at, OTHER_ZONE)) == sums
        verified = await world.finance.VerifyJournal(finance.VerifyJournalRequest())
        assert [*verified.violations] == []
