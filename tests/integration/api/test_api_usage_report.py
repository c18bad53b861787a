"""What a customer has used, by day and label: what its own charges add up to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import grpc.aio
import pytest
from api_world import CREDIT, refusal, sandbox, searches, ticket, tokens, usage
from test_api_reads import pages

from ledger.api.messages.paging import next_page_token
from ledger.store.reading.shares import WAITING_OF_CUSTOMER_MAX
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED, BLUE = pb.Labels(project="red", other={"internal.route": "r"}), pb.Labels(project="blue", user="u")


def today() -> str:
    return datetime.now(UTC).date().isoformat()


async def report(world, **fields) -> list[wallet.UsageRow]:
    request = wallet.GetUsageReportRequest(customer_id=world.customer_id, **{"first_day": today(), **fields})
    return [row for page in await pages(world.wallet.GetUsageReport, request, "rows") for row in page]


def reported(rows) -> list[tuple]:
    return [
        (row.labels.project, row.kind, row.items, row.credits_micros, dict(row.quantities)) for row in rows
    ]


async def test_usage_adds_up_by_label_and_kind(world):
    """Charges and commits of one label and kind make a row, with quantities; stated credits stand alone."""
    await world.charge(usage=usage(tokens(), tokens(input=500_000, output=7), searches("2.5")), labels=RED)
    named = await world.reservation(labels=RED)
    await world.commit(named, usage=usage(searches("1.25"), ticket()), final=True)
    await world.charge(usage=usage(sandbox(90)), labels=BLUE)
    await world.charge(amount_micros=7)
    rows = await report(world, label_keys=["project"])
    assert {row.day for row in rows} == {today()}
    assert reported(rows) == [
        ("", "", 0, 7, {}),
        ("blue", "compute", 1, 100_000, {"duration_seconds": "90", "count": "1"}),
        ("red", "outcome", 1, 2 * CREDIT, {"count": "1"}),
        ("red", "tokens", 2, 15_000_280, {"input": "1500000", "output": "7", "requests": "2"}),
        ("red", "units", 2, 37_500, {"quantity": "3.75"}),
    ]
    charges = (await world.credit.ListCharges(pb.ListChargesRequest(customer_id=world.customer_id))).charges
    assert sum(row.credits_micros for row in rows) == sum(charge.charged_micros for charge in charges)
    assert reported(await report(world, labels=pb.Labels(user="u"))) == [
        ("", "compute", 1, 100_000, {"duration_seconds": "90", "count": "1"})
    ]
    assert "internal" not in str(rows)


async def test_what_is_given_back_is_taken_away(world):
    """A reversal takes items and quantities too, a refund credits alone."""
    stored = (await world.charge(usage=usage(tokens(), searches("2")))).charge.charge_id
    undone = (await world.charge(usage=usage(tokens(), searches("5")))).charge.charge_id
    await world.refund(undone, amount_micros=CREDIT)
    await world.reverse(charge_id=undone)
    await world.refund(stored, amount_micros=5_010_000)
    assert reported(await report(world)) == [
        ("", "tokens", 1, 5_000_000, {"input": "1000000", "requests": "1"}),
        ("", "units", 1, 10_000, {"quantity": "2"}),
    ]
    await world.reverse(charge_id=stored)
    assert await report(world) == []


async def test_what_was_not_collected_counts_as_priced(world):
    """Like the lines of a charge."""
    await world.charge(usage=usage(tokens(input=20_000_000)), already_used=True)
    [row] = await report(world)
    assert row.credits_micros == 200 * CREDIT


async def test_what_an_entry_prices_beyond_its_lines_has_no_kind(world):
    """Rows add up to what entries priced, also where one gave back less than its lines say."""
    await world.charge(usage=usage(searches("1")))
    await world.owner.execute(
        """UPDATE cell_00.entries e SET priced = priced - 7 FROM ledger.customers c
           WHERE c.customer = e.customer AND c.customer_id = $1 AND e.kind = 'CHARGE'""",
        world.customer_id,
    )
    assert reported(await report(world)) == [("", "", 0, -7, {}), ("", "units", 1, 10_000, {"quantity": "1"})]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_pages_of_a_report(world, size):
    """Pages neither repeat nor miss a row, over days and within one, whatever is written meanwhile."""
    for project in ("b", "a", "c"):
        await world.charge(usage=usage(tokens(), searches("1")), labels=pb.Labels(project=project))
    await back_dated(world, "2026-03-01Z")
    for project in ("", "a"):
        await world.charge(usage=usage(searches("1")), labels=pb.Labels(project=project))
    await back_dated(world, "2026-03-03Z", "AND effective_at > '2026-04-01Z'")
    asked = {"first_day": "2026-02-20", "last_day": "2026-03-20", "label_keys": ["project", "user"]}
    rows = await report(world, **asked)
    keys = [(row.day[-2:], row.labels.project, row.kind) for row in rows]
    assert keys == [
        *((day, project, kind) for day in ["01"] for project in "abc" for kind in ("tokens", "units")),
        ("03", "", "units"),
        ("03", "a", "units"),
    ]
    assert await report(world, page_size=size, **asked) == rows


async def back_dated(world, instant: str, which: str = "") -> None:
    """Give the customer's charges another instant, and all else an earlier one: instants never go back."""
    await world.owner.execute(
        f"""UPDATE cell_00.entries e
            SET effective_at = CASE e.kind WHEN 'CHARGE' THEN '{instant}'::timestamptz ELSE '2026-01-01Z' END
            FROM ledger.customers c WHERE c.customer = e.customer AND c.customer_id = $1 {which}""",
        world.customer_id,
    )


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        ("UTC", "2026-03-01 23:59:59.999999Z", "2026-03-01"),
        ("Pacific/Auckland", "2026-03-01 11:00:00Z", "2026-03-02"),
        ("America/Los_Angeles", "2026-03-02 07:59:59Z", "2026-03-01"),
    ],
)
async def test_days_are_the_customers(world, zone, instant, day):
    """A day begins and ends at midnight of the customer's time zone."""
    await world.update(zone=zone)
    await world.charge(usage=usage(searches("1")))
    await back_dated(world, instant)
    [row] = await report(world, first_day=day)
    assert row.day == day
    assert [row.day for row in await report(world, first_day="2026-02-01", last_day="2026-03-31")] == [day]
    assert await report(world, first_day="2026-03-04", last_day="2026-03-31") == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"first_day": ""}, "first_day"),
        ({"first_day": "2026-3-1"}, "first_day"),
        ({"first_day": "1999-12-31"}, "first_day"),
        ({"first_day": "2026-03-01", "last_day": "2026-02-28"}, "last_day"),
        ({"first_day": "2026-03-01", "last_day": "2026-06-01"}, "last_day"),
        ({"label_keys": ["a", "b", "c", "d", "e"]}, "label_keys"),
        ({"label_keys": ["a", "a"]}, "label_keys[1]"),
        ({"label_keys": [""]}, "label_keys[0]"),
        ({"label_keys": ["internal.route"]}, "label_keys[0]"),
        ({"labels": pb.Labels(other={"internal.route": "r"})}, 'labels.other["internal.route"]'),
        ({"page_token": "x"}, "page_token"),
        ({"page_size": 1_001}, "page_size"),
    ],
)
async def test_bad_reports(world, asked, field):
    """Each bad field is named; internal labels cannot be asked for, so that nothing is reported of them."""
    refused = await refusal(report(world, **asked))
    assert refused.reason == "INVALID_ARGUMENT"
    assert list(refused.fields) == [field]


@pytest.mark.parametrize(
    "key",
    [
        ("garbage",),
        ("[]",),
        ("2026-03-01", "a", "units", ""),
        ("UTC", 1, 1, -1, "a", "units", ""),
        ("UTC", 1, 1, 32, "a", "units", ""),
        ("UTC", 2**62 + 1, 1, 0, "", "", ""),
        ("UTC", 1, 1, 0, "units", ""),
        ("UTC", 1, 1, 0, "a", "b", "units", ""),
        ("UTC", 1, 1, 0, "a\0", "units", ""),
        ("Nowhere/Else", 1, 1, 0, "", "", ""),
    ],
)
async def test_forged_pages_of_a_report(world, key):
    """A place that no report has is refused under any seal."""
    request = forged(world, key)
    refused = await refusal(world.wallet.GetUsageReport(request))
    assert (refused.reason, list(refused.fields)) == ("INVALID_ARGUMENT", ["page_token"])


def forged(world, key):
    asked = {"first_day": "2026-03-01", "last_day": "2026-03-31", "label_keys": ["project"]}
    request = wallet.GetUsageReportRequest(customer_id=world.customer_id, **asked)
    request.page_token = next_page_token(request, key)
    return request


@pytest.mark.parametrize(
    "key",
    [
        ("UTC", 2**62, 2**62, 31, "a", "units", ""),
        ("UTC", 2**62, 0, 0, "", "", ""),
        ("UTC", 2**62, 1, 31, "a", "units", ""),
        ("UTC", 0, 2**62, 0, "", "", ""),
    ],
)
async def test_places_where_nothing_is(world, key):
    """A place beyond the journal has no rows: what is in a token leads nowhere else."""
    assert not (await world.wallet.GetUsageReport(forged(world, key))).rows


async def test_a_report_is_of_one_time_zone(world):
    """Where the customer's zone changes between two pages, its days do: the report begins anew."""
    for project in "ab":
        await world.charge(usage=usage(searches("1")), labels=pb.Labels(project=project))
    request = wallet.GetUsageReportRequest(
        customer_id=world.customer_id, first_day=today(), label_keys=["project"], page_size=1
    )
    request.page_token = (await world.wallet.GetUsageReport(request)).next_page_token
    await world.update(zone="Etc/UCT")
    refused = await refusal(world.wallet.GetUsageReport(request))
    assert (refused.reason, list(refused.fields)) == ("INVALID_ARGUMENT", ["page_token"])


async def test_a_report_is_of_its_first_page(world):
    """What is charged while its pages are read is in none of them, and in the next report."""
    for project in "ab":
        await world.charge(usage=usage(searches("1")), labels=pb.Labels(project=project))
    request = wallet.GetUsageReportRequest(
        customer_id=world.customer_id, first_day=today(), label_keys=["project"], page_size=1
    )
    request.page_token = (await world.wallet.GetUsageReport(request)).next_page_token
    await world.charge(usage=usage(searches("1")), labels=pb.Labels(project="b"))
    (rest,) = await pages(world.wallet.GetUsageReport, request, "rows")
    assert [(row.labels.project, row.items) for row in rest] == [("b", 1)]
    assert [row.items for row in await report(world, label_keys=["project"])] == [1, 2]


async def test_a_sum_that_no_row_holds(world):
    """A row of more than 2^63 - 1 micro-credits is refused, and told where labels tell its work apart."""
    for project in "abc":
        used = usage(ticket())
        used.items[0].outcome.count = 2 * 10**12
        await world.charge(usage=used, labels=pb.Labels(project=project), already_used=True)
    refused = await refusal(report(world))
    assert (refused.reason, list(refused.fields)) == ("INVALID_ARGUMENT", ["label_keys"])
    assert str(12 * 10**18) in refused.fields["label_keys"]
    rows = await report(world, label_keys=["project"])
    assert [row.credits_micros for row in rows] == [4 * 10**18] * 3


async def test_the_longest_report(world):
    """92 days are allowed, and nothing but an unknown customer is refused of them."""
    assert await report(world, first_day="2026-03-01", last_day="2026-05-31") == []
    request = wallet.GetUsageReportRequest(customer_id="nobody", first_day="2026-03-01")
    assert (await refusal(world.wallet.GetUsageReport(request))).reason == "CUSTOMER_NOT_FOUND"


async def test_labels_of_any_text_go_on_over_pages(world):
    """The longest labels, of the widest characters, fit into a page token."""
    keys = [f"{n}{'k' * 62}" for n in range(4)]
    for last in "ab":
        own = dict.fromkeys(keys, '"💸' * 63 + last)
        await world.charge(usage=usage(searches("1")), labels=pb.Labels(other=own))
    rows = await report(world, label_keys=keys, page_size=1)
    assert [dict(row.labels.other)[keys[0]][-1] for row in rows] == ["a", "b"]


async def test_balances_wait_for_no_report(world):
    """While reports and lists of one customer stand still, whatever their number, balances are answered."""
    await world.charge(usage=usage(searches("1")))
    waiting = []
    async with world.owner.transaction():
        await world.owner.execute("LOCK TABLE cell_00.entries IN ACCESS EXCLUSIVE MODE")
        for _ in range(12):
            listed = pb.ListChargesRequest(customer_id=world.customer_id)
            waiting.append(asyncio.ensure_future(report(world)))
            waiting.append(asyncio.ensure_future(world.credit.ListCharges(listed)))
        for _ in range(50):
            asked = wallet.GetBalanceRequest(customer_id=world.customer_id)
            assert (await world.wallet.GetBalance(asked, timeout=60)).balance.available_micros
        assert not any(each.done() for each in waiting)
    assert all(await asyncio.gather(*waiting))


async def test_reports_of_one_customer_have_a_line(world):
    """Beyond what anyone waits for, its reports and lists are asked to come again; another's are answered."""
    other = world.customer_id
    asked = pb.ListReservationsRequest(customer_id=await world.new_customer(fresh()))
    world.customer_id = other
    async with world.owner.transaction():
        await world.owner.execute("LOCK TABLE cell_00.reservations IN ACCESS EXCLUSIVE MODE")
        calls = [asyncio.ensure_future(world.credit.ListReservations(asked)) for _ in range(40)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert await report(world) == []
    ends = await asyncio.gather(*calls, return_exceptions=True)
    refused = [end.code() for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert refused == [grpc.StatusCode.RESOURCE_EXHAUSTED] * (len(calls) - WAITING_OF_CUSTOMER_MAX)
