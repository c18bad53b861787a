"""What a client reads, to no effect: quotes, reservations, charges, and its customers' wallets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import grpc.aio

from ledger.client.answers.balances import WalletBalance, wallet_balance_of
from ledger.client.answers.budgets import Budget, budget_of
from ledger.client.answers.charges import (
    Charge,
    Quote,
    Reservation,
    ReservationState,
    charge_of,
    quote_of,
    reservation_of,
    state_number,
)
from ledger.client.answers.checks import Check, check_of
from ledger.client.answers.events import EventPage, event_page_of
from ledger.client.answers.grants import Grant, grant_of
from ledger.client.answers.prices import PriceList, price_list_of
from ledger.client.answers.statements import Statement, Transaction, statement_of, transaction_of
from ledger.client.answers.tokens import CustomerToken, customer_token_of
from ledger.client.answers.usage import UsageRow, usage_row_of
from ledger.client.lists import PAGE_SIZE, Listed, Page
from ledger.client.requests import day, duration, labels_asked, put_work, text, texts, timestamp, usage_list
from ledger.client.usage_report import added_up
from ledger.client.wire import Wire
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2
from ledger.v1 import wallet_service_pb2 as wallet

Answer = TypeVar("Answer")
Reported = wallet.GetUsageReportRequest | wallet.GetStatementRequest
Report = TypeVar("Report", wallet.GetUsageReportResponse, wallet.GetStatementResponse)
Method = Callable[[Wire], grpc.aio.UnaryUnaryMultiCallable[Any, Answer]]
"""Of an open channel the method that is called."""


class Reads(ABC):
    """The methods that read. All of them raise CreditsError."""

    @abstractmethod
    async def _read(self, method: Method[Answer], request: Any) -> Answer:
        """What a method answers, repeated while that may help. Raises CreditsError."""

    # -- work --------------------------------------------------------------------------------------

    async def quote(
        self,
        customer_id: str,
        usage: Sequence[usage_pb2.UsageItem],
        *,
        labels: Mapping[str, str] | None = None,
    ) -> Quote:
        """What usage would be charged now; no effect."""
        request = pb.QuoteRequest(
            customer_id=text("customer_id", customer_id),
            usage=usage_list(usage),
            labels=labels_asked(labels),
        )
        return quote_of(await self._read(lambda wire: wire.credits.Quote, request))

    async def check(
        self,
        customer_id: str,
        usage: Sequence[usage_pb2.UsageItem] | None = None,
        *,
        amount: Decimal | int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Check:
        """Whether the customer may begin this now, what it costs, and what is available; no effect."""
        request = pb.CheckRequest(customer_id=text("customer_id", customer_id), labels=labels_asked(labels))
        put_work(request, usage, amount)
        return check_of(await self._read(lambda wire: wire.credits.Check, request))

    async def get_reservation(self, customer_id: str, reservation_id: str) -> Reservation:
        request = pb.GetReservationRequest(
            customer_id=text("customer_id", customer_id),
            reservation_id=text("reservation_id", reservation_id),
        )
        answer = await self._read(lambda wire: wire.credits.GetReservation, request)
        return reservation_of(answer.reservation)

    def list_reservations(
        self,
        customer_id: str,
        *,
        state: ReservationState | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Listed[Reservation]:
        """A customer's reservations, newest first: of one state, and with all of these labels, if given."""
        named, asked, labelled = text("customer_id", customer_id), state_number(state), labels_asked(labels)

        async def read(token: str) -> Page[Reservation]:
            request = pb.ListReservationsRequest(
                customer_id=named,
                state=asked,
                labels=labelled,
                page_size=PAGE_SIZE,
                page_token=token,
            )
            answer = await self._read(lambda wire: wire.credits.ListReservations, request)
            return Page([reservation_of(each) for each in answer.reservations], answer.next_page_token)

        return Listed(read)

    async def get_charge(self, customer_id: str, charge_id: str) -> Charge:
        request = pb.GetChargeRequest(
            customer_id=text("customer_id", customer_id), charge_id=text("charge_id", charge_id)
        )
        return charge_of((await self._read(lambda wire: wire.credits.GetCharge, request)).charge)

    def list_charges(
        self,
        customer_id: str,
        *,
        reservation_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Listed[Charge]:
        """A customer's charges, newest first: of one reservation, and with all of these labels, if given."""
        named, labelled = text("customer_id", customer_id), labels_asked(labels)
        reservation = "" if reservation_id is None else text("reservation_id", reservation_id)

        async def read(token: str) -> Page[Charge]:
            request = pb.ListChargesRequest(
                customer_id=named,
                reservation_id=reservation,
                labels=labelled,
                page_size=PAGE_SIZE,
                page_token=token,
            )
            answer = await self._read(lambda wire: wire.credits.ListCharges, request)
            return Page([charge_of(each) for each in answer.charges], answer.next_page_token)

        return Listed(read)

    # -- the wallet --------------------------------------------------------------------------------

    async def balance(self, customer_id: str, *, as_of: datetime | None = None) -> WalletBalance:
        """The customer's credits as they stand; or as they stood, at least 15 s ago.

        Raises InvalidArgument for an instant without a time zone.
        """
        request = wallet.GetBalanceRequest(
            customer_id=text("customer_id", customer_id), as_of=timestamp("as_of", as_of)
        )
        return wallet_balance_of(await self._read(lambda wire: wire.wallet.GetBalance, request))

    def list_grants(self, customer_id: str, *, expires_before: datetime | None = None) -> Listed[Grant]:
        """A customer's grants, newest first; or only those with credits left that expire before an instant.

        Raises InvalidArgument for an instant without a time zone.
        """
        named, before = text("customer_id", customer_id), timestamp("expires_before", expires_before)

        async def read(token: str) -> Page[Grant]:
            request = wallet.ListGrantsRequest(
                customer_id=named, expires_before=before, page_size=PAGE_SIZE, page_token=token
            )
            answer = await self._read(lambda wire: wire.wallet.ListGrants, request)
            return Page([grant_of(each) for each in answer.grants], answer.next_page_token)

        return Listed(read)

    def list_transactions(self, customer_id: str) -> Listed[Transaction]:
        """A customer's statement: all that moved credits, newest first, with the balances after it."""
        named = text("customer_id", customer_id)

        async def read(token: str) -> Page[Transaction]:
            request = wallet.ListTransactionsRequest(customer_id=named, page_size=PAGE_SIZE, page_token=token)
            answer = await self._read(lambda wire: wire.wallet.ListTransactions, request)
            lines = [transaction_of(each) for each in answer.transactions]
            return Page(lines, answer.next_page_token)

        return Listed(read)

    async def budgets(self, customer_id: str, labels: Mapping[str, str] | None = None) -> tuple[Budget, ...]:
        """The customer's budgets, and what they have counted; with labels, of those that count by these."""
        request = wallet.GetBudgetsRequest(
            customer_id=text("customer_id", customer_id), labels=labels_asked(labels)
        )
        answer = await self._read(lambda wire: wire.wallet.GetBudgets, request)
        return tuple(map(budget_of, answer.budgets))

    async def events_since(
        self, customer_id: str, cursor: str = "", *, types: Collection[str] = ()
    ) -> EventPage:
        """What has happened to a customer's credits since a cursor, from the first on if there is none.

        Oldest first, and of these types alone, if given: with the same ones the page's cursor leads on.
        """
        request = wallet.ListEventsRequest(
            customer_id=text("customer_id", customer_id),
            types=texts("types", types),
            page_size=PAGE_SIZE,
            page_token=text("cursor", cursor),
        )
        answer = await self._read(lambda wire: wire.wallet.ListEvents, request)
        return event_page_of(answer)

    async def usage_report(
        self,
        customer_id: str,
        first_day: date,
        last_day: date | None = None,
        *,
        label_keys: Collection[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> tuple[UsageRow, ...]:
        """What was used on days of the customer's time zone, both included, 92 at most; oldest first.

        Parted by labels, 4 at most, and only what has all of `labels`. Raises ValueError where a row
        amounts to more micro-credits than 64 bits hold.
        """
        request = wallet.GetUsageReportRequest(
            customer_id=text("customer_id", customer_id),
            first_day=day("first_day", first_day),
            last_day=day("last_day", first_day if last_day is None else last_day),
            label_keys=texts("label_keys", label_keys),
            labels=labels_asked(labels),
            page_size=PAGE_SIZE,
        )
        pages = await self._pages(lambda wire: wire.wallet.GetUsageReport, request)
        rows = added_up(row for page in pages for row in page.rows)
        return tuple(map(usage_row_of, rows))

    async def statement(self, customer_id: str, month: str, *, label_keys: Collection[str] = ()) -> Statement:
        """A month, as YYYY-MM, of the customer's time zone, its lines parted by labels, 4 at most.

        Raises ValueError where a line amounts to more micro-credits than 64 bits hold.
        """
        request = wallet.GetStatementRequest(
            customer_id=text("customer_id", customer_id),
            month=text("month", month),
            label_keys=texts("label_keys", label_keys),
            page_size=PAGE_SIZE,
        )
        pages = await self._pages(lambda wire: wire.wallet.GetStatement, request)
        lines = added_up(line for page in pages for line in page.lines)
        return statement_of(pages[-1], lines)

    async def _pages(self, method: Method[Report], request: Reported) -> list[Report]:
        """All pages of a report."""
        pages: list[Report] = []
        while not pages or request.page_token:
            page = await self._read(method, request)
            pages.append(page)
            request.page_token = page.next_page_token
        return pages

    async def price_list(self, customer_id: str) -> PriceList:
        """What a credit buys under the customer's card."""
        request = wallet.GetPriceListRequest(customer_id=text("customer_id", customer_id))
        return price_list_of(await self._read(lambda wire: wire.wallet.GetPriceList, request))

    async def create_customer_token(
        self, customer_id: str, *, ttl_seconds: int | None = None
    ) -> CustomerToken:
        """A token by which a product's front end reads one customer's wallet, for 15 minutes if not said."""
        request = pb.CreateCustomerTokenRequest(
            customer_id=text("customer_id", customer_id), ttl=duration("ttl_seconds", ttl_seconds)
        )
        answer = await self._read(lambda wire: wire.credits.CreateCustomerToken, request)
        return customer_token_of(answer)
