"""What a journal of an earlier release holds, and all that a service answers of it: by the wire alone.

It speaks no module of the service but the stubs of its API, so that it works with the code of any release:
`make_released` fills a database with it, and the tests ask the same of a service of today.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import asyncpg
import grpc.aio
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.usage_pb2 import ComputeUsage, Outcome, TokenUsage, UnitUsage, UsageItem, UsageList
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.amounts import CREDIT

CUSTOMERS: Final = tuple(f"customer-{number}" for number in range(8))
OPEN: Final = "customer-open"
"""Has holds: they expire some time, so nothing of it is compared."""
ROUNDS: Final = 700
"""Of each customer; a round is some four entries."""
ROUND: Final[Mapping[str, int]] = {
    "charge": 4,
    "credits": 1,
    "give back": 2,
    "expire": 1,
    "extend": 1,
    "release": 1,
    "parts": 1,
    "reverse": 1,
    "commit": 8,
}
"""What a round may be, and how often."""
SENT_AGAIN: Final = 40
"""Requests of each customer that are sent again."""
EXPLAINED: Final = 40
KINDS: Final = frozenset(
    {
        "CUSTOMER_CREATED",
        "CUSTOMER_UPDATED",
        "GRANT",
        "GRANT_STARTED",
        "GRANT_EXPIRED",
        "RESERVE",
        "EXTEND",
        "COMMIT",
        "RELEASE",
        "RESERVATION_EXPIRED",
        "CHARGE",
        "REVERSAL",
        "REFUND",
        "PERIOD_CLOSED",
    }
)
"""Of entries, all there are."""
_SECONDS = 60
_PAGE = 500
_WRITES: Final[Mapping[str, Any]] = {
    "Reserve": pb.ReserveRequest,
    "ExtendReservation": pb.ExtendReservationRequest,
    "CommitReservation": pb.CommitReservationRequest,
    "ReleaseReservation": pb.ReleaseReservationRequest,
    "Charge": pb.ChargeRequest,
    "Refund": pb.RefundRequest,
    "ReverseCharge": pb.ReverseChargeRequest,
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Doors:
    """Both doors of a service."""

    credits: Any
    wallet: Any
    admin: Any
    finance: Any


@asynccontextmanager
async def doors(public: str, back_office: str) -> AsyncIterator[Doors]:
    """The service at these addresses."""
    async with grpc.aio.insecure_channel(public) as outer, grpc.aio.insecure_channel(back_office) as inner:
        yield Doors(
            CreditServiceStub(outer),
            WalletServiceStub(outer),
            AdminServiceStub(inner),
            FinanceServiceStub(inner),
        )


class Work:
    """What one customer does; the same again for the same name."""

    def __init__(self, service: Doors, customer_id: str) -> None:
        self._service = service
        self._customer_id = customer_id
        self._dice = random.Random(customer_id)  # noqa: S311 -- the same work again, no secret
        self._requests = 0
        self.charges: list[str] = []
        self.sent: list[Json] = []
        """Writes that succeeded, with their replies."""

    def _named(self) -> Json:
        self._requests += 1
        return {"request_id": f"{self._requests}", "customer_id": self._customer_id}

    async def begin(self) -> None:
        """The customer, its grants (one that starts and one that ends by the clock), another name."""
        customer = admin.Customer(customer_id=self._customer_id, plan="standard", display_name="Åsa")
        await self._service.admin.CreateCustomer(
            admin.CreateCustomerRequest(request_id="create", customer=customer)
        )
        customer.display_name, customer.multiplier = "Bo", "0.9"
        update = admin.UpdateCustomerRequest(request_id="update", customer=customer)
        update.update_mask.paths.extend(["display_name", "multiplier"])
        await self._service.admin.UpdateCustomer(update)
        await self._grant(100_000, "90000.07")
        soon, later = Timestamp(), Timestamp()
        soon.GetCurrentTime()
        soon.seconds += 2
        later.CopyFrom(soon)
        later.seconds += 2
        await self._grant(50, "3.1", effective_at=soon, expires_at=later)

    async def _grant(self, credits_count: int, usd: str, **more: Any) -> None:
        grant = admin.IssueGrantRequest(
            **self._named(),
            amount_micros=credits_count * CREDIT,
            kind=wallet.GRANT_KIND_PAID,
            paid_total_usd=usd,
            **more,
        )
        await self._service.admin.IssueGrant(grant)

    async def round(self) -> None:
        """A hold and what becomes of it, or a charge; now and then something goes back."""
        [what] = self._dice.choices([*ROUND], [*ROUND.values()])
        if what == "charge":
            reply = await self._send("Charge", usage=self._usage(), labels=self._labels(), already_used=True)
            self.charges.append(reply.charge.charge_id)
        elif what == "credits":
            amount = self._dice.randrange(1, CREDIT)
            reply = await self._send("Charge", amount_micros=amount, already_used=True)
            self.charges.append(reply.charge.charge_id)
        elif what == "give back":
            await self._give_back()
        else:
            await self._hold(what)

    async def _give_back(self) -> None:
        """Of a charge, if there is one that something is left of."""
        if not self.charges:
            return
        charge = {"charge_id": self.charges.pop(self._dice.randrange(len(self.charges)))}
        with suppress(grpc.aio.AioRpcError):
            if self._dice.random() < 0.5:
                await self._send("Refund", **charge, amount_micros=1, reason="goodwill")
            else:
                await self._send("ReverseCharge", **charge, reason="why")

    async def _hold(self, what: str) -> None:
        ttl = {"seconds": 1 if what == "expire" else 600}
        reply = await self._send("Reserve", amount_micros=3 * CREDIT, ttl=ttl, labels=self._labels())
        held = {"reservation_id": reply.reservation.reservation_id}
        if what == "expire":
            return
        if what == "release":
            await self._send("ReleaseReservation", **held)
            return
        if what == "extend":
            await self._send("ExtendReservation", **held, amount_micros=CREDIT)
        if what == "parts":
            await self._send("CommitReservation", **held, usage=self._usage())
        await self._send("CommitReservation", **held, usage=self._usage(), final=True)
        if what == "reverse":
            with suppress(grpc.aio.AioRpcError):  # a charge of nothing
                await self._send("ReverseCharge", **held, reason="all of it")

    def _labels(self) -> pb.Labels:
        project, session = self._dice.choice(["", "ett", "två"]), self._dice.randrange(3)
        return pb.Labels(project=project, session=f"session-{session}" if session else "")

    def _usage(self) -> UsageList:
        dice = self._dice
        tokens = TokenUsage(model="a/model", input=dice.randrange(9_999), output=dice.randrange(999))
        ticket = Outcome(name="ticket", subject=f"s{dice.randrange(99)}", result=dice.choice([1, 2]))
        run = ComputeUsage(resource="box", run_id=f"run-{dice.randrange(4)}")
        run.duration.seconds = dice.randrange(1, 300)
        items = [
            UsageItem(tokens=tokens),
            UsageItem(compute=run),
            UsageItem(units=UnitUsage(meter="page", quantity=str(dice.randrange(1, 9)))),
            UsageItem(outcome=ticket),
            UsageItem(tokens=TokenUsage(model="b/unheard-of", input=dice.randrange(999))),
        ]
        return UsageList(items=dice.sample(items, dice.choice([1, 1, 2])))

    async def period(self) -> None:
        """What amounts to less than it was charged, once its month ends."""
        for letters in ("100", "50"):
            items = [UsageItem(units=UnitUsage(meter="letter", quantity=letters))]
            await self._send("Charge", usage=UsageList(items=items))

    async def _send(self, method: str, **fields: Any) -> Any:
        request = _WRITES[method](**self._named(), **fields)
        reply = await getattr(self._service.credits, method)(request, timeout=_SECONDS)
        if len(self.sent) < SENT_AGAIN:
            self.sent.append({"method": method, "request": said(request), "reply": said(reply)})
        return reply


async def fill(service: Doors) -> dict[str, list[Json]]:
    """Writes the journals; what each customer may send again."""
    works = {name: Work(service, name) for name in (*CUSTOMERS, OPEN)}

    async def work(name: str) -> None:
        await works[name].begin()
        for _ in range(ROUNDS if name != OPEN else 1):
            await works[name].round()
        if name != OPEN:
            await works[name].period()

    await asyncio.gather(*map(work, works))
    for number in range(3):
        hold = pb.ReserveRequest(
            request_id=f"open-{number}", customer_id=OPEN, amount_micros=CREDIT, labels=pb.Labels(user="u")
        )
        hold.ttl.seconds = 600
        await service.credits.Reserve(hold)
    return {name: works[name].sent for name in CUSTOMERS}


async def end_periods(url: str) -> None:
    """Lets the month end; the servers have to be started anew after it."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        """
        UPDATE cell_00.states s SET closes_at = w.last_instant
        FROM cell_00.wallets w WHERE w.customer = s.customer AND s.surplus <> 0;
        UPDATE cell_00.wallets w SET next_due_at = last_instant
        WHERE EXISTS (SELECT FROM cell_00.states s WHERE s.customer = w.customer AND s.surplus <> 0)
        """
    )
    await connection.close()


async def last(url: str) -> None:
    """Nothing will be due by the clock: what is answered now is answered whenever it is asked."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        f"""
        UPDATE cell_00.lots SET expires_at = '2226-01-01Z' WHERE remaining > 0 AND expires_at IS NOT NULL;
        UPDATE cell_00.wallets w SET next_due_at = '2226-01-01Z' FROM ledger.customers c
        WHERE c.customer = w.customer AND c.customer_id <> '{OPEN}' AND next_due_at IS NOT NULL
        """
    )
    await connection.close()


async def settled(url: str) -> None:
    """Waits until what was due is written, and all is in the rollups."""
    due = f"""
    SELECT EXISTS (SELECT FROM cell_00.wallets WHERE next_due_at <= clock_timestamp())
        OR EXISTS (SELECT FROM cell_00.entries e, cell_00.tailer t WHERE e.xid >= t.cursor)
        OR EXISTS (SELECT FROM cell_00.wallets w JOIN ledger.customers c USING (customer)
                   WHERE c.customer_id <> '{OPEN}' AND (held <> 0 OR pending <> 0))
    """
    connection = await asyncpg.connect(url)
    is_due = True
    while is_due:
        await asyncio.sleep(0.2)
        is_due = await connection.fetchval(due)
    await connection.close()


async def answers(service: Doors, days: tuple[str, str]) -> Json:
    """All that is answered of the customers whose journals stand still, by question."""
    found: Json = {}
    for customer_id in CUSTOMERS:
        one = {"customer_id": customer_id}
        charges = await _pages(service.credits.ListCharges, pb.ListChargesRequest(**one), "charges")
        balance = said(await service.wallet.GetBalance(wallet.GetBalanceRequest(**one)))
        balance.pop("asOf")
        usage = wallet.GetUsageReportRequest(
            **one, first_day=days[0], last_day=days[1], label_keys=["project", "session"]
        )
        transactions = wallet.ListTransactionsRequest(**one)
        trial = said(await service.finance.GetTrialBalance(finance.GetTrialBalanceRequest(**one)))
        trial.pop("asOf")
        found[customer_id] = {
            "balance": balance,
            "charges": charges,
            "labelled": await _pages(
                service.credits.ListCharges,
                pb.ListChargesRequest(**one, labels=pb.Labels(project="två")),
                "charges",
            ),
            "customer": said(await service.admin.GetCustomer(admin.GetCustomerRequest(**one))),
            "grants": await _pages(service.wallet.ListGrants, wallet.ListGrantsRequest(**one), "grants"),
            "reservations": await _pages(
                service.credits.ListReservations, pb.ListReservationsRequest(**one), "reservations"
            ),
            "transactions": await _pages(service.wallet.ListTransactions, transactions, "transactions"),
            "usage": await _pages(service.wallet.GetUsageReport, usage, "rows"),
            "trial balance": trial,
            "margins": await _margins(service, customer_id),
            "explained": [
                said(
                    await service.finance.ExplainCharge(
                        finance.ExplainChargeRequest(**one, charge_id=charge["chargeId"])
                    )
                )
                for charge in charges[:EXPLAINED]
            ],
        }
    return found


async def _margins(service: Doors, customer_id: str) -> list[Json]:
    request = finance.GetMarginReportRequest(
        customer_id=customer_id,
        group_by=[
            finance.MARGIN_DIMENSION_KIND,
            finance.MARGIN_DIMENSION_MODEL,
            finance.MARGIN_DIMENSION_CARD,
            finance.MARGIN_DIMENSION_DAY,
        ],
    )
    rows = [said(row) for row in (await service.finance.GetMarginReport(request)).rows]
    return sorted(rows, key=repr)


async def _pages(method: Any, request: Any, field: str) -> list[Json]:
    request.page_size = _PAGE
    found: list[Json] = []
    while True:
        reply = await method(request)
        found += [said(each) for each in getattr(reply, field)]
        if not reply.next_page_token:
            return found
        request.page_token = reply.next_page_token


async def send_again(service: Doors, sent: Json) -> Json:
    """The reply to a write that was sent before, which has no effect."""
    request = ParseDict(sent["request"], _WRITES[sent["method"]]())
    return said(await getattr(service.credits, sent["method"])(request))


def said(message: Any) -> Json:
    """A message as JSON."""
    return MessageToDict(message)


def days_about(day: date) -> tuple[str, str]:
    """The days before, at and after, so that no zone's midnight matters."""
    return (day - timedelta(days=1)).isoformat(), (day + timedelta(days=1)).isoformat()
