"""How customers are created: one, or many in one transaction, each answered by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

import asyncpg

from ledger import books
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.audit import act_of
from ledger.api.back_office.policies import require_prices, warnings_of
from ledger.api.errors import StatusError, is_away, refused
from ledger.api.messages import decode_customers, encode, validation
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.api.messages.write import Write
from ledger.api.writes import Writes
from ledger.books.commands import CreateCustomer
from ledger.books.model.decisions import Decision
from ledger.books.model.refusals import RefusalReason
from ledger.engine.command import Committed, UnavailableError
from ledger.prices.price_book import PriceBook
from ledger.store.directory import (
    Created,
    CustomerExistsError,
    NewCustomer,
    RequestIdReusedError,
    create_customers,
)
from ledger.store.postgres.database import Pool
from ledger.store.postgres.outcomes import UnknownOutcomeError
from ledger.store.postgres.revisions import DEFAULT_CELLS
from ledger.turns import Turns

NEW_CUSTOMERS_CELL: Final = DEFAULT_CELLS[0]
"""Where new customers live."""

Answer = pb.CreateCustomerResponse | Exception
"""What a request is answered, or what is to be raised."""


class _Asked(NamedTuple):
    """A customer that is to be created, on policies that are right."""

    request: pb.CreateCustomerRequest
    write: Write[CreateCustomer]
    overrides: str
    is_granted: bool
    """Its plan has grants that recur."""


class NewCustomers:
    """Creates customers."""

    def __init__(self, prices: PriceBook, writes: Writes, writer: Pool) -> None:
        self._prices = prices
        self._writes = writes
        self._writer = writer

    async def create(self, requests: Sequence[pb.CreateCustomerRequest]) -> list[Answer]:
        """What becomes of each request, in their order. Raises what no request can help."""
        answers: dict[int, Answer] = {}
        asked: dict[int, _Asked] = {}
        turns = Turns()
        for index, request in enumerate(requests):
            try:
                found = await self._asked(request)
            except (StatusError, InvalidArgumentError) as error:
                answers[index] = error
            else:
                if isinstance(found, _Asked):
                    asked[index] = found
                else:
                    answers[index] = found
            await turns.after(1)
        if asked:
            answers.update(zip(asked, await self._create([*asked.values()]), strict=True))
        return [answers[index] for index in range(len(requests))]

    async def _asked(self, request: pb.CreateCustomerRequest) -> _Asked | pb.CreateCustomerResponse:
        """What is to be created, or the answer where nothing is.

        Raises StatusError or InvalidArgumentError for what is wrong with the request.
        """
        write = decode_customers.create_customer(request)
        customer, now = request.customer, self._writes.now()
        overrides = decode_customers.plan_overrides(Problems(), customer)
        try:
            require_prices(self._prices, now, customer.plan, customer.rate_card, overrides)
        except (StatusError, InvalidArgumentError) as error:
            if request.validate_only:
                raise
            return self._answer(request, overrides, await self._writes.repeat(write, error))
        if request.validate_only:
            return self._answer(request, overrides, None)
        plan = self._prices.plan_for(customer.plan, overrides or None, now)
        return _Asked(request, write, overrides, is_granted=plan is not None and bool(plan.grants))

    async def _create(self, asked: Sequence[_Asked]) -> list[Answer]:
        """Creates customers together; by themselves where the database refuses that for one of them."""
        try:
            return await self._create_together(asked)
        except (UnknownOutcomeError, asyncpg.InternalClientError) as error:
            # The latter is the driver's word for a connection that ended between two statements.
            raise UnavailableError from error
        except Exception as error:
            if is_away(error) or len(asked) == 1:
                raise
        answers: list[Answer] = []
        for each in asked:
            try:
                answers += await self._create([each])
            except Exception as error:  # noqa: BLE001 -- one bad request fails alone
                answers.append(error)
        return answers

    async def _create_together(self, asked: Sequence[_Asked]) -> list[Answer]:
        new = [NewCustomer(each.write.customer_id, partial(_decide, each)) for each in asked]
        outcomes = await create_customers(self._writer, NEW_CUSTOMERS_CELL, new, act_of(asked[0].request))
        await asyncio.gather(
            *(
                self._writes.write_due(each.write.customer_id, outcome.entry.effective_at)
                for each, outcome in zip(asked, outcomes, strict=True)
                if each.is_granted and isinstance(outcome, Created)
            )
        )
        return [self._outcome(each, outcome) for each, outcome in zip(asked, outcomes, strict=True)]

    def _outcome(
        self, asked: _Asked, outcome: Created | CustomerExistsError | RequestIdReusedError
    ) -> Answer:
        match outcome:
            case Created():
                booked = Committed(outcome.entry, outcome.replayed)
                return self._answer(asked.request, asked.overrides, booked)
            case CustomerExistsError():
                return refused(RefusalReason.CUSTOMER_EXISTS, customer_id=asked.write.customer_id)
            case RequestIdReusedError():
                return refused(RefusalReason.REQUEST_ID_REUSED, request_id=asked.write.command.request_id)

    def _answer(
        self, request: pb.CreateCustomerRequest, overrides: str, booked: Committed | None
    ) -> pb.CreateCustomerResponse:
        """`booked`: None where the request was only looked at."""
        customer = _shown(request.customer, overrides, booked.entry.effective_at if booked else None)
        return pb.CreateCustomerResponse(
            customer=customer,
            sequence=booked.entry.sequence if booked else 0,
            replayed=booked is not None and booked.replayed,
            warnings=warnings_of(self._prices, self._writes.now(), customer),
        )


def _decide(asked: _Asked, number: int, now: datetime) -> Decision:
    command, customer = asked.write.command, asked.request.customer
    return books.create(
        number,
        customer.display_name,
        customer.plan,
        customer.rate_card or None,
        customer.zone or validation.UTC_ZONE,
        command.request_id,
        command.fingerprint,
        now,
        decode_customers.multiplier(customer),
        asked.overrides or None,
        is_granted=asked.is_granted,
    )


def _shown(customer: pb.Customer, overrides: str, created_at: datetime | None) -> pb.Customer:
    """A customer as a request makes it."""
    return pb.Customer(
        customer_id=customer.customer_id,
        display_name=customer.display_name,
        plan=customer.plan,
        rate_card=customer.rate_card,
        zone=customer.zone or validation.UTC_ZONE,
        multiplier=encode.decimal(decode_customers.multiplier(customer)),
        plan_overrides=overrides,
        created_at=encode.timestamp(created_at),
    )
