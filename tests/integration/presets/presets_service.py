"""A service that runs with the presets, and customers whose usage is told in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from usage_words import Labelled, items

import pricing
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.cli.services import Ledger
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh
from tests.stubs import Stubs

_MICROS = 10**6
_NANOS = 10**9


def in_credits(micros: int) -> str:
    """Micro-credits in credits."""
    return f"{Decimal(micros).scaleb(-6).normalize():f}"


def usage(words: str) -> use.UsageList:
    """Usage as a product's backend reports it."""
    return use.UsageList(items=[_item(item) for item, _ in items(words)])


def _item(item: pricing.Item) -> use.UsageItem:
    happened = {"occurred_at": _timestamp(item)} if item.occurred_at else {}
    match item:
        case pricing.Tokens():
            tokens = use.TokenUsage(
                model=item.model,
                served_by=item.served_by,
                key_owner=use.KeyOwner.Value(f"KEY_OWNER_{item.key_owner}"),
                requests=item.requests,
                **item.quantities,
            )
            return use.UsageItem(tokens=tokens, **happened)
        case pricing.Compute():
            compute = use.ComputeUsage(
                resource=item.resource,
                run_id=item.run_id,
                state=item.state,
                duration=Duration(seconds=item.duration_nanos // _NANOS, nanos=item.duration_nanos % _NANOS),
                count=_nanos(item.count_nanos),
            )
            return use.UsageItem(compute=compute, **happened)
        case pricing.Units():
            units = use.UnitUsage(meter=item.meter, quantity=_nanos(item.quantity_nanos))
            return use.UsageItem(units=units, **happened)
        case pricing.Outcome():
            outcome = use.Outcome(
                name=item.name,
                subject=item.subject,
                result=use.OutcomeResult.Value(f"OUTCOME_RESULT_{item.result}"),
                count=item.count,
            )
            return use.UsageItem(outcome=outcome, **happened)


def _timestamp(item: pricing.Item) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(item.occurred_at)
    return stamp


def _nanos(amount: int) -> str:
    return f"{Decimal(amount).scaleb(-9).normalize():f}"


@dataclass(frozen=True)
class Account:
    """A customer of one card."""

    ledger: Stubs
    customer_id: str

    async def grant(
        self, amount: str, paid_usd: str, kind: str = "PAID", **fields: Any
    ) -> admin.IssueGrantResponse:
        """Credits, and what was paid for all of them."""
        request = admin.IssueGrantRequest(
            request_id=fresh(),
            customer_id=self.customer_id,
            amount_micros=int(Decimal(amount).scaleb(6)),
            kind=wallet.GrantKind.Value(f"GRANT_KIND_{kind}"),
            paid_total_usd=paid_usd,
            **fields,
        )
        return await self.ledger.admin.IssueGrant(request)

    async def reserve(self, amount: str, **labels: str) -> str:
        """Hold some credits; the reservation's id."""
        request = pb.ReserveRequest(
            request_id=fresh(),
            customer_id=self.customer_id,
            amount_micros=int(Decimal(amount).scaleb(6)),
            labels=pb.Labels(other=labels),
        )
        return (await self.ledger.credits.Reserve(request)).reservation.reservation_id

    async def commit(self, reservation_id: str, words: str, *, final: bool = False) -> pb.Charge:
        """Report usage against a hold."""
        request = pb.CommitReservationRequest(
            request_id=fresh(),
            customer_id=self.customer_id,
            reservation_id=reservation_id,
            usage=usage(words),
            final=final,
        )
        return (await self.ledger.credits.CommitReservation(request)).charge

    async def charge(self, words: str) -> pb.Charge:
        """Charge usage without a hold; labels are those of its last item."""
        labelled: list[Labelled] = list(items(words))
        labels: Mapping[str, str] = labelled[-1][1]
        request = pb.ChargeRequest(
            request_id=fresh(),
            customer_id=self.customer_id,
            usage=usage(words),
            labels=pb.Labels(other=labels),
            already_used=True,
        )
        return (await self.ledger.credits.Charge(request)).charge

    async def spend(self, amount: str) -> pb.Charge:
        """Charge credits without usage."""
        request = pb.ChargeRequest(
            request_id=fresh(),
            customer_id=self.customer_id,
            amount_micros=int(Decimal(amount).scaleb(6)),
            already_used=True,
        )
        return (await self.ledger.credits.Charge(request)).charge

    async def reverse(self, charge: pb.Charge) -> pb.ReverseChargeResponse:
        """Undo a charge that did not happen."""
        request = pb.ReverseChargeRequest(
            request_id=fresh(),
            customer_id=self.customer_id,
            charge_id=charge.charge_id,
            reason="it did not happen",
        )
        return await self.ledger.credits.ReverseCharge(request)

    async def refund(self, charge: pb.Charge, amount: str = "0") -> str:
        """Give credits of a charge back, all if no amount is said; how many came back."""
        request = pb.RefundRequest(
            request_id=fresh(),
            customer_id=self.customer_id,
            charge_id=charge.charge_id,
            amount_micros=int(Decimal(amount).scaleb(6)),
            reason="the ticket was opened again",
        )
        return in_credits((await self.ledger.credits.Refund(request)).refunded_micros)

    async def explain(self, charge: pb.Charge) -> finance.ExplainChargeResponse:
        """What finance sees of a charge."""
        request = finance.ExplainChargeRequest(customer_id=self.customer_id, charge_id=charge.charge_id)
        return await self.ledger.finance.ExplainCharge(request)

    async def used(self, *label_keys: str) -> list[wallet.UsageRow]:
        """What was used yesterday and today, told apart by labels."""
        today = datetime.now(UTC).date()
        request = wallet.GetUsageReportRequest(
            customer_id=self.customer_id,
            first_day=str(today - timedelta(days=1)),
            last_day=str(today),
            label_keys=label_keys,
        )
        report = await self.ledger.wallet.GetUsageReport(request)
        assert not report.next_page_token
        return list(report.rows)

    async def margin(self) -> finance.MarginRow:
        """All that was booked for the customer until the call, as one row."""
        asked = wallet.GetBalanceRequest(customer_id=self.customer_id)
        booked = (await self.ledger.wallet.GetBalance(asked)).as_of.ToNanoseconds()
        request = finance.GetMarginReportRequest(customer_id=self.customer_id)
        while True:
            report = await self.ledger.finance.GetMarginReport(request)
            if report.as_of.ToNanoseconds() >= booked:
                (row,) = report.rows
                return row

    async def rate(self, title: str) -> str:
        """The first rate of a line of the customer's price list."""
        request = wallet.GetPriceListRequest(customer_id=self.customer_id)
        listed = (await self.ledger.wallet.GetPriceList(request)).items
        return next(item.rates[0].credits for item in listed if item.title == title)

    async def balance(self) -> pb.Balance:
        request = wallet.GetBalanceRequest(customer_id=self.customer_id)
        return (await self.ledger.wallet.GetBalance(request)).balance

    async def available(self) -> str:
        return in_credits((await self.balance()).available_micros)


class Presets:
    """The running service."""

    def __init__(self, ledger: Stubs, seller: Ledger) -> None:
        self.ledger = ledger
        self.seller = seller
        """The same service, as the command line calls it."""

    async def account(self, card: str, plan: str = "standard", **fields: Any) -> Account:
        """A new customer of a card, without credits."""
        customer_id = f"cus_{fresh()}"
        customer = admin.Customer(customer_id=customer_id, plan=plan, rate_card=card, **fields)
        await self.ledger.admin.CreateCustomer(
            admin.CreateCustomerRequest(request_id=fresh(), customer=customer)
        )
        return Account(self.ledger, customer_id)
