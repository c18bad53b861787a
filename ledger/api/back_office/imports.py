"""The method of AdminService that creates customers and issues grants, many in a call."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from typing import Final

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.audit import act_of
from ledger.api.back_office.new_customers import NewCustomers
from ledger.api.batches import BatchCalls, BatchedWrite, require_items
from ledger.api.errors import status_of
from ledger.api.messages import limits
from ledger.api.scopes import scopes_of_items
from ledger.api.writes import ISSUE_GRANT, Writes
from ledger.engine.engine import Engine
from ledger.engine.limits import Urgency

_IMPORT: Final = "ledger.admin.v1.AdminService/Import"
_CUSTOMER: Final = "create_customer"
_GRANT: Final = "issue_grant"
_SCOPES: Final = scopes_of_items(pb.DESCRIPTOR.services_by_name["AdminService"], pb.ImportItem.DESCRIPTOR)
_KINDS: Final = {
    # Whatever it is for, a call with hundreds of them can as well be made later.
    _GRANT: BatchedWrite(_GRANT, ISSUE_GRANT, _SCOPES[_GRANT], Urgency.ANY_TIME, act_of)
}


def import_calls(writes: Writes, engine: Engine) -> BatchCalls:
    """What carries out the grants of the calls."""
    return BatchCalls(_IMPORT, _KINDS, writes, engine)


class ImportMethods:
    """The method of AdminService that concerns many customers."""

    _new_customers: NewCustomers
    _imports: BatchCalls

    async def Import(self, request: pb.ImportRequest, context: object) -> pb.ImportResponse:
        """Creates customers in one transaction, then issues grants; each is answered by itself."""
        require_items(request.items, limits.IMPORT_ITEMS_MAX)
        response = pb.ImportResponse()
        customers: list[tuple[pb.ImportItem, pb.ImportResult]] = []
        others: list[tuple[pb.ImportItem, pb.ImportResult]] = []
        for item in request.items:
            of_kind = customers if item.WhichOneof("write") == _CUSTOMER else others
            of_kind.append((item, response.results.add()))
        made = await self._new_customers.create([item.create_customer for item, _ in customers])
        for (_, result), answer in zip(customers, made, strict=True):
            if isinstance(answer, Exception):
                result.error.CopyFrom(status_of(answer, _IMPORT))
            else:
                result.create_customer.CopyFrom(answer)
        await self._imports.carry_out(iter(others), len(others))
        return response
