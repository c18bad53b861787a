"""What the service must answer to changes of grants, as `histories_mirror` has it of all else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from books_model import NEVER, ModelLot
from histories_account import price_of
from histories_outcomes import Refusal, succeeded

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import wallet_service_pb2 as wallet
from tests.amounts import nanousd_of

if TYPE_CHECKING:
    from histories_mirror import Mirror


def issue(mirror: Mirror, request: admin.IssueGrantRequest, reply: Any) -> Any:
    """Grant credits, or state what is granted once it is paid."""
    succeeded(reply)
    account, now = mirror.account, mirror.account.minute
    amount, paid = request.amount_micros, nanousd_of(request.paid_total_usd or "0")
    starts = mirror.minute_of(request.effective_at) if request.HasField("effective_at") else now
    expires = mirror.minute_of(request.expires_at) if request.HasField("expires_at") else NEVER
    before, scope = account.figures(), request.scope or None
    unpaid = request.pending_payment
    account.grant(amount, paid // amount, request.priority, scope, starts, expires, unpaid=unpaid)
    issued = wallet.Grant(
        grant_id=reply.grant.grant_id,
        kind=request.kind,
        amount_micros=amount,
        effective_at=request.effective_at if starts > now else mirror.now(reply.grant.effective_at),
        expires_at=request.expires_at if request.HasField("expires_at") else None,
        priority=request.priority,
        scope=request.scope,
    )
    mirror.grants.append(issued)
    mirror.book(before, None if unpaid else "GRANT", grant=len(mirror.grants) - 1)
    return admin.IssueGrantResponse(
        grant=mirror.shown_grant(len(mirror.grants) - 1),
        paid_total_usd=request.paid_total_usd or "0",
        balance=mirror.balance(),
        sequence=account.sequence,
    )


def confirm(mirror: Mirror, request: admin.ConfirmGrantRequest, reply: Any) -> Any:
    """Pay for a grant that was stated."""
    number, lot = _named(mirror, request)
    if lot is None:
        return Refusal("GRANT_NOT_FOUND")
    before, paid = mirror.account.figures(), request.paid_total_usd
    price = nanousd_of(paid) // len(lot.credits) if paid and lot.credits else None
    refused = _refused(reply, mirror.account.confirm(lot, price))
    if refused:
        return refused
    mirror.book(before, "GRANT", grant=number)
    return _changed(mirror, admin.ConfirmGrantResponse, number, reply)


def void(mirror: Mirror, request: admin.VoidGrantRequest, reply: Any) -> Any:
    """Take a grant back, with what was used or without."""
    number, lot = _named(mirror, request)
    if lot is None:
        return Refusal("GRANT_NOT_FOUND")
    if request.only_pending_payment and lot.status in ("PENDING", "ACTIVE", "DISPUTED"):
        is_owed = request.used == admin.USED_CREDITS_BECOME_DEBT and lot.claimable
        is_closed = lot.is_used_up and not is_owed
        return Refusal("GRANT_CLOSED" if is_closed else "GRANT_NOT_PENDING_PAYMENT")
    return _voided(mirror, admin.VoidGrantResponse, request, number, lot, reply)


def extend(mirror: Mirror, request: admin.ExtendGrantRequest, reply: Any) -> Any:
    """Let a grant burn until another minute, in another place."""
    number, lot = _named(mirror, request)
    if lot is None:
        return Refusal("GRANT_NOT_FOUND")
    before, expires = mirror.account.figures(), None
    if request.HasField("expires_at"):
        expires = mirror.minute_of(request.expires_at)
    if request.never_expires:
        expires = NEVER
    priority = request.priority if request.HasField("priority") else None
    refused = _refused(reply, mirror.account.prolong(lot, expires, priority))
    if refused:
        return refused
    issued = mirror.grants[number]
    issued.priority = issued.priority if priority is None else priority
    if expires is not None:
        issued.ClearField("expires_at")
    if request.HasField("expires_at"):
        issued.expires_at.CopyFrom(request.expires_at)
    mirror.book(before, None)
    return _changed(mirror, admin.ExtendGrantResponse, number, reply)


def refund(mirror: Mirror, request: admin.RefundGrantRequest, reply: Any) -> Any:
    """Take credits that nobody holds back, for what they are worth or for less."""
    number, lot = _named(mirror, request)
    if lot is None:
        return Refusal("GRANT_NOT_FOUND")
    account, before = mirror.account, mirror.account.figures()
    amount = request.amount_micros if request.HasField("amount_micros") else None
    free = lot.count("available", "pending")
    if lot.status in ("PENDING", "ACTIVE") and free and not price_of(lot):
        return Refusal("REFUND_EXCEEDS_GRANT", {"left_micros": str(free)})
    refused = _refused(reply, account.pay_back(lot, amount))
    if refused:
        return refused
    refunded = account.figures().refunded - before.refunded
    paid_back = nanousd_of(request.refund_usd) if request.refund_usd else refunded * price_of(lot)
    account.paid_back_nanousd += paid_back
    account.less_paid_back[lot] += refunded * price_of(lot) - paid_back
    mirror.book(before, "GRANT_REFUNDED", grant=number)
    return _changed(
        mirror, admin.RefundGrantResponse, number, reply, refunded_micros=refunded, refund_usd=usd(paid_back)
    )


def dispute(mirror: Mirror, request: admin.DisputeGrantRequest, reply: Any) -> Any:
    """Set aside what nobody holds."""
    number, lot = _named(mirror, request)
    if lot is None:
        return Refusal("GRANT_NOT_FOUND")
    before = mirror.account.figures()
    if mirror.account.is_taken_back(lot):
        return Refusal("GRANT_CLOSED")
    refused = _refused(reply, mirror.account.dispute(lot))
    if refused:
        return refused
    mirror.book(before, "GRANT_DISPUTED", grant=number)
    disputed = mirror.account.figures().pending - before.pending
    return _changed(mirror, admin.DisputeGrantResponse, number, reply, disputed_micros=disputed)


def resolve(mirror: Mirror, request: admin.ResolveDisputeRequest, reply: Any) -> Any:
    """Give what was set aside back, or take it back."""
    number, lot = _named(mirror, request)
    if lot is None:
        return Refusal("GRANT_NOT_FOUND")
    if lot.status != "DISPUTED":
        return Refusal("GRANT_NOT_DISPUTED")
    if request.outcome == admin.DISPUTE_OUTCOME_LOST:
        return _voided(mirror, admin.ResolveDisputeResponse, request, number, lot, reply)
    before = mirror.account.figures()
    refused = _refused(reply, mirror.account.resolve(lot, is_won=True, owed=False))
    if refused:
        return refused
    mirror.book(before, "GRANT_DISPUTE_WON", grant=number)
    return _changed(mirror, admin.ResolveDisputeResponse, number, reply)


def write_off(mirror: Mirror, request: admin.WriteOffGrantRequest, reply: Any) -> Any:
    """Give up what a grant was sold for: no credit moves."""
    number, lot = _named(mirror, request)
    if lot is None:
        return Refusal("GRANT_NOT_FOUND")
    account = mirror.account
    before, given_up = account.figures(), account.written_off[lot]
    refused = _refused(reply, account.write_off(lot))
    if refused:
        return refused
    given_up = account.written_off[lot] - given_up
    account.is_unknown |= account.unclaimed_nanousd < 0
    mirror.book(before, None)
    written_off = reply.written_off_usd if account.is_unknown else usd(given_up)
    return _changed(mirror, admin.WriteOffGrantResponse, number, reply, written_off_usd=written_off)


def write_off_debt(mirror: Mirror, request: admin.WriteOffDebtRequest, reply: Any) -> Any:
    """Give up what the customer owes, or a part of it."""
    account, before = mirror.account, mirror.account.figures()
    worth = account.dollars()["write_off"]
    amount = request.amount_micros if request.HasField("amount_micros") else None
    refused = _refused(reply, account.write_off_debt(amount))
    if refused:
        return refused
    mirror.grants.append(
        wallet.Grant(
            grant_id=reply.grant.grant_id,
            kind=wallet.GRANT_KIND_ADJUSTMENT,
            amount_micros=before.debt - account.debt,
            effective_at=mirror.now(reply.grant.effective_at),
        )
    )
    number = len(mirror.grants) - 1
    mirror.book(before, "GRANT", grant=number)
    written_off = usd(worth - account.dollars()["write_off"])
    return _changed(mirror, admin.WriteOffDebtResponse, number, reply, written_off_usd=written_off)


HANDLERS: dict[type, Any] = {
    admin.IssueGrantRequest: issue,
    admin.ConfirmGrantRequest: confirm,
    admin.VoidGrantRequest: void,
    admin.ExtendGrantRequest: extend,
    admin.RefundGrantRequest: refund,
    admin.DisputeGrantRequest: dispute,
    admin.ResolveDisputeRequest: resolve,
    admin.WriteOffGrantRequest: write_off,
    admin.WriteOffDebtRequest: write_off_debt,
}

SHOW_GRANT_NOW = tuple(
    admin.DESCRIPTOR.message_types_by_name[method.output_type.name]._concrete_class
    for method in admin.DESCRIPTOR.services_by_name["AdminService"].methods
    if method.input_type._concrete_class in HANDLERS and method.name != "IssueGrant"
)
"""Their replies, and those to repeats, have the grant as it stands by then."""


def _named(mirror: Mirror, request: Any) -> tuple[int, ModelLot | None]:
    """Give the grant that a request names: its place, and its lot (None: there is none)."""
    for number, grant in enumerate(mirror.grants):
        if grant.grant_id == request.grant_id:
            return number, mirror.account.lots[number]
    return -1, None


def _refused(outcome: Any, reported: str) -> Refusal | None:
    if reported != "ok":
        return Refusal(reported)
    succeeded(outcome)
    return None


def _voided(mirror: Mirror, reply_type: Any, request: Any, number: int, lot: ModelLot, reply: Any) -> Any:
    account, before = mirror.account, mirror.account.figures()
    refused = _refused(reply, account.void(lot, owed=request.used == admin.USED_CREDITS_BECOME_DEBT))
    if refused:
        return refused
    mirror.book(before, "GRANT_VOIDED", grant=number)
    after = account.figures()
    owed = after.debt - before.debt
    taken_back = after.voided - before.voided - owed
    return _changed(mirror, reply_type, number, reply, owed_micros=owed, taken_back_micros=taken_back)


def _changed(mirror: Mirror, reply_type: Any, number: int, reply: Any, **fields: Any) -> Any:
    return reply_type(
        grant=mirror.shown_grant(number) if mirror.alone else reply.grant,
        balance=mirror.balance(),
        sequence=mirror.account.sequence,
        **fields,
    )


def usd(nanousd: int) -> str:
    """Give an amount of money as replies do."""
    return f"{nanousd / 10**9:.9f}".rstrip("0").rstrip(".")
