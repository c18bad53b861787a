"""CreditService: for the product's backend."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from ledger.access.caller import Caller, current
from ledger.api import writes
from ledger.api.batches import BatchCalls, BatchedWrite, require_items
from ledger.api.errors import StatusError, refusal_status, refused
from ledger.api.messages import decode, encode, ids, limits, paging, validation
from ledger.api.messages.validation import Problems
from ledger.api.public import budgets
from ledger.api.public.checks import checked, shares_micros
from ledger.api.scopes import scopes_of_items
from ledger.api.writes import OF_BATCH, Writes
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.books.model.reservations import ReservationState
from ledger.engine.engine import Engine
from ledger.engine.waiting import urgency_of
from ledger.store.reading.reads import NEWEST, Booked, Reads
from ledger.turns import LINES_AT_ONCE, Turns
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import credit_service_pb2_grpc

_STATES: Final = {
    pb.ReservationState.Value(f"RESERVATION_STATE_{state.value}"): state for state in ReservationState
}

_BATCH: Final = "ledger.v1.CreditService/Batch"


_KINDS: Final = {
    name: BatchedWrite(name, OF_BATCH[name], scope, urgency_of(OF_BATCH[name].command))
    for name, scope in scopes_of_items(
        pb.DESCRIPTOR.services_by_name["CreditService"], pb.BatchItem.DESCRIPTOR
    ).items()
}

MakeToken = Callable[[Caller, str, timedelta], tuple[str, datetime]]
"""Makes a token of a caller for a customer, and says when it ends."""


class CreditService(credit_service_pb2_grpc.CreditServiceServicer):
    """Holds credits before an agent works, charges what it used."""

    def __init__(
        self, engine: Engine, reads: Reads, clock: Callable[[], datetime], make_token: MakeToken
    ) -> None:
        self._prices = engine.prices
        self._reads = reads
        self._clock = clock
        self._make_token = make_token
        self._writes = Writes(engine, reads, clock)
        self._batches = BatchCalls(_BATCH, _KINDS, self._writes, engine)

    async def Quote(self, request: pb.QuoteRequest, context: object) -> pb.QuoteResponse:
        """Prices usage; no effect."""
        usage, labels = decode.quote(request, self._clock())
        profile = await self._reads.profile(request.customer_id)
        found = self._prices.quote(
            profile.plan, profile.card, profile.multiplier_nanos, usage, labels, self._clock()
        )
        if isinstance(found, Refusal):
            raise StatusError(refusal_status(found))
        card, quote = found
        return encode.quote(card.name, quote.lines, shares_micros(card, quote.lines))

    async def Check(self, request: pb.CheckRequest, context: object) -> pb.CheckResponse:
        """Whether a reserve would be taken; no effect."""
        asked = decode.check(request, self._clock())
        spendable = await self._reads.spendable(asked.customer_id)
        now = self._clock()
        policies = self._prices.plan_for(spendable.plan, spendable.plan_overrides, now)
        counters = await budgets.counters_of(self._reads, asked.customer_id, policies, asked.labels)
        return await checked(self._prices, spendable, asked, counters, now)

    def Reserve(self, request: pb.ReserveRequest, context: object) -> Awaitable[pb.ReserveResponse]:
        """Holds credits."""
        return self._writes.answer(writes.RESERVE, request)

    def ExtendReservation(
        self, request: pb.ExtendReservationRequest, context: object
    ) -> Awaitable[pb.ExtendReservationResponse]:
        """More credits, more time, both or neither."""
        return self._writes.answer(writes.EXTEND, request)

    def CommitReservation(
        self, request: pb.CommitReservationRequest, context: object
    ) -> Awaitable[pb.CommitReservationResponse]:
        """Charges usage against a hold."""
        return self._writes.answer(writes.COMMIT, request)

    def ReleaseReservation(
        self, request: pb.ReleaseReservationRequest, context: object
    ) -> Awaitable[pb.ReleaseReservationResponse]:
        """Gives a hold back."""
        return self._writes.answer(writes.RELEASE, request)

    def Charge(self, request: pb.ChargeRequest, context: object) -> Awaitable[pb.ChargeResponse]:
        """Charges usage without a hold."""
        return self._writes.answer(writes.CHARGE, request)

    def Refund(self, request: pb.RefundRequest, context: object) -> Awaitable[pb.RefundResponse]:
        """Gives credits of a charge back."""
        return self._writes.answer(writes.REFUND, request)

    def ReverseCharge(
        self, request: pb.ReverseChargeRequest, context: object
    ) -> Awaitable[pb.ReverseChargeResponse]:
        """Undoes a charge, or all charges of a closed reservation."""
        return self._writes.answer(writes.REVERSE, request)

    async def Batch(self, request: pb.BatchRequest, context: object) -> pb.BatchResponse:
        """Carries out writes, each by itself; those of one customer in the order of the items.

        A caller that goes away in the middle may leave the last items undone, and repeats the call.
        """
        require_items(request.items, limits.BATCH_ITEMS_MAX)
        response = pb.BatchResponse()
        items = ((item, response.results.add()) for item in request.items)
        await self._batches.carry_out(items, len(request.items))
        return response

    async def GetReservation(
        self, request: pb.GetReservationRequest, context: object
    ) -> pb.GetReservationResponse:
        """One reservation as it stands."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        named = validation.identifier(problems, "reservation_id", request.reservation_id)
        problems.raise_if_any()
        row = await self._reads.reservation(customer_id, ids.reservation_sequence(customer_id, named))
        if row is None:
            raise refused(RefusalReason.RESERVATION_NOT_FOUND, reservation_id=named)
        response = pb.GetReservationResponse()
        encode.reservation(response.reservation, customer_id, row)
        return response

    async def ListReservations(
        self, request: pb.ListReservationsRequest, context: object
    ) -> pb.ListReservationsResponse:
        """Reservations in a state, with labels; newest first."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        size = paging.page_size(problems, request)
        (before,) = paging.last_key(problems, request, (NEWEST,))
        labels = validation.label_filter(problems, "labels", request.labels)
        state = _STATES.get(request.state)
        if state is None and request.state != pb.RESERVATION_STATE_UNSPECIFIED:
            problems.add("state", f"is {request.state}; one of {', '.join(_STATES.values())} is allowed")
        problems.raise_if_any()
        page = await self._reads.reservations(customer_id, before, size, state=state, labels=labels)
        token = paging.token_below(request, page.next_before)
        response = pb.ListReservationsResponse(next_page_token=token)
        for row in page.rows:
            encode.reservation(response.reservations.add(), customer_id, row)
        return response

    async def GetCharge(self, request: pb.GetChargeRequest, context: object) -> pb.GetChargeResponse:
        """One charge, with its lines."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        named = validation.identifier(problems, "charge_id", request.charge_id)
        problems.raise_if_any()
        booked = await self._reads.charge(customer_id, ids.charge_sequence(customer_id, named))
        if booked is None:
            raise refused(RefusalReason.CHARGE_NOT_FOUND, charge_id=named)
        response = pb.GetChargeResponse()
        _charge(response.charge, customer_id, booked)
        return response

    async def ListCharges(self, request: pb.ListChargesRequest, context: object) -> pb.ListChargesResponse:
        """Charges, newest first; a page ends early where its answer would grow too large to receive."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        size = paging.page_size(problems, request)
        (before,) = paging.last_key(problems, request, (NEWEST,))
        labels = validation.label_filter(problems, "labels", request.labels)
        reservation = None
        if request.reservation_id:
            named = validation.identifier(problems, "reservation_id", request.reservation_id)
            reservation = ids.reservation_sequence(customer_id, named)
        problems.raise_if_any()
        page = await self._reads.charges(customer_id, before, size, reservation=reservation, labels=labels)
        response = pb.ListChargesResponse(next_page_token=paging.token_below(request, page.next_before))
        total_bytes, turns = 0, Turns(LINES_AT_ONCE)
        for index, booked in enumerate(page.rows):
            charge = pb.Charge()
            _charge(charge, customer_id, booked)
            total_bytes += charge.ByteSize()
            if index and total_bytes > limits.PAGE_BYTES_MAX:
                response.next_page_token = paging.token_below(request, page.rows[index - 1].entry.sequence)
                break
            response.charges.append(charge)
            await turns.after(1 + len(charge.lines))
        return response

    async def CreateCustomerToken(
        self, request: pb.CreateCustomerTokenRequest, context: object
    ) -> pb.CreateCustomerTokenResponse:
        """Lets a front end read the wallet of one customer for a while."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        lasts = limits.TOKEN_TTL_DEFAULT
        if request.HasField("ttl"):
            bounds = limits.TOKEN_TTL_MIN, limits.TOKEN_TTL_MAX
            lasts = validation.ttl(problems, "ttl", request.ttl, *bounds)
        problems.raise_if_any()
        await self._reads.profile(customer_id)
        token, ends_at = self._make_token(current(), customer_id, lasts)
        return pb.CreateCustomerTokenResponse(token=token, expires_at=encode.timestamp(ends_at))


def _charge(into: pb.Charge, customer_id: str, booked: Booked) -> None:
    encode.charge(
        into,
        customer_id,
        booked.entry,
        is_reversed=booked.is_reversed,
        refunded_micros=booked.refunded_micros,
    )
