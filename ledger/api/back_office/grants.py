"""The part of AdminService about grants: issued, confirmed, taken back, paid back, given up, listed."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api import writes
from ledger.api.back_office.audit import LAST_MICROS, act_of
from ledger.api.messages import encode, ids, paging, validation
from ledger.api.messages.validation import EPOCH, Problems
from ledger.api.writes import Method, Writes
from ledger.books.model.amounts import Dollars
from ledger.books.model.lots import LotKey
from ledger.store.directory import Directory
from ledger.store.finance.reads import posted_dollars
from ledger.store.postgres.database import Pool
from ledger.store.reading.grants import GrantFilter, GrantPlace, ListedGrant
from ledger.store.reading.reads import NEWEST, CustomerNotFoundError, Reads

_MICROSECOND: Final = timedelta(microseconds=1)
_NEWEST_LOT: Final = (NEWEST, NEWEST)
_LAST_PLACE: Final = (NEWEST, NEWEST, NEWEST)
_LAST_EXPIRY: Final = (LAST_MICROS, NEWEST, NEWEST, NEWEST)

Changed = TypeVar(
    "Changed",
    pb.ConfirmGrantResponse,
    pb.VoidGrantResponse,
    pb.ExtendGrantResponse,
    pb.DisputeGrantResponse,
    pb.ResolveDisputeResponse,
    pb.RefundGrantResponse,
    pb.WriteOffGrantResponse,
    pb.WriteOffDebtResponse,
)


class GrantMethods:
    """The methods of AdminService that concern grants."""

    _reads: Reads
    _writes: Writes
    _writer: Pool
    _directory: Directory

    async def IssueGrant(self, request: pb.IssueGrantRequest, context: object) -> pb.IssueGrantResponse:
        """Gives credits to a customer, or states what it is to be given once that is paid."""
        return await self._writes.answer(writes.ISSUE_GRANT, request, act_of(request))

    async def ConfirmGrant(self, request: pb.ConfirmGrantRequest, context: object) -> pb.ConfirmGrantResponse:
        """Issues a grant whose payment was pending."""
        return await self._changed(writes.CONFIRM_GRANT, request)

    async def VoidGrant(self, request: pb.VoidGrantRequest, context: object) -> pb.VoidGrantResponse:
        """Takes back what nobody holds of a grant."""
        return await self._changed(writes.VOID_GRANT, request)

    async def ExtendGrant(self, request: pb.ExtendGrantRequest, context: object) -> pb.ExtendGrantResponse:
        """Gives a grant another expiry or priority."""
        return await self._changed(writes.EXTEND_GRANT, request)

    async def DisputeGrant(self, request: pb.DisputeGrantRequest, context: object) -> pb.DisputeGrantResponse:
        """Sets aside what nobody holds of a grant whose payment is disputed."""
        return await self._changed(writes.DISPUTE_GRANT, request)

    async def ResolveDispute(
        self, request: pb.ResolveDisputeRequest, context: object
    ) -> pb.ResolveDisputeResponse:
        """Gives a disputed grant back, or voids it."""
        return await self._changed(writes.RESOLVE_DISPUTE, request)

    async def RefundGrant(self, request: pb.RefundGrantRequest, context: object) -> pb.RefundGrantResponse:
        """Takes credits of a grant back for money."""
        response = await self._changed(writes.REFUND_GRANT, request)
        dollars = await self._posted(request.customer_id, response.sequence)
        response.refund_usd = encode.decimal(dollars.refund_payable)
        return response

    async def WriteOffGrant(
        self, request: pb.WriteOffGrantRequest, context: object
    ) -> pb.WriteOffGrantResponse:
        """Gives up what a grant was sold for."""
        response = await self._changed(writes.WRITE_OFF_GRANT, request)
        dollars = await self._posted(request.customer_id, response.sequence)
        response.written_off_usd = encode.decimal(-dollars.write_off)
        return response

    async def WriteOffDebt(self, request: pb.WriteOffDebtRequest, context: object) -> pb.WriteOffDebtResponse:
        """Gives up what a customer owes."""
        response = await self._writes.answer(writes.WRITE_OFF_DEBT, request, act_of(request))
        await self._show_grant(response, request.customer_id, LotKey(response.sequence, 0))
        dollars = await self._posted(request.customer_id, response.sequence)
        response.written_off_usd = encode.decimal(-dollars.write_off)
        return response

    async def _changed(self, method: Method[Any, Any, Changed], request: Any) -> Changed:
        """The answer to a write, with the grant as it stands now: its entry does not tell all of it."""
        response = await self._writes.answer(method, request, act_of(request))
        lot = ids.grant_lot(request.customer_id, request.grant_id)
        await self._show_grant(response, request.customer_id, lot)
        return response

    async def _show_grant(self, response: Changed, customer_id: str, lot: LotKey) -> None:
        [found] = await self._reads.grants(customer_id, _before(lot), 1)
        response.grant.CopyFrom(encode.grant(customer_id, found.lot, found.record))

    async def _posted(self, customer_id: str, sequence: int) -> Dollars:
        """The dollars of an entry: no answer that is made of an entry tells them."""
        key = await self._directory.find(customer_id)
        if key is None:
            raise CustomerNotFoundError(customer_id)
        return await posted_dollars(self._writer, key, sequence)

    async def ListCustomerGrants(
        self, request: pb.ListCustomerGrantsRequest, context: object
    ) -> pb.ListCustomerGrantsResponse:
        """Grants of a customer, or of all: by reference, or by what expires first."""
        problems = Problems()
        size = paging.page_size(problems, request)
        wanted = _wanted(problems, request)
        if not request.customer_id and wanted == GrantFilter():
            problems.add("customer_id", "one of customer_id, external_reference, expires_before is required")
        if request.customer_id:
            return await self._of_customer(problems, request, wanted, size)
        if wanted.external_reference is not None or wanted.expires_before is None:
            return await self._of_reference(problems, request, wanted, size)
        return await self._expiring(problems, request, wanted.expires_before, size)

    async def _of_customer(
        self, problems: Problems, request: pb.ListCustomerGrantsRequest, wanted: GrantFilter, size: int
    ) -> pb.ListCustomerGrantsResponse:
        customer_id = validation.identifier(problems, "customer_id", request.customer_id)
        before = LotKey(*paging.last_key(problems, request, _NEWEST_LOT))
        problems.raise_if_any()
        rows = await self._reads.grants(customer_id, before, size + 1, wanted)
        shown = rows[:size]
        token = paging.next_page_token(request, shown[-1].lot.key) if len(rows) > size else ""
        return _page([(customer_id, row) for row in shown], token)

    async def _of_reference(
        self, problems: Problems, request: pb.ListCustomerGrantsRequest, wanted: GrantFilter, size: int
    ) -> pb.ListCustomerGrantsResponse:
        customer, *lot = paging.last_key(problems, request, _LAST_PLACE)
        problems.raise_if_any()
        before = GrantPlace(customer, LotKey(*lot))
        rows = await self._reads.grants_of_reference(
            wanted.external_reference or "", wanted.expires_before, before, size + 1
        )
        shown = rows[:size]
        token = ""
        if len(rows) > size:
            last = shown[-1][1]
            token = paging.next_page_token(request, (last.customer, *last.lot.key))
        return _page(shown, token)

    async def _expiring(
        self, problems: Problems, request: pb.ListCustomerGrantsRequest, instant: datetime, size: int
    ) -> pb.ListCustomerGrantsResponse:
        # A token counts down from what is last: what it may hold has no other bound.
        left = paging.last_key(problems, request, _LAST_EXPIRY)
        problems.raise_if_any()
        micros, customer, *lot = (last - part for last, part in zip(_LAST_EXPIRY, left, strict=True))
        after = (EPOCH + micros * _MICROSECOND, GrantPlace(customer, LotKey(*lot)))
        rows = await self._reads.grants_expiring(instant, after, size + 1)
        shown = rows[:size]
        token = paging.next_page_token(request, _left(shown[-1][1])) if len(rows) > size else ""
        return _page(shown, token)


def _wanted(problems: Problems, request: pb.ListCustomerGrantsRequest) -> GrantFilter:
    reference, expires_before = request.external_reference, None
    if request.HasField("expires_before"):
        expires_before = validation.instant(problems, "expires_before", request.expires_before)
    if reference:
        validation.identifier(problems, "external_reference", reference)
    return GrantFilter(reference or None, expires_before)


def _before(lot: LotKey) -> LotKey:
    """The place after which a lot comes first among its customer's: the newest come first."""
    return LotKey(lot.sequence, lot.n + 1)


def _left(last: ListedGrant) -> tuple[int, ...]:
    """How far it is from a grant to the last place that there may be."""
    if last.lot.expires_at is None:
        raise AssertionError("a grant that expires has an instant")
    key = ((last.lot.expires_at - EPOCH) // _MICROSECOND, last.customer, *last.lot.key)
    return tuple(most - part for most, part in zip(_LAST_EXPIRY, key, strict=True))


def _page(rows: list[tuple[str, ListedGrant]], token: str) -> pb.ListCustomerGrantsResponse:
    return pb.ListCustomerGrantsResponse(
        grants=[
            pb.CustomerGrant(
                customer_id=customer_id,
                grant=encode.grant(customer_id, row.lot, row.record),
                note=row.record.note or "",
            )
            for customer_id, row in rows
        ],
        next_page_token=token,
    )
