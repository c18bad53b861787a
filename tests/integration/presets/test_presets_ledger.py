"""What the vendors' rules come to in the books: through gRPC, on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from presets_service import in_credits

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_devin_team_month(presets):
    """$500 a month for 250 units, 5 as a gift, more at $2.00: 263.4 used are $516.80."""
    team = await presets.account("devin")
    await team.grant("250", "500", "SUBSCRIPTION", priority=-2)
    await team.grant("5", "0", "PROMO", priority=-1)
    await team.grant("8.4", "16.80")
    hold = await team.reserve("200")
    charges = [
        await team.commit(hold, "sandbox 40h; sandbox 9h state=waiting"),
        await team.commit(hold, "sandbox 25.85h", final=True),
    ]
    revenue = [Decimal((await team.explain(charge)).revenue_usd) for charge in charges]
    assert in_credits(sum(charge.charged_micros for charge in charges)) == "263.4"
    assert sum(revenue) == Decimal("516.80")
    assert await team.available() == "0"


async def test_devin_limit_a_message(presets):
    """A limit of 10 a message: turns of 10, 10 and 2.5 are 22.5 units, $45.00; beyond is not paid."""
    user = await presets.account("devin", plan="capped")
    await user.grant("100", "200")
    charged, revenue = 0, Decimal(0)
    for hours in ("2.5h", "2.5h", "37.5m"):
        charge = await user.commit(await user.reserve("10"), f"sandbox {hours}", final=True)
        charged += charge.charged_micros
        revenue += Decimal((await user.explain(charge)).revenue_usd)
    assert (in_credits(charged), revenue) == ("22.5", Decimal("45.00"))
    beyond = await user.commit(await user.reserve("10"), "sandbox 3h", final=True)
    assert (in_credits(beyond.charged_micros), in_credits(beyond.uncollected_micros)) == ("10", "2")
    assert (await user.explain(beyond)).absorbed[0].reason == "uncollected"


@pytest.mark.parametrize("result", ["FAILED", "ESCALATED", "ABANDONED"])
async def test_sierra_absorbs_what_was_not_resolved(presets, result):
    """Costs are posted as they happen, and nothing is charged; without a resolution all of it is absorbed."""
    shop = await presets.account("sierra")
    await shop.grant("10", "10")
    talk = await shop.reserve("0.99")
    at_work = await shop.commit(talk, "anthropic/claude-sonnet-4-5 input=100000 output=1000; sandbox 60s")
    costs = Decimal("0.4094") + Decimal("0.002")
    explained = await shop.explain(at_work)
    assert (at_work.charged_micros, Decimal(explained.cost_usd), list(explained.absorbed)) == (0, costs, [])
    end = await shop.commit(talk, f"conversation.resolved {result} of=talk-1", final=True)
    explained = await shop.explain(end)
    assert (end.charged_micros, Decimal(explained.revenue_usd)) == (0, 0)
    assert [(part.reason, Decimal(part.amount_usd)) for part in explained.absorbed] == [
        ("failed_outcome", costs)
    ]
    assert await shop.available() == "10"


async def test_sierra_is_paid_for_a_resolution(presets):
    """A resolution is charged, and pays for all that it took: nothing is absorbed."""
    shop = await presets.account("sierra")
    await shop.grant("10", "10")
    talk = await shop.reserve("0.99")
    await shop.commit(talk, "anthropic/claude-sonnet-4-5 input=100000 output=1000")
    end = await shop.commit(talk, "conversation.resolved RESOLVED of=talk-1", final=True)
    explained = await shop.explain(end)
    assert (in_credits(end.charged_micros), Decimal(explained.revenue_usd)) == ("0.99", Decimal("0.99"))
    assert list(explained.absorbed) == []


async def test_sierra_reopened_ticket_is_refunded(presets):
    """A conversation of last month that is opened again gives its price and revenue back, not its cost."""
    shop = await presets.account("sierra")
    await shop.grant("10", "10")
    last_month = (datetime.now(UTC) - timedelta(days=34)).isoformat()
    talk = await shop.reserve("0.99")
    await shop.commit(talk, f"openai/gpt-5 input=100000 at={last_month}")
    end = await shop.commit(talk, f"conversation.resolved RESOLVED of=talk-1 at={last_month}", final=True)
    assert await shop.refund(end) == "0.99"
    assert await shop.available() == "10"
    margin = await shop.margin()
    assert (Decimal(margin.revenue_usd), Decimal(margin.cost_usd)) == (0, Decimal("0.0619"))


async def test_databricks_correction(presets):
    """259.2958 DBU, taken back, then 258.1: a reversal and a new charge, $141.96 together."""
    company = await presets.account("databricks")
    await company.grant("1000", "1000")
    original = await company.charge("[workload=all-purpose] dbu 259.2958")
    assert in_credits(original.charged_micros) == "142.61269"
    await company.reverse(original)
    await company.charge("[workload=all-purpose] dbu 258.1")
    revenue = Decimal((await company.margin()).revenue_usd)
    assert (revenue, revenue.quantize(Decimal("0.01"), ROUND_HALF_UP)) == (
        Decimal("141.955"),
        Decimal("141.96"),
    )
    assert await company.available() == "858.045"


async def test_databricks_reports_in_its_unit(presets):
    """Beside credits a report adds up DBU, by workload; a correction goes into the sum."""
    company = await presets.account("databricks")
    await company.grant("1000", "1000")
    wrong = await company.charge("[workload=all-purpose] dbu 259.2958")
    await company.reverse(wrong)
    for words in ("[workload=all-purpose] dbu 258.1", "[workload=jobs] i3.xlarge 2h x4"):
        await company.charge(words)
    sums: Counter[str] = Counter()
    for row in await company.used("workload"):
        assert row.unit == "DBU"
        sums[row.labels.other["workload"]] += Decimal(row.measured)
    assert sums == {"all-purpose": Decimal("258.1"), "jobs": 8}


async def test_seats_in_one_pool(presets):
    """100 seats of 1,900 credits: 203,456.78 used are 13,456.78 over, $134.57; seats leave later."""
    company = await presets.account("cost-plus")
    await company.grant("190000", "0", "SUBSCRIPTION", priority=-1)
    await company.grant("20000", "200")
    next_cycle = Timestamp()
    next_cycle.FromDatetime(datetime.now(UTC) + timedelta(days=9))
    await company.grant("171000", "0", "SUBSCRIPTION", priority=-1, effective_at=next_cycle)
    used = await company.spend("203456.78")
    revenue = Decimal((await company.explain(used)).revenue_usd)
    assert revenue.quantize(Decimal("0.01")) == Decimal("134.57")
    assert await company.available() == "6543.22"
    assert in_credits((await company.balance()).pending_micros) == "171000"


async def test_negotiated_multiplier(presets):
    """A customer's own multiplier scales every price exactly, before rounding; the price list says so."""
    usual = await presets.account("snowflake")
    friend = await presets.account("snowflake", multiplier="0.9")
    for account, expected in ((usual, "0.533333"), (friend, "0.48")):
        await account.grant("10", "20")
        assert in_credits((await account.charge("warehouse/xl 120s")).charged_micros) == expected
    assert (await usual.rate("Warehouse XL"), await friend.rate("Warehouse XL")) == ("16", "14.4")


async def test_negotiated_card(presets):
    """A card of the customer's own goes before its plan's."""
    by_the_token = await presets.account("")
    by_value = await presets.account("value")
    for account, expected in ((by_the_token, "0.5"), (by_value, "0")):
        await account.grant("10", "10")
        assert in_credits((await account.charge("sandbox 1h")).charged_micros) == expected


async def test_sierra_charges_a_conversation_once(presets):
    """However often it is resolved; a full refund lets it be charged again."""
    shop = await presets.account("sierra")
    await shop.grant("10", "10")
    charges = [await shop.charge("conversation.resolved RESOLVED of=talk-1") for _ in range(2)]
    assert [in_credits(charge.charged_micros) for charge in charges] == ["0.99", "0"]
    await shop.refund(charges[0])
    again = await shop.charge("conversation.resolved RESOLVED of=talk-1")
    assert in_credits(again.charged_micros) == "0.99"


async def test_sierra_charges_the_next_report_after_a_reversal(presets):
    """Of two reports of a conversation the first pays; undone, the next one does, and no other does."""
    shop = await presets.account("sierra")
    await shop.grant("10", "10")
    talk = "conversation.resolved RESOLVED of=talk-1"
    paid, free = [await shop.charge(talk) for _ in range(2)]
    assert [in_credits(charge.charged_micros) for charge in (paid, free)] == ["0.99", "0"]
    await shop.reverse(paid)
    assert await shop.available() == "10"
    other = talk.replace("talk-1", "talk-2")
    charges = [await shop.charge(words) for words in (other, talk, talk)]
    assert [in_credits(charge.charged_micros) for charge in charges] == ["0.99", "0.99", "0"]
    await shop.reverse(free)
    assert in_credits((await shop.charge(talk)).charged_micros) == "0"
    assert await shop.available() == "8.02"


async def test_snowflake_cloud_services_of_four_days(presets):
    """Cloud services are free up to a tenth of the day's warehouses: 413 credits in all, $1,239.00."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = today - timedelta(days=1)
    charged, revenue = 0, Decimal(0)
    for days in ([("100", "20"), ("120", "10")], [("80", "5"), ("100", "13")]):
        company = await presets.account("snowflake")
        await company.grant("1000", "3000")
        for day, (warehouses, cloud) in zip((yesterday, today), days, strict=True):
            for words in (f"warehouse/xs {warehouses}h", f"cloud_services {cloud}"):
                charge = await company.charge(f"{words} at={day.isoformat()}")
                charged += charge.charged_micros
                revenue += Decimal((await company.explain(charge)).revenue_usd)
    assert (in_credits(charged), revenue) == ("413", Decimal("1239.00"))


async def test_databricks_commitment(presets):
    """The commitment pays at the workload's ratio while it lasts; the rest costs the workload's price."""
    company = await presets.account("databricks-commitment")
    await company.grant("100", "90", scope="pool:dbcu")
    await company.grant("50", "50")
    covered = await company.charge("[tier=premium] [workload=jobs] dbu 200")
    assert in_credits(covered.charged_micros) == "60"
    beyond = await company.charge("[tier=premium] [workload=jobs] dbu 200")
    assert in_credits(beyond.charged_micros) == "50"
    assert Decimal((await company.margin()).revenue_usd) == 90 + 10
    assert await company.available() == "40"
