"""The commands that change a customer, as the books understand them.

A command states what its caller asked for. What the usage in it costs comes beside it, as `Priced`. Each has
a `request_id`, unique per customer over all commands, and a `fingerprint`, which tells a repeat from a reuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeAlias, get_args

from ledger.books.model.labels import NOTHING
from ledger.books.model.lots import GrantKind, LotKey
from ledger.books.model.plans import UsedCredits


class Fill(StrEnum):
    ALL_OR_NOTHING = "ALL_OR_NOTHING"
    UP_TO = "UP_TO"


class CreateCustomer(NamedTuple):
    """Makes a customer. What it is to be called, and its policies, go to `create`; `decide` takes none."""

    request_id: str
    fingerprint: bytes


class Reserve(NamedTuple):
    """Holds credits: `amount_micros`, or where it is None the price of the usage."""

    request_id: str
    fingerprint: bytes
    amount_micros: int | None
    fill: Fill = Fill.ALL_OR_NOTHING
    minimum_micros: int = 1
    ttl: timedelta | None = None
    """None: the plan's default."""
    labels: Mapping[str, str] = NOTHING


class Extend(NamedTuple):
    """More credits, more time, both or neither."""

    request_id: str
    fingerprint: bytes
    reservation: int
    amount_micros: int = 0
    ttl: timedelta | None = None


class Commit(NamedTuple):
    """Charges usage (or `amount_micros` credits) against a reservation; a final one returns what is left."""

    request_id: str
    fingerprint: bytes
    reservation: int
    amount_micros: int | None
    final: bool
    labels: Mapping[str, str] = NOTHING


class Release(NamedTuple):
    request_id: str
    fingerprint: bytes
    reservation: int


class Charge(NamedTuple):
    """Charges usage (or `amount_micros` credits) without a reservation."""

    request_id: str
    fingerprint: bytes
    amount_micros: int | None
    already_used: bool = False
    labels: Mapping[str, str] = NOTHING


class Reverse(NamedTuple):
    """Undoes a charge made by `Charge`, or all charges of a closed reservation: whole, and once.

    `charge` and `reservation` are sequences; exactly one is given.
    """

    request_id: str
    fingerprint: bytes
    charge: int | None
    reservation: int | None
    reason: str


class Refund(NamedTuple):
    """Gives credits of one charge back, a `Charge` or a commit: `amount_micros`, or if None all that is left.

    `charge` is its sequence.
    """

    request_id: str
    fingerprint: bytes
    charge: int
    amount_micros: int | None
    reason: str


class IssueGrant(NamedTuple):
    request_id: str
    fingerprint: bytes
    amount_micros: int
    kind: GrantKind
    paid_total_nanousd: int
    """What was paid for the whole grant."""
    effective_at: datetime | None = None
    """None: at once."""
    expires_at: datetime | None = None
    priority: int = 0
    scope: str | None = None
    pending_payment: bool = False
    """It is stated now, and issued when its payment is confirmed."""
    external_reference: str | None = None
    note: str | None = None
    """As `GrantRecord` names them."""


class ConfirmGrant(NamedTuple):
    """A grant that was pending payment has been paid: it is issued."""

    request_id: str
    fingerprint: bytes
    lot: LotKey
    paid_total_nanousd: int | None = None
    """What was paid for the whole grant; None: what was stated."""


class VoidGrant(NamedTuple):
    """Takes back what nobody holds of a grant; what is held goes the same way when it is released."""

    request_id: str
    fingerprint: bytes
    lot: LotKey
    reason: str
    used: UsedCredits | None = None
    """None: as the customer's plan has it."""
    only_pending_payment: bool = False
    """It is taken back only while nobody has paid for it."""


class ExtendGrant(NamedTuple):
    """Another expiry of a grant, another priority, or both."""

    request_id: str
    fingerprint: bytes
    lot: LotKey
    expires_at: datetime | None = None
    """None: as it is, or never."""
    never_expires: bool = False
    priority: int | None = None
    """None: as it is."""


class DisputeGrant(NamedTuple):
    """The payment of a grant is disputed: what nobody holds of it waits until that is decided."""

    request_id: str
    fingerprint: bytes
    lot: LotKey
    reason: str


class ResolveDispute(NamedTuple):
    """A dispute is decided: the payment stands, or it was taken back and the grant is voided."""

    request_id: str
    fingerprint: bytes
    lot: LotKey
    reason: str
    is_won: bool
    used: UsedCredits | None = None
    """If it is lost: what becomes of the grant's used credits. None: as the customer's plan has it."""


class RefundGrant(NamedTuple):
    """Takes credits of a grant back for money: `amount_micros`, or if None all that nobody holds."""

    request_id: str
    fingerprint: bytes
    lot: LotKey
    reason: str
    amount_micros: int | None = None
    paid_back_nanousd: int | None = None
    """What is to be paid back; None: the value that the credits have in the books."""


class WriteOffGrant(NamedTuple):
    """What a grant was sold for will never be paid: `amount_nanousd`, or if None all but what is left."""

    request_id: str
    fingerprint: bytes
    lot: LotKey
    reason: str
    amount_nanousd: int | None = None


class WriteOffDebt(NamedTuple):
    """What the customer owes will never be paid: `amount_micros`, or if None all of it."""

    request_id: str
    fingerprint: bytes
    reason: str
    amount_micros: int | None = None


class UpdateCustomer(NamedTuple):
    """Names and policies of a customer; None leaves a field as it is, an empty card removes it."""

    request_id: str
    fingerprint: bytes
    display_name: str | None = None
    plan: str | None = None
    card: str | None = None
    zone: str | None = None
    multiplier_nanos: int | None = None
    plan_overrides: str | None = None
    is_granted: bool = False
    """Recurring grants begin by the clock, at once: those of the plan named, or others of its own."""


OfGrant: TypeAlias = (
    ConfirmGrant | VoidGrant | ExtendGrant | DisputeGrant | ResolveDispute | RefundGrant | WriteOffGrant
)
"""The commands that name a grant."""
OF_GRANT: tuple[type[OfGrant], ...] = get_args(OfGrant)

Command: TypeAlias = (
    CreateCustomer
    | UpdateCustomer
    | IssueGrant
    | OfGrant
    | WriteOffDebt
    | Reserve
    | Extend
    | Commit
    | Release
    | Charge
    | Reverse
    | Refund
)


def needs_whole_plan(command: Command) -> bool:
    """Whether a command goes by what the customer's plan allows or chooses.

    What has been done, or is given back, is booked all the same.
    """
    match command:
        case Reserve() | Extend():
            return True
        case Charge():
            return not command.already_used
        case VoidGrant():
            return command.used is None and not command.only_pending_payment
        case ResolveDispute():
            return command.used is None and not command.is_won
        case _:
            return False
