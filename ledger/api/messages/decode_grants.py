"""Writes of grants: sold, confirmed, extended, disputed, taken back, refunded, written off."""
# ruff: noqa: ARG001 -- all decoders of writes have one shape: a request, and the instant of now

from __future__ import annotations

from datetime import datetime
from typing import Final

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import ids, limits, validation
from ledger.api.messages.validation import Problems
from ledger.api.messages.write import C, Write, fingerprint, written
from ledger.books.commands import (
    ConfirmGrant,
    DisputeGrant,
    ExtendGrant,
    IssueGrant,
    RefundGrant,
    ResolveDispute,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.grants import SCOPES_ALLOWED, is_scope
from ledger.books.model.lots import GrantKind, LotKey
from ledger.books.model.plans import UsedCredits
from ledger.v1 import wallet_service_pb2 as wallet

GRANT_KINDS: Final = {
    wallet.GRANT_KIND_PAID: GrantKind.PAID,
    wallet.GRANT_KIND_PROMO: GrantKind.PROMO,
    wallet.GRANT_KIND_SUBSCRIPTION: GrantKind.SUBSCRIPTION,
    wallet.GRANT_KIND_ADJUSTMENT: GrantKind.ADJUSTMENT,
}
_USED: Final = {
    admin.USED_CREDITS_UNSPECIFIED: None,
    admin.USED_CREDITS_STAY_PAID: UsedCredits.STAY_PAID,
    admin.USED_CREDITS_BECOME_DEBT: UsedCredits.BECOME_DEBT,
}
_IS_WON: Final = {admin.DISPUTE_OUTCOME_WON: True, admin.DISPUTE_OUTCOME_LOST: False}


def issue_grant(request: admin.IssueGrantRequest, now: datetime) -> Write[IssueGrant]:
    """Credits for a customer."""
    problems = Problems()
    kind = GRANT_KINDS.get(request.kind)
    if kind is None:
        problems.add("kind", f"one of {', '.join(GRANT_KINDS.values())} is required")
    if request.scope and not is_scope(request.scope):
        problems.add("scope", f"is not one of {SCOPES_ALLOWED}; leave it empty for any usage")
    starts = request.HasField("effective_at")
    ends = request.HasField("expires_at")
    command = IssueGrant(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        amount_micros=validation.amount(problems, "amount_micros", request.amount_micros, least=1),
        kind=kind or GrantKind.ADJUSTMENT,
        paid_total_nanousd=_paid(problems, request.paid_total_usd),
        effective_at=validation.instant(problems, "effective_at", request.effective_at) if starts else None,
        expires_at=validation.instant(problems, "expires_at", request.expires_at) if ends else None,
        priority=request.priority,
        scope=request.scope or None,
        pending_payment=request.pending_payment,
        external_reference=_reference(problems, request.external_reference) or None,
        note=validation.text(problems, "note", request.note, limits.NOTE_LENGTH_MAX) or None,
    )
    return written(problems, request.customer_id, command)


def confirm_grant(request: admin.ConfirmGrantRequest, now: datetime) -> Write[ConfirmGrant]:
    """The payment of a grant; no amount: what was stated."""
    problems = Problems()
    paid = request.paid_total_usd
    command = ConfirmGrant(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        lot=_lot(problems, request.customer_id, request.grant_id),
        paid_total_nanousd=_paid(problems, paid) if paid else None,
    )
    return _about_grant(problems, request, command)


def void_grant(request: admin.VoidGrantRequest, now: datetime) -> Write[VoidGrant]:
    """A grant that is taken back."""
    problems = Problems()
    if request.used not in _USED:
        problems.add("used", f"is {request.used}; {' or '.join(UsedCredits)} is allowed")
    command = VoidGrant(
        *_act_on_grant(problems, request),
        used=_USED.get(request.used),
        only_pending_payment=request.only_pending_payment,
    )
    return _about_grant(problems, request, command)


def extend_grant(request: admin.ExtendGrantRequest, now: datetime) -> Write[ExtendGrant]:
    """Another expiry of a grant, another priority, or both."""
    problems = Problems()
    expiry = request.WhichOneof("expiry")
    if expiry is None and not request.HasField("priority"):
        problems.add("expiry", "one of expires_at, never_expires, priority is required")
    if expiry == "never_expires" and not request.never_expires:
        problems.add("never_expires", "is false; set expires_at, or leave both unset")
    ends = expiry == "expires_at"
    command = ExtendGrant(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        lot=_lot(problems, request.customer_id, request.grant_id),
        expires_at=validation.instant(problems, "expires_at", request.expires_at) if ends else None,
        never_expires=request.never_expires,
        priority=request.priority if request.HasField("priority") else None,
    )
    return _about_grant(problems, request, command)


def dispute_grant(request: admin.DisputeGrantRequest, now: datetime) -> Write[DisputeGrant]:
    """A grant whose payment is disputed."""
    problems = Problems()
    return _about_grant(problems, request, DisputeGrant(*_act_on_grant(problems, request)))


def resolve_dispute(request: admin.ResolveDisputeRequest, now: datetime) -> Write[ResolveDispute]:
    """A dispute that is decided."""
    problems = Problems()
    is_won = _IS_WON.get(request.outcome)
    if is_won is None:
        problems.add("outcome", f"is {request.outcome}; WON or LOST is required")
    if request.used not in _USED:
        problems.add("used", f"is {request.used}; {' or '.join(UsedCredits)} is allowed")
    elif is_won and request.used:
        problems.add("used", "goes with LOST only; leave it unset")
    command = ResolveDispute(
        *_act_on_grant(problems, request),
        is_won=bool(is_won),
        used=_USED.get(request.used),
    )
    return _about_grant(problems, request, command)


def refund_grant(request: admin.RefundGrantRequest, now: datetime) -> Write[RefundGrant]:
    """Credits of a grant that are taken back for money."""
    problems = Problems()
    command = RefundGrant(
        *_act_on_grant(problems, request),
        amount_micros=_part(problems, request),
        paid_back_nanousd=_sum_of(problems, "refund_usd", request.refund_usd),
    )
    return _about_grant(problems, request, command)


def write_off_grant(request: admin.WriteOffGrantRequest, now: datetime) -> Write[WriteOffGrant]:
    """What a grant was sold for, given up."""
    problems = Problems()
    command = WriteOffGrant(
        *_act_on_grant(problems, request),
        amount_nanousd=_sum_of(problems, "amount_usd", request.amount_usd),
    )
    return _about_grant(problems, request, command)


def write_off_debt(request: admin.WriteOffDebtRequest, now: datetime) -> Write[WriteOffDebt]:
    """What a customer owes, given up."""
    problems = Problems()
    command = WriteOffDebt(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        reason=validation.name(problems, "reason", request.reason, limits.REASON_LENGTH_MAX),
        amount_micros=_part(problems, request),
    )
    return written(problems, request.customer_id, command)


def _act_on_grant(
    problems: Problems,
    request: (
        admin.VoidGrantRequest
        | admin.DisputeGrantRequest
        | admin.ResolveDisputeRequest
        | admin.RefundGrantRequest
        | admin.WriteOffGrantRequest
    ),
) -> tuple[str, bytes, LotKey, str]:
    """What commands on a grant that have a reason begin with: request id, fingerprint, lot, reason."""
    return (
        validation.identifier(problems, "request_id", request.request_id),
        fingerprint(request),
        _lot(problems, request.customer_id, request.grant_id),
        validation.name(problems, "reason", request.reason, limits.REASON_LENGTH_MAX),
    )


def _about_grant(
    problems: Problems,
    request: (
        admin.ConfirmGrantRequest
        | admin.VoidGrantRequest
        | admin.ExtendGrantRequest
        | admin.DisputeGrantRequest
        | admin.ResolveDisputeRequest
        | admin.RefundGrantRequest
        | admin.WriteOffGrantRequest
    ),
    command: C,
) -> Write[C]:
    return written(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def _part(problems: Problems, request: admin.RefundGrantRequest | admin.WriteOffDebtRequest) -> int | None:
    """A number of credits; None: all that there are."""
    if not request.HasField("amount_micros"):
        return None
    return validation.amount(problems, "amount_micros", request.amount_micros, least=1)


def _sum_of(problems: Problems, field: str, value: str) -> int | None:
    """A sum of money above 0, in nano-dollars; None: what it amounts to."""
    if not value:
        return None
    nanousd = validation.decimal_nanos(problems, field, value)
    if not 0 < nanousd <= limits.PAID_NANOUSD_MAX:
        most = limits.PAID_NANOUSD_MAX // validation.NANOS
        problems.add(field, f"is {value}; above 0 and at most {most} is allowed")
    return nanousd


def _lot(problems: Problems, customer_id: str, value: str) -> LotKey:
    return ids.grant_lot(customer_id, validation.identifier(problems, "grant_id", value))


def _reference(problems: Problems, value: str) -> str:
    return validation.identifier(problems, "external_reference", value) if value else ""


def _paid(problems: Problems, value: str) -> int:
    nanousd = validation.decimal_nanos(problems, "paid_total_usd", value or "0")
    if nanousd > limits.PAID_NANOUSD_MAX:
        most = limits.PAID_NANOUSD_MAX // validation.NANOS
        problems.add("paid_total_usd", f"is {value}; at most {most} is allowed")
    return nanousd
