"""Writes: from messages to commands of the books and items of pricing.

Each function takes a request and the instant of now (so that one table serves them all), and gives a
`Write`, or raises `InvalidArgumentError` with all that is wrong. Checks of shape only: whether a thing
exists, or a plan allows it, is decided later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from hashlib import blake2b
from typing import Final, Generic, NamedTuple, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

import pricing
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import ids, limits, validation
from ledger.api.messages.decode_usage import decode_usage
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.books.commands import (
    Charge,
    Command,
    Commit,
    ConfirmGrant,
    CreateCustomer,
    DisputeGrant,
    Extend,
    ExtendGrant,
    Fill,
    IssueGrant,
    Refund,
    RefundGrant,
    Release,
    Reserve,
    ResolveDispute,
    Reverse,
    UpdateCustomer,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.grants import SCOPES_ALLOWED, is_scope
from ledger.books.making import make
from ledger.books.model.labels import NOTHING
from ledger.books.model.lots import GrantKind, LotKey
from ledger.books.model.plans import UsedCredits
from ledger.prices.plan_overrides import read_overrides
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

C = TypeVar("C", bound=Command)

_FILLS: Final = {
    pb.FILL_UNSPECIFIED: Fill.ALL_OR_NOTHING,
    pb.FILL_ALL_OR_NOTHING: Fill.ALL_OR_NOTHING,
    pb.FILL_UP_TO: Fill.UP_TO,
}
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
UPDATABLE: Final = ("display_name", "plan", "rate_card", "zone", "multiplier", "plan_overrides")
"""What `update_mask` may name."""


class Write(NamedTuple, Generic[C]):
    """A request to change a customer, fit to be decided."""

    customer_id: str
    command: C
    usage: tuple[pricing.Item, ...] | None = None
    untimely: tuple[tuple[str, str], ...] = ()
    """Fields that are wrong by the clock of now only: the write is refused, unless it is a repeat."""
    subject: tuple[str, str] | None = None
    """What the write is about, where it names a reservation, a charge or a grant: the field, and the id as
    written."""


def fingerprint(request: Message) -> bytes:
    """16 bytes that tell a request from another one under the same id.

    Over the type of the request (each method has its own, also within a batch) and its known fields as they
    were set, before defaults, map keys sorted.
    """
    request.DiscardUnknownFields()
    serialized = request.SerializeToString(deterministic=True)
    return blake2b(_name_of(request.DESCRIPTOR) + serialized, digest_size=16).digest()


@cache
def _name_of(kind: Descriptor) -> bytes:
    return kind.full_name.encode("ascii") + b"\0"


def reserve(request: pb.ReserveRequest, now: datetime) -> Write[Reserve]:
    """A hold of an amount, or of usage to be priced."""
    problems = Problems()
    amount, usage = _amount_or_usage(problems, request, "hold", now, least=1)
    fields = (
        validation.identifier(problems, "request_id", request.request_id),
        fingerprint(request),
        amount,
        _FILLS.get(request.fill) or _unknown_fill(problems, request.fill),
        _minimum(problems, request, amount) if request.minimum_micros else 1,
        validation.ttl(problems, "ttl", request.ttl) if request.HasField("ttl") else None,
        validation.labels(problems, "labels", request.labels) if request.HasField("labels") else {},
    )
    command = make(Reserve, fields)
    return _write(problems, request.customer_id, command, usage)


def _unknown_fill(problems: Problems, fill: int) -> Fill:
    problems.add("fill", f"is {fill}; ALL_OR_NOTHING or UP_TO is allowed")
    return Fill.ALL_OR_NOTHING


def _minimum(problems: Problems, request: pb.ReserveRequest, amount: int | None) -> int:
    minimum = request.minimum_micros
    if request.fill != pb.FILL_UP_TO:
        problems.add("minimum_micros", "goes with fill UP_TO only; leave it unset")
    elif amount is not None and minimum > amount > 0:
        problems.add("minimum_micros", f"is {minimum}, above amount_micros ({amount})")
    return validation.amount(problems, "minimum_micros", minimum, least=0)


def extend(request: pb.ExtendReservationRequest, now: datetime) -> Write[Extend]:  # noqa: ARG001 -- one shape for all
    """More credits, more time, both or neither."""
    problems = Problems()
    command = Extend(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        reservation=_reservation(problems, request.customer_id, request.reservation_id),
        amount_micros=validation.amount(problems, "amount_micros", request.amount_micros, least=0),
        ttl=validation.ttl(problems, "ttl", request.ttl) if request.HasField("ttl") else None,
    )
    return _write(problems, request.customer_id, command, None, ("reservation_id", request.reservation_id))


def commit(request: pb.CommitReservationRequest, now: datetime) -> Write[Commit]:
    """Usage or credits against a hold; 0 credits if nothing was used."""
    problems = Problems()
    amount, usage = _amount_or_usage(
        problems, request, "spent", now, least=0, remark="; 0 credits if nothing was used"
    )
    fields = (
        validation.identifier(problems, "request_id", request.request_id),
        fingerprint(request),
        _reservation(problems, request.customer_id, request.reservation_id),
        amount,
        request.final,
        NOTHING,
    )
    command = make(Commit, fields)
    return _write(problems, request.customer_id, command, usage, ("reservation_id", request.reservation_id))


def release(request: pb.ReleaseReservationRequest, now: datetime) -> Write[Release]:  # noqa: ARG001 -- one shape for all
    """The end of a hold."""
    problems = Problems()
    command = Release(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        reservation=_reservation(problems, request.customer_id, request.reservation_id),
    )
    return _write(problems, request.customer_id, command, None, ("reservation_id", request.reservation_id))


def charge(request: pb.ChargeRequest, now: datetime) -> Write[Charge]:
    """Usage or credits without a hold."""
    problems = Problems()
    amount, usage = _amount_or_usage(problems, request, "spent", now, least=1)
    fields = (
        validation.identifier(problems, "request_id", request.request_id),
        fingerprint(request),
        amount,
        request.already_used,
        validation.labels(problems, "labels", request.labels) if request.HasField("labels") else {},
    )
    command = make(Charge, fields)
    return _write(problems, request.customer_id, command, usage)


def reverse(request: pb.ReverseChargeRequest, now: datetime) -> Write[Reverse]:  # noqa: ARG001 -- one shape for all
    """The undoing of a charge, or of a closed reservation."""
    problems = Problems()
    charged, reserved = None, None
    match request.WhichOneof("subject"):
        case "charge_id":
            named = validation.identifier(problems, "charge_id", request.charge_id)
            charged = ids.charge_sequence(request.customer_id, named)
        case "reservation_id":
            reserved = _reservation(problems, request.customer_id, request.reservation_id)
        case _:
            problems.add("subject", "one of charge_id, reservation_id is required")
    command = Reverse(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        charge=charged,
        reservation=reserved,
        reason=validation.name(problems, "reason", request.reason, limits.REASON_LENGTH_MAX),
    )
    subject = request.WhichOneof("subject") or "charge_id"
    return _write(problems, request.customer_id, command, None, (subject, getattr(request, subject)))


def refund(request: pb.RefundRequest, now: datetime) -> Write[Refund]:  # noqa: ARG001 -- one shape for all
    """Credits of a charge back; no amount: all that is left."""
    problems = Problems()
    named = validation.identifier(problems, "charge_id", request.charge_id)
    amount = validation.amount(problems, "amount_micros", request.amount_micros, least=0)
    command = Refund(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        charge=ids.charge_sequence(request.customer_id, named),
        amount_micros=amount or None,
        reason=validation.name(problems, "reason", request.reason, limits.REASON_LENGTH_MAX),
    )
    return _write(problems, request.customer_id, command, None, ("charge_id", request.charge_id))


def issue_grant(request: admin.IssueGrantRequest, now: datetime) -> Write[IssueGrant]:  # noqa: ARG001 -- one shape for all
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
    return _write(problems, request.customer_id, command)


def confirm_grant(request: admin.ConfirmGrantRequest, now: datetime) -> Write[ConfirmGrant]:  # noqa: ARG001 -- one shape for all
    """The payment of a grant; no amount: what was stated."""
    problems = Problems()
    paid = request.paid_total_usd
    command = ConfirmGrant(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        lot=_lot(problems, request.customer_id, request.grant_id),
        paid_total_nanousd=_paid(problems, paid) if paid else None,
    )
    return _write(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def void_grant(request: admin.VoidGrantRequest, now: datetime) -> Write[VoidGrant]:  # noqa: ARG001 -- one shape for all
    """A grant that is taken back."""
    problems = Problems()
    if request.used not in _USED:
        problems.add("used", f"is {request.used}; {' or '.join(UsedCredits)} is allowed")
    command = VoidGrant(
        *_act_on_grant(problems, request),
        used=_USED.get(request.used),
        only_pending_payment=request.only_pending_payment,
    )
    return _write(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def extend_grant(request: admin.ExtendGrantRequest, now: datetime) -> Write[ExtendGrant]:  # noqa: ARG001 -- one shape for all
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
    return _write(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def dispute_grant(request: admin.DisputeGrantRequest, now: datetime) -> Write[DisputeGrant]:  # noqa: ARG001 -- one shape for all
    """A grant whose payment is disputed."""
    problems = Problems()
    command = DisputeGrant(
        *_act_on_grant(problems, request),
    )
    return _write(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def resolve_dispute(request: admin.ResolveDisputeRequest, now: datetime) -> Write[ResolveDispute]:  # noqa: ARG001 -- one shape for all
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
    return _write(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def refund_grant(request: admin.RefundGrantRequest, now: datetime) -> Write[RefundGrant]:  # noqa: ARG001 -- one shape for all
    """Credits of a grant that are taken back for money."""
    problems = Problems()
    command = RefundGrant(
        *_act_on_grant(problems, request),
        amount_micros=_part(problems, request),
        paid_back_nanousd=_sum_of(problems, "refund_usd", request.refund_usd),
    )
    return _write(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def write_off_grant(request: admin.WriteOffGrantRequest, now: datetime) -> Write[WriteOffGrant]:  # noqa: ARG001 -- one shape for all
    """What a grant was sold for, given up."""
    problems = Problems()
    command = WriteOffGrant(
        *_act_on_grant(problems, request),
        amount_nanousd=_sum_of(problems, "amount_usd", request.amount_usd),
    )
    return _write(problems, request.customer_id, command, None, ("grant_id", request.grant_id))


def write_off_debt(request: admin.WriteOffDebtRequest, now: datetime) -> Write[WriteOffDebt]:  # noqa: ARG001 -- one shape for all
    """What a customer owes, given up."""
    problems = Problems()
    command = WriteOffDebt(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        reason=validation.name(problems, "reason", request.reason, limits.REASON_LENGTH_MAX),
        amount_micros=_part(problems, request),
    )
    return _write(problems, request.customer_id, command)


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


def update_customer(request: admin.UpdateCustomerRequest, now: datetime) -> Write[UpdateCustomer]:  # noqa: ARG001 -- one shape for all
    """Changes of the fields that the mask names; an empty card removes it, an empty zone is UTC."""
    problems = Problems()
    customer = request.customer
    paths = set(request.update_mask.paths)
    if not paths or paths - set(UPDATABLE):
        problems.add("update_mask", f"name one or more of {', '.join(UPDATABLE)}, and nothing else")
    if "plan" in paths:
        validation.identifier(problems, "customer.plan", customer.plan)
    _named(problems, customer)
    command = UpdateCustomer(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        display_name=customer.display_name if "display_name" in paths else None,
        plan=customer.plan if "plan" in paths else None,
        card=customer.rate_card if "rate_card" in paths else None,
        zone=(customer.zone or validation.UTC_ZONE) if "zone" in paths else None,
        multiplier_nanos=multiplier(customer) if "multiplier" in paths else None,
        plan_overrides=plan_overrides(Problems(), customer) if "plan_overrides" in paths else None,
    )
    problems.raise_if_any()
    return Write(customer.customer_id, command)


def create_customer(request: admin.CreateCustomerRequest) -> Write[CreateCustomer]:
    """A new customer: who asks. What it is to be called, and its policies, stay in the request."""
    problems = Problems()
    customer = request.customer
    validation.identifier(problems, "customer.plan", customer.plan)
    _named(problems, customer)
    command = CreateCustomer(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
    )
    problems.raise_if_any()
    return Write(customer.customer_id, command)


def multiplier(customer: admin.Customer) -> int:
    """The customer's multiplier, in billionths; 1 if it is empty. What is wrong with it others report."""
    return validation.multiplier_nanos(Problems(), "", customer.multiplier)


def _named(problems: Problems, customer: admin.Customer) -> None:
    validation.identifier(problems, "customer.customer_id", customer.customer_id)
    display_name = customer.display_name
    validation.text(problems, "customer.display_name", display_name, limits.DISPLAY_NAME_LENGTH_MAX)
    validation.text(problems, "customer.rate_card", customer.rate_card, limits.NAME_LENGTH_MAX)
    validation.zone(problems, "customer.zone", customer.zone)
    validation.multiplier_nanos(problems, "customer.multiplier", customer.multiplier)
    plan_overrides(problems, customer)


def plan_overrides(problems: Problems, customer: admin.Customer) -> str:
    """A customer's own fields of its plan, as they are stored; each is right by itself."""
    text, field = customer.plan_overrides, "customer.plan_overrides"
    if len(text) > limits.PLAN_OVERRIDES_LENGTH_MAX:
        problems.add(
            field, f"has {len(text)} characters; {limits.PLAN_OVERRIDES_LENGTH_MAX} at most are allowed"
        )
        return ""
    try:
        return read_overrides(text)
    except pricing.ConfigError as error:
        for problem in error.problems:
            problems.add(field, str(problem))
        return ""


def quote(request: pb.QuoteRequest, now: datetime) -> tuple[tuple[pricing.Item, ...], Mapping[str, str]]:
    """The usage to price, and its labels."""
    problems = Problems()
    validation.identifier(problems, "customer_id", request.customer_id)
    usage = decode_usage(problems, "usage", request.usage, now)
    labels = validation.labels(problems, "labels", request.labels)
    if problems.untimely or problems.found:
        raise InvalidArgumentError([*problems.found, *problems.untimely])
    return usage, labels


class Foreseen(NamedTuple):
    """Work that is asked about."""

    customer_id: str
    amount_micros: int | None
    usage: tuple[pricing.Item, ...] | None
    labels: Mapping[str, str]


def check(request: pb.CheckRequest, now: datetime) -> Foreseen:
    """Usage or credits that a reserve would hold."""
    problems = Problems()
    customer_id = validation.identifier(problems, "customer_id", request.customer_id)
    amount, usage = _amount_or_usage(problems, request, "hold", now, least=1)
    labels = validation.labels(problems, "labels", request.labels)
    if problems.untimely or problems.found:
        raise InvalidArgumentError([*problems.found, *problems.untimely])
    return Foreseen(customer_id, amount, usage, labels)


def _amount_or_usage(
    problems: Problems,
    request: pb.CheckRequest | pb.ReserveRequest | pb.CommitReservationRequest | pb.ChargeRequest,
    field: str,
    now: datetime,
    *,
    least: int,
    remark: str = "",
) -> tuple[int | None, tuple[pricing.Item, ...] | None]:
    """What is held or spent: micro-credits, or usage to be priced. `remark`: for whoever names neither."""
    if request.HasField("amount_micros"):
        return validation.amount(problems, "amount_micros", request.amount_micros, least=least), None
    if request.HasField("usage"):
        return None, decode_usage(problems, "usage", request.usage, now)
    problems.add(field, f"one of amount_micros, usage is required{remark}")
    return None, None


def _reservation(problems: Problems, customer_id: str, value: str) -> int:
    return ids.reservation_sequence(customer_id, validation.identifier(problems, "reservation_id", value))


def _write(
    problems: Problems,
    customer_id: str,
    command: C,
    usage: tuple[pricing.Item, ...] | None = None,
    subject: tuple[str, str] | None = None,
) -> Write[C]:
    validation.identifier(problems, "customer_id", customer_id)
    if problems.found:
        problems.raise_if_any()
    return make(Write, (customer_id, command, usage, problems.untimely, subject))
