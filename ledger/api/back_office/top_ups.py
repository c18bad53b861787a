"""The part of AdminService about top-ups: what was requested, and another attempt."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from typing import Final

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.audit import act_of
from ledger.api.messages import encode, ids, paging, validation
from ledger.api.messages.validation import Problems
from ledger.books.model.lots import LotKey
from ledger.books.top_ups import TopUp
from ledger.store.directory import CustomerKey, Directory
from ledger.store.events.top_ups import list_top_ups, retry_top_up
from ledger.store.postgres.database import Pool
from ledger.store.reading.reads import CustomerNotFoundError

_NUMBER_MAX: Final = 2**31 - 1


class TopUpMethods:
    """The methods of AdminService that concern top-ups."""

    _writer: Pool
    _directory: Directory

    async def ListTopUps(self, request: pb.ListTopUpsRequest, context: object) -> pb.ListTopUpsResponse:
        """A customer's top-ups, the newest first, and how it stands."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        size = paging.page_size(problems, request)
        (before,) = paging.last_key(problems, request, (_NUMBER_MAX,))
        problems.raise_if_any()
        # By the writer's role: what a customer is to pay is closed to the reader.
        rows, need = await list_top_ups(self._writer, await self._key(customer_id), before, size + 1)
        shown = rows[:size]
        token = paging.next_page_token(request, (shown[-1].number,)) if len(rows) > size else ""
        return pb.ListTopUpsResponse(
            top_ups=[_shown(customer_id, each) for each in shown],
            next_page_token=token,
            needed=need is not None,
            failed_attempts=need.failed_attempts if need is not None else 0,
            next_attempt_at=encode.timestamp(need.not_before if need is not None else None),
        )

    async def RetryTopUp(self, request: pb.RetryTopUpRequest, context: object) -> pb.RetryTopUpResponse:
        """Lets the next attempt of a customer begin at once."""
        problems = Problems()
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        problems.raise_if_any()
        key = await self._key(customer_id)
        needed = await retry_top_up(self._writer, key, customer_id, act_of(request))
        return pb.RetryTopUpResponse(needed=needed)

    async def _key(self, customer_id: str) -> CustomerKey:
        key = await self._directory.find(customer_id)
        if key is None:
            raise CustomerNotFoundError(customer_id)
        return key


def _shown(customer_id: str, top_up: TopUp) -> pb.TopUp:
    lot = LotKey(top_up.grant_sequence, 0) if top_up.grant_sequence is not None else None
    # What is being given up has not failed yet.
    failure = top_up.failure if top_up.ended_at is not None else None
    return pb.TopUp(
        number=top_up.number,
        state=pb.TopUpState.Value(f"TOP_UP_STATE_{top_up.state}"),
        failure=pb.TopUpFailure.Value(f"TOP_UP_FAILURE_{failure or 'UNSPECIFIED'}"),
        grant_id=ids.grant_id(customer_id, lot) if lot is not None else "",
        amount_micros=top_up.amount_micros,
        price_usd=encode.decimal(top_up.price_nanousd),
        attempt=top_up.attempt,
        requested_at=encode.timestamp(top_up.requested_at),
        answer_by=encode.timestamp(top_up.answer_by),
        ended_at=encode.timestamp(top_up.ended_at),
    )
