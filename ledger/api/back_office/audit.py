"""The part of AdminService about the audit: who did what in the back office."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.message import Message

from ledger.access.caller import current
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.messages import encode, ids, limits, paging, validation
from ledger.api.messages.validation import EPOCH, Problems
from ledger.books.commands import OF_GRANT, IssueGrant, WriteOffDebt
from ledger.books.model.lots import LotKey
from ledger.store.audit import CUSTOMERS, Act, AuditEvent, Wanted, list_events
from ledger.store.postgres.database import Pool
from ledger.store.reading.reads import NEWEST

_MICROSECOND: Final = timedelta(microseconds=1)
LAST_MICROS: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
"""The last instant that there may be, since 1970."""
_MAKE_GRANTS: Final = (IssueGrant.__name__, WriteOffDebt.__name__)
_OF_GRANTS: Final = tuple(command.__name__ for command in OF_GRANT)
"""The methods have the names of their commands."""


def act_of(request: Message) -> Act:
    """What whoever calls does by a request: each method has a request type of its own."""
    caller = current()
    return Act(caller.key_id, caller.name, request.DESCRIPTOR.name.removesuffix("Request"))


class AuditMethods:
    """The method of AdminService that concerns the audit."""

    _writer: Pool

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: object
    ) -> pb.ListAuditEventsResponse:
        """Acts, the newest first."""
        problems = Problems()
        size = paging.page_size(problems, request)
        micros, number = paging.last_key(problems, request, (LAST_MICROS, NEWEST))
        wanted = _wanted(problems, request)
        problems.raise_if_any()
        before = (EPOCH + micros * _MICROSECOND, number)
        found, there_is_more = await list_events(self._writer, wanted, before, size)
        token = paging.next_page_token(request, _key(found[-1])) if there_is_more else ""
        return pb.ListAuditEventsResponse(events=map(_event, found), next_page_token=token)


def _wanted(problems: Problems, request: pb.ListAuditEventsRequest) -> Wanted:
    return Wanted(
        method=validation.identifier(problems, "method", request.method) if request.method else None,
        key_id=validation.identifier(problems, "key_id", request.key_id) if request.key_id else None,
        resource=validation.text(problems, "resource", request.resource, limits.RESOURCE_LENGTH_MAX) or None,
        since=validation.instant(problems, "since", request.since) if request.HasField("since") else None,
        until=validation.instant(problems, "until", request.until) if request.HasField("until") else None,
    )


def _key(event: AuditEvent) -> tuple[int, int]:
    return (event.at - EPOCH) // _MICROSECOND, event.number


def _event(event: AuditEvent) -> pb.AuditEvent:
    return pb.AuditEvent(
        number=event.number,
        at=encode.timestamp(event.at),
        key_id=event.key_id,
        name=event.name,
        method=event.method,
        resource=event.resource,
        request_id=event.request_id or "",
        sequence=event.sequence or 0,
        grant_id=_grant_id(event),
        before=event.before or "",
        after=event.after,
    )


def _grant_id(event: AuditEvent) -> str:
    """Of the grant that was changed, or that was made, whose lot is the first of the entry."""
    if event.method in _MAKE_GRANTS and event.sequence is not None:
        lot = LotKey(event.sequence, 0)
    elif event.method in _OF_GRANTS:
        lot = LotKey(*json.loads(event.after)["lot"])
    else:
        return ""
    return ids.grant_id(event.resource.removeprefix(CUSTOMERS), lot)
