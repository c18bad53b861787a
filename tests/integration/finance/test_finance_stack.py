"""The whole service: real usage, priced and booked, is found again to the nano-dollar by every reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from urllib.request import urlopen

import grpc
import pytest
from bookkeeper import CREDIT
from google.protobuf.duration_pb2 import Duration

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.app import Stack, running
from ledger.finance.v1 import finance_service_pb2 as pb
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import usage_pb2
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from tests.serving import UNHURRIED, settings_on

ROUTED = usage_pb2.UsageItem(
    tokens=usage_pb2.TokenUsage(
        model="anthropic/claude-sonnet-4-5", served_by="acme/code-13b", input=100_000, output=20_000
    )
)
SANDBOX = usage_pb2.UsageItem(
    compute=usage_pb2.ComputeUsage(resource="sandbox", duration=Duration(seconds=600))
)


@pytest.fixture
async def stack(database_urls) -> AsyncIterator[Stack]:
    async with running(settings_on(database_urls), UNHURRIED) as stack:
        yield stack


async def work(stack: Stack) -> credit.Charge:
    """Two customers on two cards; the first one's only charge."""
    async with (
        grpc.aio.insecure_channel(stack.public_target) as public,
        grpc.aio.insecure_channel(stack.back_office_target) as back_office,
    ):
        backend, ops = CreditServiceStub(public), AdminServiceStub(back_office)
        for name, card in (("acme", "agents"), ("globex", "resolved")):
            customer = admin.Customer(customer_id=name, plan="standard", rate_card=card)
            await ops.CreateCustomer(admin.CreateCustomerRequest(request_id="c", customer=customer))
            await ops.IssueGrant(
                admin.IssueGrantRequest(
                    request_id="g",
                    customer_id=name,
                    amount_micros=1_000 * CREDIT,
                    kind=wallet.GRANT_KIND_PAID,
                    paid_total_usd="800",
                )
            )
        charges = [
            await reserved_work(backend, "acme", [ROUTED, SANDBOX]),
            await reserved_work(
                backend, "globex", [ROUTED, SANDBOX, outcome(usage_pb2.OUTCOME_RESULT_FAILED)]
            ),
        ]
        await reserved_work(backend, "globex", [SANDBOX, outcome(usage_pb2.OUTCOME_RESULT_RESOLVED)])
        return charges[0]


def outcome(result: usage_pb2.OutcomeResult.ValueType) -> usage_pb2.UsageItem:
    return usage_pb2.UsageItem(outcome=usage_pb2.Outcome(name="issue.resolved", result=result))


async def reserved_work(
    backend: CreditServiceStub, customer_id: str, items: list[usage_pb2.UsageItem]
) -> credit.Charge:
    key = f"{len(items)}"
    reserved = await backend.Reserve(
        credit.ReserveRequest(request_id=f"r{key}", customer_id=customer_id, amount_micros=50 * CREDIT)
    )
    committed = await backend.CommitReservation(
        credit.CommitReservationRequest(
            request_id=f"c{key}",
            customer_id=customer_id,
            reservation_id=reserved.reservation.reservation_id,
            usage=usage_pb2.UsageList(items=items),
            final=True,
        )
    )
    return committed.charge


async def metrics(stack: Stack, revenue_usd: Decimal) -> dict[str, float]:
    """The finance port's samples, once so much revenue is in them."""
    while True:
        page = await asyncio.to_thread(read_page, stack.finance_url)
        lines = (each.rsplit(" ", 1) for each in page.splitlines() if not each.startswith("#"))
        samples = {name: float(value) for name, value in lines}
        if summed(samples, "acu_ledger_revenue_usd") == pytest.approx(float(revenue_usd)):
            return samples


def read_page(url: str) -> str:
    with urlopen(url) as page:  # noqa: S310 -- our own port
        return page.read().decode()


def summed(samples: dict[str, float], name: str) -> float:
    return sum(value for sample, value in samples.items() if sample.startswith(name + "{"))


async def test_all_readers_agree(stack):
    """Explanation, trial balance, margins and metrics tell the same revenue and cost; the journal holds."""
    charge = await work(stack)
    async with grpc.aio.insecure_channel(stack.back_office_target) as channel:
        finance = FinanceServiceStub(channel)
        explained = await finance.ExplainCharge(
            pb.ExplainChargeRequest(customer_id="acme", charge_id=charge.charge_id)
        )
        # 0.8 x (0.992 + 0.083333) credits; 0.018 for what the small model served, 0.02 for the sandbox.
        assert (explained.charged_micros, explained.revenue_usd) == (1_075_333, "0.860266400")
        assert explained.cost_usd == "0.038000000"
        assert [(each.lever, each.asked_cost_usd) for each in explained.lines] == [
            ("routing", "0.694400000"),
            ("", "0.020000000"),
        ]
        assert [(each.saved_usd, each.baseline_usd) for each in explained.lines] == [
            ("0.676400000", "0.694400000"),
            ("0.000000000", "0.020000000"),
        ]
        assert (explained.saved_usd, explained.baseline_usd) == ("0.676400000", "0.714400000")
        trial = await finance.GetTrialBalance(pb.GetTrialBalanceRequest())
        dollars = {each.account: Decimal(each.balance) for each in trial.dollars}
        samples = await metrics(stack, dollars["revenue"])
        by_card = [pb.MARGIN_DIMENSION_CARD]
        report = await finance.GetMarginReport(pb.GetMarginReportRequest(group_by=by_card))
        verified = await finance.VerifyJournal(pb.VerifyJournalRequest())
    assert {row.card: (row.revenue_usd, row.cost_usd) for row in report.rows} == {
        "agents": ("0.860266400", "0.038000000"),
        "resolved": ("16.000000000", "0.058000000"),
    }
    assert dollars["revenue"] == Decimal("16.8602664")
    assert dollars["cost"] == Decimal("-0.096")
    assert summed(samples, "acu_ledger_cost_usd") == pytest.approx(0.096)
    routed = 'acu_ledger_savings_usd{card="agents",lever="routing",plan="standard"}'
    assert samples[routed] == pytest.approx(0.6764)
    failed = 'acu_ledger_absorbed_cost_usd{card="resolved",plan="standard",reason="failed_outcome"}'
    assert samples[failed] == pytest.approx(0.038)
    assert verified.holds
    assert verified.customers == 2
