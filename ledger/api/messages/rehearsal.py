"""What a request would be refused for, found out without a customer: for whoever asks before there is one."""

from __future__ import annotations

from datetime import datetime

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import decode_grants, validation
from ledger.api.messages.validation import InvalidArgumentError
from ledger.books.customers import create
from ledger.books.grants import issue
from ledger.books.model.plans import Plan
from ledger.books.model.refusals import Refusal


def rehearse_grant(request: admin.IssueGrantRequest, now: datetime) -> None:
    """Has the books decide on a grant to a customer who has nothing. Raises InvalidArgumentError.

    What is refused for what a customer has (a sum beyond its bound, too many grants) is not found so.
    """
    command = decode_grants.issue_grant(request, now).command
    nobody = create(0, "", "", None, validation.UTC_ZONE, command.request_id, b"", now).wallet
    outcome = issue(nobody, command, now=now, plan=Plan("", None))
    if isinstance(outcome, Refusal):
        raise InvalidArgumentError([(outcome.detail["field"], outcome.detail["description"])])
