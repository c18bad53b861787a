"""Answers: from entries and rows to messages.

The answer to a write is made of its entry (and of the request itself) alone, so that a repeat gets the same
one again. Labels that begin with `internal.` never leave, and nothing here knows of a cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

import pricing
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api import ids
from ledger.api.checks import EPOCH, NAMED_LABELS, NANOS
from ledger.api.decode import GRANT_KINDS, Write
from ledger.books.commands import Charge, Commit, Extend, IssueGrant, Release, Reserve, Reverse
from ledger.books.model import (
    Credits,
    Entry,
    EntryKind,
    Lot,
    LotKey,
    LotStatus,
    Reservation,
    ReservationState,
    Treatment,
)
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

INTERNAL: Final = "internal."
"""Labels that begin so are stored, and not returned."""

_STATES: Final = {
    state: pb.ReservationState.Value(f"RESERVATION_STATE_{state.value}") for state in ReservationState
}
_STATUSES: Final = {status: wallet.GrantStatus.Value(f"GRANT_STATUS_{status.value}") for status in LotStatus}
_KINDS: Final = {kind: number for number, kind in GRANT_KINDS.items()}
_TYPES: Final[Mapping[EntryKind, wallet.TransactionType.ValueType]] = {
    kind: wallet.TransactionType.Value(f"TRANSACTION_TYPE_{kind.value}")
    for kind in EntryKind
    if kind not in (EntryKind.CUSTOMER_CREATED, EntryKind.CUSTOMER_UPDATED)
}
_CHARGES: Final = (EntryKind.COMMIT, EntryKind.CHARGE)
_GRANTS: Final = (EntryKind.GRANT_STARTED, EntryKind.GRANT_EXPIRED)


# -- Answers to writes -------------------------------------------------------------------------------


def reserved(write: Write[Reserve], entry: Entry, replayed: bool) -> pb.ReserveResponse:
    """What `Reserve` answers."""
    return pb.ReserveResponse(
        reservation=_held(write.customer_id, entry),
        balance=balance(entry.after),
        sequence=entry.sequence,
        replayed=replayed,
    )


def extended(write: Write[Extend], entry: Entry, replayed: bool) -> pb.ExtendReservationResponse:
    """What `ExtendReservation` answers."""
    return pb.ExtendReservationResponse(
        reservation=_held(write.customer_id, entry),
        balance=balance(entry.after),
        sequence=entry.sequence,
        replayed=replayed,
    )


def committed(write: Write[Commit], entry: Entry, replayed: bool) -> pb.CommitReservationResponse:
    """What `CommitReservation` answers."""
    return pb.CommitReservationResponse(
        charge=charge(write.customer_id, entry, is_reversed=False),
        reservation=_held(write.customer_id, entry),
        balance=balance(entry.after),
        sequence=entry.sequence,
        replayed=replayed,
    )


def released(write: Write[Release], entry: Entry, replayed: bool) -> pb.ReleaseReservationResponse:
    """What `ReleaseReservation` answers."""
    return pb.ReleaseReservationResponse(
        reservation=_held(write.customer_id, entry),
        balance=balance(entry.after),
        sequence=entry.sequence,
        replayed=replayed,
    )


def charged(write: Write[Charge], entry: Entry, replayed: bool) -> pb.ChargeResponse:
    """What `Charge` answers."""
    return pb.ChargeResponse(
        charge=charge(write.customer_id, entry, is_reversed=False),
        balance=balance(entry.after),
        sequence=entry.sequence,
        replayed=replayed,
    )


def reversed_(write: Write[Reverse], entry: Entry, replayed: bool) -> pb.ReverseChargeResponse:  # noqa: ARG001
    """What `ReverseCharge` answers."""
    return pb.ReverseChargeResponse(
        returned_micros=-entry.priced_micros,
        balance=balance(entry.after),
        sequence=entry.sequence,
        replayed=replayed,
    )


def granted(write: Write[IssueGrant], entry: Entry, replayed: bool) -> admin.IssueGrantResponse:
    """What `IssueGrant` answers: the grant as it was issued, what paid a debt already gone from it."""
    command = write.command
    remaining = entry.credits.pending + entry.credits.available
    status = LotStatus.PENDING_START if entry.credits.pending else LotStatus.ACTIVE
    issued = Lot(
        key=LotKey(entry.sequence, 0),
        kind=command.kind,
        amount_micros=command.amount_micros,
        remaining_micros=remaining,
        held_micros=0,
        value_nanousd=0,
        priority=command.priority,
        scope=command.scope,
        effective_at=command.effective_at or entry.effective_at,
        expires_at=command.expires_at,
        status=status if remaining else LotStatus.DEPLETED,
    )
    return admin.IssueGrantResponse(
        grant=grant(write.customer_id, issued),
        paid_total_usd=decimal(command.paid_total_nanousd),
        balance=balance(entry.after),
        sequence=entry.sequence,
        replayed=replayed,
    )


def _held(customer_id: str, entry: Entry) -> pb.Reservation:
    """The reservation as the entry left it; when it was made is told by its `Reserve`."""
    image = entry.reservation
    if image is None:
        raise AssertionError(f"entry {entry.sequence} ({entry.kind}) has no reservation")
    return pb.Reservation(
        reservation_id=ids.reservation_id(customer_id, image.sequence),
        customer_id=customer_id,
        state=_STATES[image.state],
        held_micros=image.held_micros,
        charged_micros=image.charged_micros,
        created_at=timestamp(entry.effective_at) if entry.kind is EntryKind.RESERVE else None,
        expires_at=timestamp(image.expires_at),
        labels=labels(entry.labels),
        rate_card=entry.terms.card if entry.terms is not None else "",
    )


# -- Resources ---------------------------------------------------------------------------------------


def reservation(customer_id: str, row: Reservation) -> pb.Reservation:
    """A reservation as it stands."""
    return pb.Reservation(
        reservation_id=ids.reservation_id(customer_id, row.sequence),
        customer_id=customer_id,
        state=_STATES[row.state],
        held_micros=row.held_micros,
        charged_micros=row.charged_micros,
        created_at=timestamp(row.created_at),
        expires_at=timestamp(row.expires_at),
        labels=labels(row.labels),
        rate_card=row.terms.card,
    )


def charge(customer_id: str, entry: Entry, *, is_reversed: bool) -> pb.Charge:
    """What a commit or a charge booked."""
    image = entry.reservation
    return pb.Charge(
        charge_id=ids.charge_id(customer_id, entry.sequence),
        customer_id=customer_id,
        reservation_id=ids.reservation_id(customer_id, image.sequence) if image is not None else "",
        charged_micros=entry.charged_micros,
        uncollected_micros=entry.uncollected_micros,
        late=entry.late,
        final=entry.final,
        reversed=is_reversed,
        created_at=timestamp(entry.effective_at),
        occurred_at=timestamp(entry.occurred_at),
        lines=[_line(line.public, line.treatment, line.credits_micros) for line in entry.lines],
        labels=labels(entry.labels),
        rate_card=entry.terms.card if entry.terms is not None else "",
    )


def quote(card: str, lines: Sequence[pricing.Line], shares_micros: Iterable[int]) -> pb.QuoteResponse:
    """The lines of an estimate, with each line's share of the rounded price."""
    encoded = [
        _line(line.public, Treatment(line.treatment), share)
        for line, share in zip(lines, shares_micros, strict=True)
    ]
    return pb.QuoteResponse(
        credits_micros=sum(line.credits_micros for line in encoded), lines=encoded, rate_card=card
    )


def _line(public: Mapping[str, object], treatment: Treatment, credits_micros: int) -> pb.ChargeLine:
    quantities = public.get("quantities")
    if not isinstance(quantities, Mapping):
        raise TypeError("a line has quantities")
    return pb.ChargeLine(
        title=str(public["title"]),
        kind=str(public["kind"]),
        name=str(public["name"]),
        quantities={str(key): str(value) for key, value in quantities.items()},
        credits_micros=credits_micros,
        unpriced=treatment is Treatment.UNPRICED,
        included=treatment is Treatment.INCLUDED,
    )


def grant(customer_id: str, lot: Lot) -> wallet.Grant:
    """A grant as its customer sees it."""
    return wallet.Grant(
        grant_id=ids.grant_id(customer_id, lot.key),
        kind=_KINDS[lot.kind],
        amount_micros=lot.amount_micros,
        remaining_micros=lot.remaining_micros,
        held_micros=lot.held_micros,
        effective_at=timestamp(lot.effective_at),
        expires_at=timestamp(lot.expires_at),
        priority=lot.priority,
        scope=lot.scope or "",
        status=_STATUSES[lot.status],
    )


def grant_kind(kind: str) -> wallet.GrantKind.ValueType:
    """A kind of grant, by the name that the books keep."""
    return wallet.GrantKind.Value(f"GRANT_KIND_{kind}")


def transaction(customer_id: str, entry: Entry) -> wallet.Transaction:
    """A line of the statement. It carries no sequence: gaps would tell of what moved no credits."""
    image = entry.reservation
    line = wallet.Transaction(
        type=_TYPES[entry.kind],
        effective_at=timestamp(entry.effective_at),
        available_change_micros=entry.credits.available,
        held_change_micros=entry.credits.held,
        debt_change_micros=-entry.credits.debt,
        consumed_micros=entry.credits.consumed,
        balance_after=balance(entry.after),
        labels=labels(entry.labels),
    )
    if image is not None:
        line.reservation_id = ids.reservation_id(customer_id, image.sequence)
    if entry.kind in _CHARGES:
        line.charge_id = ids.charge_id(customer_id, entry.sequence)
    elif entry.kind is EntryKind.GRANT:
        line.grant_id = ids.grant_id(customer_id, LotKey(entry.sequence, 0))
    elif entry.kind in _GRANTS and entry.subject is not None:
        line.grant_id = ids.grant_id(customer_id, LotKey(entry.subject, entry.subject_n or 0))
    return line


def price_list_item(item: pricing.PriceListItem) -> wallet.PriceListItem:
    """What a rule of a card tells its customers."""
    return wallet.PriceListItem(
        title=item.title,
        kind=item.kind,
        names=item.names,
        conditions=item.conditions,
        rates=[wallet.Rate(per=rate.per, credits=rate.credits, note=rate.note) for rate in item.rates],
        varies=item.varies,
        included=item.included,
    )


# -- Parts -------------------------------------------------------------------------------------------


def balance(after: Credits) -> pb.Balance:
    """Balances as their customer sees them: what is owed is positive."""
    return pb.Balance(
        available_micros=after.available,
        held_micros=after.held,
        pending_micros=after.pending,
        debt_micros=-after.debt,
    )


def labels(kept: Mapping[str, str]) -> pb.Labels | None:
    """Labels without the internal ones; None if there are none."""
    if not kept:
        return None
    shown = pb.Labels()
    for key, value in kept.items():
        if key in NAMED_LABELS:
            setattr(shown, key, value)
        elif not key.startswith(INTERNAL):
            shown.other[key] = value
    return shown


def timestamp(when: datetime | None) -> Timestamp | None:
    """An instant, exact to the microsecond."""
    if when is None:
        return None
    since = when - EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def decimal(nanos: int) -> str:
    """Billionths as a decimal string, without trailing zeros."""
    whole, fraction = divmod(abs(nanos), NANOS)
    sign = "-" if nanos < 0 else ""
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else f"{sign}{whole}"
