"""WalletService: for the customer, through the product. Own credits, read only."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime

from ledger.api.errors import refused
from ledger.api.messages import encode, events, paging, validation
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.api.public import budgets, month_statements, usage_reports
from ledger.api.public.balance_watch import BalanceWatch
from ledger.books.model.lots import LotKey
from ledger.books.model.refusals import RefusalReason
from ledger.events.derive import OF_CUSTOMERS
from ledger.prices.price_book import PriceBook
from ledger.prices.reading import in_reader
from ledger.store.reading.grants import GrantFilter
from ledger.store.reading.journal_parts import ReportOutdatedError
from ledger.store.reading.month_statement import MonthNotBegunError
from ledger.store.reading.reads import NEWEST, Reads
from ledger.turns import Turns
from ledger.v1 import wallet_service_pb2 as pb
from ledger.v1 import wallet_service_pb2_grpc


class WalletService(wallet_service_pb2_grpc.WalletServiceServicer):
    """What a customer has, what moved it, and what it buys."""

    def __init__(
        self, prices: PriceBook, reads: Reads, balances: BalanceWatch, clock: Callable[[], datetime]
    ) -> None:
        self._prices = prices
        self._reads = reads
        self._balances = balances
        self._clock = clock

    async def GetBalance(self, request: pb.GetBalanceRequest, context: object) -> pb.GetBalanceResponse:
        """The balance as it stands, or at an instant of the past."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        instant = None
        if request.HasField("as_of"):
            instant = validation.as_of(problems, "as_of", request.as_of, self._clock())
        problems.raise_if_any()
        if instant is not None:
            past = await self._reads.balance_at(customer_id, instant)
            response = pb.GetBalanceResponse(as_of=encode.timestamp(instant))
            encode.balance(response.balance, past)
            return response
        now = await self._reads.balance(customer_id)
        response = pb.GetBalanceResponse(
            by_kind=[
                pb.KindBalance(
                    kind=encode.grant_kind(kind.kind),
                    available_micros=kind.available_micros,
                    held_micros=kind.held_micros,
                )
                for kind in now.by_kind
            ],
            next_expiry=pb.NextExpiry(
                expires_at=encode.timestamp(now.next_expiry.expires_at),
                amount_micros=now.next_expiry.amount_micros,
            )
            if now.next_expiry is not None
            else None,
            as_of=encode.timestamp(now.as_of),
        )
        encode.balance(response.balance, now.credits)
        return response

    async def WatchBalance(  # type: ignore[override]  # The boundary takes a None, and looks at the key.
        self, request: pb.WatchBalanceRequest, context: object
    ) -> AsyncGenerator[pb.WatchBalanceResponse | None, None]:
        """The balance, then each other one; None where there is no other, once a second."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        problems.raise_if_any()
        async with aclosing(self._balances.balances(customer_id)) as balances:
            async for seen in balances:
                if seen is None:
                    yield None
                    continue
                response = pb.WatchBalanceResponse(as_of=encode.timestamp(seen.as_of))
                encode.balance(response.balance, seen.credits)
                yield response

    async def ListGrants(self, request: pb.ListGrantsRequest, context: object) -> pb.ListGrantsResponse:
        """The customer's grants, newest first."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        size = paging.page_size(problems, request)
        before = LotKey(*paging.last_key(problems, request, (NEWEST, NEWEST)))
        expires_before = None
        if request.HasField("expires_before"):
            expires_before = validation.instant(problems, "expires_before", request.expires_before)
        problems.raise_if_any()
        wanted = GrantFilter(expires_before=expires_before)
        rows = await self._reads.grants(customer_id, before, size + 1, wanted)
        shown = rows[:size]
        return pb.ListGrantsResponse(
            grants=[encode.grant(customer_id, row.lot, row.record) for row in shown],
            next_page_token=paging.next_page_token(request, shown[-1].lot.key) if len(rows) > size else "",
        )

    async def ListTransactions(
        self, request: pb.ListTransactionsRequest, context: object
    ) -> pb.ListTransactionsResponse:
        """The statement, newest first."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        size = paging.page_size(problems, request)
        (before,) = paging.last_key(problems, request, (NEWEST,))
        problems.raise_if_any()
        page = await self._reads.statement(customer_id, before, size)
        return pb.ListTransactionsResponse(
            transactions=[encode.transaction(customer_id, row) for row in page.rows],
            next_page_token=paging.token_below(request, page.next_before),
        )

    async def GetBudgets(self, request: pb.GetBudgetsRequest, context: object) -> pb.GetBudgetsResponse:
        """The customer's budgets, and what they have counted."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        labels = validation.labels(problems, "labels", request.labels)
        problems.raise_if_any()
        return await budgets.answer(self._prices, self._reads, customer_id, labels, self._clock())

    async def ListEvents(self, request: pb.ListEventsRequest, context: object) -> pb.ListEventsResponse:
        """What happened to the customer's credits, oldest first."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        wanted = events.wanted(problems, request, OF_CUSTOMERS)
        problems.raise_if_any()
        rows = await self._reads.events(customer_id, wanted.after, wanted.size + 1, wanted.types)
        page = events.page(request, rows, wanted, lambda row: row.customer_number)
        return pb.ListEventsResponse(
            events=page.events, next_page_token=page.next_page_token, cursor=page.cursor
        )

    async def GetUsageReport(
        self, request: pb.GetUsageReportRequest, context: object
    ) -> pb.GetUsageReportResponse:
        """What was used, by day, label, kind and measured unit; oldest first."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        query = usage_reports.query(problems, request)
        size = paging.page_size(problems, request)
        place = usage_reports.place(problems, request, query)
        problems.raise_if_any()
        try:
            page = await self._reads.usage(customer_id, query, place, size)
        except ReportOutdatedError:
            raise _outdated() from None
        validation.refuse_unwieldy(
            "label_keys", (row.credits_micros for row in page.rows), "ask for more labels, or filter by one"
        )
        return pb.GetUsageReportResponse(
            rows=[encode.used(row, query.label_keys) for row in page.rows],
            next_page_token=usage_reports.next_page_token(request, query, page.next),
        )

    async def GetStatement(self, request: pb.GetStatementRequest, context: object) -> pb.GetStatementResponse:
        """What a month began with, what came and went in it, and what was left."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        query = month_statements.query(problems, request, self._clock())
        size = paging.page_size(problems, request)
        place = month_statements.place(problems, request)
        problems.raise_if_any()
        try:
            page = await self._reads.month(customer_id, query, place, size)
        except ReportOutdatedError:
            raise _outdated() from None
        except MonthNotBegunError as early:
            problem = f"has not begun in {early.zone}, the customer's time zone"
            raise InvalidArgumentError([("month", problem)]) from None
        validation.refuse_unwieldy(
            "label_keys", (line.credits_micros for line in page.lines), "ask for more labels"
        )
        response = encode.month_statement(page, query.label_keys)
        response.next_page_token = month_statements.next_page_token(request, page.next)
        return response

    async def GetPriceList(self, request: pb.GetPriceListRequest, context: object) -> pb.GetPriceListResponse:
        """What a credit buys under the customer's card of now."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        problems.raise_if_any()
        profile = await self._reads.profile(customer_id)
        now = self._clock()
        card = self._prices.card_for(self._prices.plans(now).get(profile.plan), profile.card, now)
        if card is None:
            raise refused(RefusalReason.RATE_CARD_NOT_FOUND, rate_card=profile.card or "")
        response = pb.GetPriceListResponse(rate_card=card.version.name, credit_name=card.content.credit_name)
        turns = Turns()
        for item in await in_reader(card.content.price_list):
            response.items.append(encode.price_list_item(item, profile.multiplier_nanos))
            await turns.after(1)
        return response


def _outdated() -> InvalidArgumentError:
    problem = "is of a report by the customer's time zone of before; begin anew"
    return InvalidArgumentError([("page_token", problem)])
