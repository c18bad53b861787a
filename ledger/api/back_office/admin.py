"""AdminService: for ops. Customers, grants, rate cards, keys, and who did what."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import pricing
from ledger import books
from ledger.access.table import KeyTable
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.admin.v1 import admin_service_pb2_grpc
from ledger.api.back_office.audit import AuditMethods, act_of
from ledger.api.back_office.grants import GrantMethods
from ledger.api.back_office.keys import KeyMethods
from ledger.api.back_office.rates import RateMethods
from ledger.api.back_office.top_ups import TopUpMethods
from ledger.api.back_office.webhooks import WebhookMethods
from ledger.api.errors import StatusError, refusal_status, refused, some_of
from ledger.api.messages import decode_customers, encode, events, paging, validation
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.api.messages.write import Write
from ledger.api.writes import Writes
from ledger.books import commands
from ledger.books.model.decisions import Decision
from ledger.books.model.plans import Unpriced
from ledger.books.model.refusals import RefusalReason
from ledger.books.refusals import overrides_unreadable
from ledger.engine.command import Committed
from ledger.engine.engine import Engine
from ledger.events.derive import EventType
from ledger.prices.plan_overrides import (
    doubts_of_overrides,
    overridden,
    refuse_overrides,
    unreadable_fields,
)
from ledger.publishing.service import PublishingService
from ledger.store.directory import CustomerExistsError, RequestIdReusedError, create_customer
from ledger.store.postgres.database import Pool
from ledger.store.postgres.revisions import DEFAULT_CELLS
from ledger.store.prices.plans import overrides_of
from ledger.store.reading.reads import Profile, Reads

NEW_CUSTOMERS_CELL: Final = DEFAULT_CELLS[0]
"""Where new customers live."""


class AdminService(
    RateMethods,
    KeyMethods,
    GrantMethods,
    AuditMethods,
    WebhookMethods,
    TopUpMethods,
    admin_service_pb2_grpc.AdminServiceServicer,
):
    """Who the customers are, what they were granted, which cards are in force, who may call, who did what."""

    def __init__(
        self,
        engine: Engine,
        publishing: PublishingService,
        reads: Reads,
        keys: KeyTable,
        writer: Pool,
        clock: Callable[[], datetime],
        *,
        webhooks_private: bool,
    ) -> None:
        super().__init__(publishing, writer, clock)
        self._keys = keys
        self._webhooks_private = webhooks_private
        self._reads = reads
        self._directory = engine.directory
        self._writes = Writes(engine, reads, clock)

    async def CreateCustomer(
        self, request: pb.CreateCustomerRequest, context: object
    ) -> pb.CreateCustomerResponse:
        """Makes a customer, on a plan and maybe a card of its own."""
        write = decode_customers.create_customer(request)
        customer = request.customer
        overrides = decode_customers.plan_overrides(Problems(), customer)
        try:
            self._require_prices(customer.plan, customer.rate_card, overrides)
        except (StatusError, InvalidArgumentError) as error:
            if request.validate_only:
                raise
            done = await self._writes.repeat(write, error)
        else:
            if request.validate_only:
                asked = _asked(customer, None)
                return pb.CreateCustomerResponse(customer=asked, warnings=self._warnings(asked))
            done = await self._create(write, request)
        made = _asked(customer, done.entry.effective_at)
        return pb.CreateCustomerResponse(
            customer=made,
            sequence=done.entry.sequence,
            replayed=done.replayed,
            warnings=self._warnings(made),
        )

    async def _create(
        self, write: Write[commands.CreateCustomer], request: pb.CreateCustomerRequest
    ) -> Committed:
        command, customer = write.command, request.customer
        overrides = decode_customers.plan_overrides(Problems(), customer) or None
        plan = self._prices.plan_for(customer.plan, overrides, self._clock())
        is_granted = plan is not None and bool(plan.grants)

        def make(number: int, now: datetime) -> Decision:
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
                overrides,
                is_granted=is_granted,
            )

        try:
            created = await create_customer(
                self._writer, write.customer_id, NEW_CUSTOMERS_CELL, make, act_of(request)
            )
        except CustomerExistsError:
            raise refused(RefusalReason.CUSTOMER_EXISTS, customer_id=write.customer_id) from None
        except RequestIdReusedError:
            raise refused(RefusalReason.REQUEST_ID_REUSED, request_id=command.request_id) from None
        if is_granted:
            await self._writes.write_due(write.customer_id, created.entry.effective_at)
        return Committed(created.entry, created.replayed)

    async def UpdateCustomer(
        self, request: pb.UpdateCustomerRequest, context: object
    ) -> pb.UpdateCustomerResponse:
        """Changes names and policies; answers with the customer as it now stands."""
        write = decode_customers.update_customer(request, self._clock())
        command = write.command
        before, own = await self._profile(write.customer_id)
        plan = before.plan if command.plan is None else command.plan
        card = before.card if command.card is None else command.card
        try:
            self._require_prices(
                plan, card or "", own if command.plan_overrides is None else command.plan_overrides
            )
        except (StatusError, InvalidArgumentError) as error:
            done = await self._writes.repeat(write, error)
        else:
            done = await self._writes.carry_out(write, act_of(request))
            if command.plan is not None or command.plan_overrides is not None:
                # What recurs by them begins.
                await self._writes.write_due(write.customer_id, done.entry.effective_at)
        customer = _customer(*await self._profile(write.customer_id))
        return pb.UpdateCustomerResponse(
            customer=customer,
            sequence=done.entry.sequence,
            replayed=done.replayed,
            warnings=self._warnings(customer),
        )

    async def _profile(self, customer_id: str) -> tuple[Profile, str]:
        """A customer, and its own fields of its plan; '' if it has none."""
        profile = await self._reads.profile(customer_id)
        own = await overrides_of(self._writer, DEFAULT_CELLS, [customer_id])
        return profile, own.get(customer_id, "")

    def _require_prices(self, plan: str, card: str, overrides: str) -> None:
        """A customer's plan exists and goes with its own fields, and there is a card to price usage by."""
        now = self._clock()
        plans = self._prices.plans(now)
        if plan not in plans:
            raise refused(RefusalReason.PLAN_NOT_FOUND, plan=plan, allowed=some_of(plans))
        unreadable = unreadable_fields(overrides) if overrides else ()
        if unreadable:
            raise StatusError(refusal_status(overrides_unreadable(unreadable)))
        if overrides:
            try:
                refuse_overrides(self._prices.plan_book(now), plan, overrides)
            except pricing.ConfigError as error:
                wrong = [("customer.plan_overrides", str(problem)) for problem in error.problems]
                raise InvalidArgumentError(wrong) from error
        cards = self._prices.cards(now)
        allowed = some_of(cards)
        if card and card not in cards:
            raise refused(RefusalReason.RATE_CARD_NOT_FOUND, rate_card=card, allowed=allowed)
        priced_by = self._prices.card_for(plans[plan], card or None, now)
        if priced_by is None:
            description = f"is required, as plan {plan} has no card in force; one of {allowed} is allowed"
            raise InvalidArgumentError([("customer.rate_card", description)])
        policies = overridden(plans[plan], overrides) if overrides else plans[plan]
        if policies.unpriced is Unpriced.FALLBACK and not priced_by.content.fallback:
            name = priced_by.version.name
            description = (
                f"is {name}, which names no rule to fall back on, as plan {plan} asks: write"
                " fallback: {tokens: <name of a rule>} in the card, or choose another card or plan"
            )
            raise InvalidArgumentError([("customer.rate_card", description)])

    def _warnings(self, customer: pb.Customer) -> list[pb.RateProblem]:
        """What of own fields is likely a mistake; nothing where they, or the plan, are not known."""
        now, own = self._clock(), customer.plan_overrides
        plans = self._prices.plan_book(now)
        plan = plans.plans.get(customer.plan)
        if not own or plan is None or unreadable_fields(own):
            return []
        priced_by = self._prices.card_for(plan, customer.rate_card or None, now)
        card = priced_by.content if priced_by is not None else None
        return [encode.problem(each) for each in doubts_of_overrides(plans, customer.plan, own, card)]

    async def GetCustomer(self, request: pb.GetCustomerRequest, context: object) -> pb.GetCustomerResponse:
        """One customer."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        problems.raise_if_any()
        profile, own = await self._profile(customer_id)
        return pb.GetCustomerResponse(
            customer=_customer(profile, own), upcoming_grants=await self._upcoming(profile, own)
        )

    async def _upcoming(self, profile: Profile, own: str) -> list[pb.UpcomingGrant]:
        """What the customer's plan grants next, as it has it now."""
        plan = self._prices.plan_for(profile.plan, own or None, self._clock())
        if plan is None or not plan.grants:
            return []
        terms = {grant.name: grant for grant in plan.grants}
        upcoming = await self._reads.upcoming(profile.customer_id)
        return [encode.upcoming_grant(terms[name], at) for name, at in upcoming.items() if name in terms]

    async def ListCustomers(
        self, request: pb.ListCustomersRequest, context: object
    ) -> pb.ListCustomersResponse:
        """Customers in the order of their ids."""
        problems = Problems()
        size = paging.page_size(problems, request)
        (after,) = paging.last_key(problems, request, ("",))
        problems.raise_if_any()
        rows = await self._reads.profiles(after, size + 1)
        token = paging.next_page_token(request, (rows[size - 1].customer_id,)) if len(rows) > size else ""
        own = await overrides_of(self._writer, DEFAULT_CELLS, [row.customer_id for row in rows[:size]])
        return pb.ListCustomersResponse(
            customers=[_customer(row, own.get(row.customer_id, "")) for row in rows[:size]],
            next_page_token=token,
        )

    async def ListAllEvents(
        self, request: pb.ListAllEventsRequest, context: object
    ) -> pb.ListAllEventsResponse:
        """What happened to all customers' credits, and in the house, oldest first."""
        problems = Problems()
        wanted = events.wanted(problems, request, frozenset(EventType))
        problems.raise_if_any()
        rows = await self._reads.all_events(wanted.after, wanted.size + 1, wanted.types)
        page = events.page(request, rows, wanted, lambda row: row.number)
        return pb.ListAllEventsResponse(
            events=page.events, next_page_token=page.next_page_token, cursor=page.cursor
        )


def _asked(customer: pb.Customer, created_at: datetime | None) -> pb.Customer:
    """A customer as a request makes it."""
    return pb.Customer(
        customer_id=customer.customer_id,
        display_name=customer.display_name,
        plan=customer.plan,
        rate_card=customer.rate_card,
        zone=customer.zone or validation.UTC_ZONE,
        multiplier=encode.decimal(decode_customers.multiplier(customer)),
        plan_overrides=decode_customers.plan_overrides(Problems(), customer),
        created_at=encode.timestamp(created_at),
    )


def _customer(profile: Profile, own: str) -> pb.Customer:
    return pb.Customer(
        customer_id=profile.customer_id,
        display_name=profile.display_name,
        plan=profile.plan,
        rate_card=profile.card or "",
        zone=profile.zone,
        multiplier=encode.decimal(profile.multiplier_nanos),
        plan_overrides=own,
        created_at=encode.timestamp(profile.created_at),
    )
