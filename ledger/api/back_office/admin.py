"""AdminService: for ops. Customers, grants, rate cards, keys, and who did what."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ledger.access.table import KeyTable
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.admin.v1 import admin_service_pb2_grpc
from ledger.api.back_office.audit import AuditMethods, act_of
from ledger.api.back_office.grants import GrantMethods
from ledger.api.back_office.imports import ImportMethods, import_calls
from ledger.api.back_office.keys import KeyMethods
from ledger.api.back_office.new_customers import NewCustomers
from ledger.api.back_office.policies import require_prices, warnings_of
from ledger.api.back_office.rates import RateMethods
from ledger.api.back_office.top_ups import TopUpMethods
from ledger.api.back_office.webhooks import WebhookMethods
from ledger.api.errors import StatusError
from ledger.api.messages import decode_customers, encode, events, paging, validation
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.api.writes import Writes
from ledger.engine.engine import Engine
from ledger.events.derive import EventType
from ledger.publishing.service import PublishingService
from ledger.store.postgres.database import Pool
from ledger.store.postgres.revisions import DEFAULT_CELLS
from ledger.store.prices.plans import overrides_of
from ledger.store.reading.reads import Profile, Reads


class AdminService(
    RateMethods,
    KeyMethods,
    GrantMethods,
    ImportMethods,
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
        self._new_customers = NewCustomers(self._prices, self._writes, writer)
        self._imports = import_calls(self._writes, engine)

    async def CreateCustomer(
        self, request: pb.CreateCustomerRequest, context: object
    ) -> pb.CreateCustomerResponse:
        """Makes a customer, on a plan and maybe a card of its own."""
        [made] = await self._new_customers.create([request])
        if isinstance(made, Exception):
            raise made
        return made

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
            overrides = own if command.plan_overrides is None else command.plan_overrides
            require_prices(self._prices, self._clock(), plan, card or "", overrides)
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
            warnings=warnings_of(self._prices, self._clock(), customer),
        )

    async def _profile(self, customer_id: str) -> tuple[Profile, str]:
        """A customer, and its own fields of its plan; '' if it has none."""
        profile = await self._reads.profile(customer_id)
        own = await overrides_of(self._writer, DEFAULT_CELLS, [customer_id])
        return profile, own.get(customer_id, "")

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
