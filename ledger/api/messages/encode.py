"""Answers: from entries and rows to messages.

The answer to a write is made of its entry (and of the request itself) alone, so that a repeat gets the same
one again. Labels that begin with `internal.` never leave, and nothing here knows of a cost.

What every write answers with is filled in where it stands (`into`): a message that is made first and given to
another is copied whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

import pricing
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import ids
from ledger.api.messages.decode_grants import GRANT_KINDS
from ledger.api.messages.validation import EPOCH, NAMED_LABELS, NANOS
from ledger.api.messages.write import Write
from ledger.books.commands import Charge, Commit, DisputeGrant, IssueGrant, Refund, RefundGrant, Reverse
from ledger.books.model.amounts import Credits
from ledger.books.model.entries import Entry, EntryKind
from ledger.books.model.labels import INTERNAL_LABEL
from ledger.books.model.lots import GrantRecord, Lot, LotKey, LotStatus
from ledger.books.model.priced import Treatment
from ledger.books.model.renewals import RecurringGrant
from ledger.books.model.reservations import Reservation, ReservationState
from ledger.store.reading.month_statement import StatedLine, StatedType, StatementPage
from ledger.store.reading.usage_report import Used
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from pricing.exact import format_product

_STATES: Final = {
    state: pb.ReservationState.Value(f"RESERVATION_STATE_{state.value}") for state in ReservationState
}
_STATUSES: Final = {status: wallet.GrantStatus.Value(f"GRANT_STATUS_{status.value}") for status in LotStatus}
_KINDS: Final = {kind: number for number, kind in GRANT_KINDS.items()}
OF_NO_CREDITS: Final = (
    EntryKind.CUSTOMER_CREATED,
    EntryKind.CUSTOMER_UPDATED,
    EntryKind.GRANT_PENDING_PAYMENT,
    EntryKind.GRANT_EXTENDED,
    EntryKind.GRANT_WRITTEN_OFF,
    EntryKind.ROLLOVER,
)
"""They add none and take none, and are no transactions."""
_TYPES: Final[Mapping[EntryKind, wallet.TransactionType.ValueType]] = {
    kind: wallet.TransactionType.Value(f"TRANSACTION_TYPE_{kind.value}")
    for kind in EntryKind
    if kind not in OF_NO_CREDITS
}
_LINE_TYPES: Final[Mapping[StatedType, wallet.StatementLineType.ValueType]] = {
    part: wallet.StatementLineType.Value(f"STATEMENT_LINE_TYPE_{part.value}") for part in StatedType
}
# Looked up once: a member of an enumeration is found by calls of Python's own.
_RESERVE: Final = EntryKind.RESERVE
_INCLUDED: Final = Treatment.INCLUDED
_UNPRICED: Final = Treatment.UNPRICED

_CHARGES: Final = (EntryKind.COMMIT, EntryKind.CHARGE)
_GRANTS: Final = (
    EntryKind.GRANT,
    EntryKind.GRANT_STARTED,
    EntryKind.GRANT_EXPIRED,
    EntryKind.GRANT_VOIDED,
    EntryKind.GRANT_REFUNDED,
    EntryKind.GRANT_DISPUTED,
    EntryKind.GRANT_DISPUTE_WON,
)


# -- What each write answers by itself ---------------------------------------------------------------


def held(
    into: pb.ReserveResponse
    | pb.ExtendReservationResponse
    | pb.ReleaseReservationResponse
    | pb.CommitReservationResponse,
    write: Write[Any],
    entry: Entry,
) -> None:
    """The reservation as the entry left it; when it was made is reported by its `Reserve`."""
    shown, image = into.reservation, entry.reservation
    if image is None:
        raise AssertionError(f"entry {entry.sequence} ({entry.kind}) has no reservation")
    shown.reservation_id = ids.reservation_id(write.customer_id, image.sequence)
    shown.customer_id = write.customer_id
    shown.state = _STATES[image.state]
    shown.held_micros = image.held_micros
    shown.charged_micros = image.charged_micros
    if entry.kind is _RESERVE:
        _instant(shown.created_at, entry.effective_at)
    _instant(shown.expires_at, image.expires_at)
    if entry.labels:
        labels(shown.labels, entry.labels)
    if entry.terms is not None:
        shown.rate_card = entry.terms.card


def committed(into: pb.CommitReservationResponse, write: Write[Commit], entry: Entry) -> None:
    """What `CommitReservation` answers."""
    charge(into.charge, write.customer_id, entry, is_reversed=False, refunded_micros=0)
    held(into, write, entry)


def charged(into: pb.ChargeResponse, write: Write[Charge], entry: Entry) -> None:
    """What `Charge` answers."""
    charge(into.charge, write.customer_id, entry, is_reversed=False, refunded_micros=0)


def reversed_(into: pb.ReverseChargeResponse, _: Write[Reverse], entry: Entry) -> None:
    """What `ReverseCharge` answers."""
    into.returned_micros = -entry.charged_micros


def refunded(into: pb.RefundResponse, _: Write[Refund], entry: Entry) -> None:
    """What `Refund` answers."""
    into.refunded_micros = -entry.charged_micros


def granted(into: admin.IssueGrantResponse, write: Write[IssueGrant], entry: Entry) -> None:
    """What `IssueGrant` answers: the grant as it was issued, what paid a debt already gone from it."""
    command = write.command
    remaining = entry.credits.pending + entry.credits.available
    status = LotStatus.PENDING_START if entry.credits.pending else LotStatus.ACTIVE
    if command.pending_payment:
        status = LotStatus.PENDING_PAYMENT
    elif not remaining:
        status = LotStatus.DEPLETED
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
        status=status,
    )
    record = GrantRecord(external_reference=command.external_reference)
    into.grant.CopyFrom(grant(write.customer_id, issued, record))
    into.paid_total_usd = decimal(command.paid_total_nanousd)


def voided(into: admin.VoidGrantResponse | admin.ResolveDisputeResponse, _: Write[Any], entry: Entry) -> None:
    """What `VoidGrant` and `ResolveDispute` answer, beside the grant as it stands."""
    if entry.kind is not EntryKind.GRANT_VOIDED:
        return
    into.owed_micros = -entry.credits.debt
    into.taken_back_micros = entry.credits.voided - into.owed_micros


def disputed(into: admin.DisputeGrantResponse, _: Write[DisputeGrant], entry: Entry) -> None:
    """What `DisputeGrant` answers, beside the grant as it stands."""
    into.disputed_micros = entry.credits.pending


def paid_back(into: admin.RefundGrantResponse, _: Write[RefundGrant], entry: Entry) -> None:
    """What `RefundGrant` answers, beside the grant as it stands and the money."""
    into.refunded_micros = entry.credits.refunded


def nothing_of_its_own(into: Any, write: Write[Any], entry: Entry) -> None:
    """What is answered by a write of a grant as it stands, and by the balance."""


# -- Resources ---------------------------------------------------------------------------------------


def reservation(into: pb.Reservation, customer_id: str, row: Reservation) -> None:
    """A reservation as it stands."""
    into.reservation_id = ids.reservation_id(customer_id, row.sequence)
    into.customer_id = customer_id
    into.state = _STATES[row.state]
    into.held_micros = row.held_micros
    into.charged_micros = row.charged_micros
    _instant(into.created_at, row.created_at)
    _instant(into.expires_at, row.expires_at)
    if row.labels:
        labels(into.labels, row.labels)
    into.rate_card = row.terms.card


def charge(
    into: pb.Charge, customer_id: str, entry: Entry, *, is_reversed: bool, refunded_micros: int
) -> None:
    """What a commit or a charge booked."""
    into.charge_id = ids.charge_id(customer_id, entry.sequence)
    into.customer_id = customer_id
    if entry.reservation is not None:
        into.reservation_id = ids.reservation_id(customer_id, entry.reservation.sequence)
    into.charged_micros = entry.charged_micros
    into.uncollected_micros = entry.uncollected_micros
    into.late = entry.late
    into.final = entry.final
    into.reversed = is_reversed
    into.refunded_micros = refunded_micros
    _instant(into.created_at, entry.effective_at)
    if entry.occurred_at is not None:
        _instant(into.occurred_at, entry.occurred_at)
    for line in entry.lines:
        shown = into.lines.add()
        _line(shown, line.public, line.treatment, line.credits_micros)
        if line.pool is not None:
            shown.pool = line.pool
            shown.pool_micros = line.pool_micros
    if entry.labels:
        labels(into.labels, entry.labels)
    if entry.terms is not None:
        into.rate_card = entry.terms.card


def quote(card: str, lines: Sequence[pricing.Line], shares_micros: Iterable[int]) -> pb.QuoteResponse:
    """The lines of an estimate, with each line's share of the rounded price."""
    response = pb.QuoteResponse(rate_card=card)
    for line, share_micros in zip(lines, shares_micros, strict=True):
        _line(response.lines.add(), line.public, Treatment(line.treatment), share_micros)
        response.credits_micros += share_micros
    return response


def checked(into: pb.CheckedItem, line: pricing.Line, share_micros: int) -> None:
    """An item of usage that is not begun."""
    _line(into.line, line.public, Treatment(line.treatment), share_micros)


def unit_prices(into: pb.UnitPrices, item: pricing.PriceListItem, multiplier_nanos: int) -> None:
    """What one of something costs by a rule, for a customer with this multiplier."""
    into.varies = item.varies
    for rate in item.rates:
        credits_text = _credits_of_rate(rate, multiplier_nanos)
        into.prices.add(per=rate.per, credits=credits_text, note=rate.note, unit=rate.unit)


def _line(
    into: pb.ChargeLine, public: Mapping[str, object], treatment: Treatment, credits_micros: int
) -> None:
    quantities = public["quantities"]
    if not isinstance(quantities, dict):
        raise TypeError("a line has quantities")
    into.title = str(public["title"])
    into.kind = str(public["kind"])
    into.name = str(public["name"])
    shown = into.quantities
    for key, value in quantities.items():
        shown[str(key)] = str(value)
    into.credits_micros = credits_micros
    into.unpriced = treatment is _UNPRICED
    into.included = treatment is _INCLUDED


def grant(customer_id: str, lot: Lot, record: GrantRecord) -> wallet.Grant:
    """A grant as its customer sees it: its note is not shown.

    What is pending payment remains whole, though it is not issued.
    """
    is_stated = lot.status is LotStatus.PENDING_PAYMENT
    remaining_micros = lot.amount_micros if is_stated else lot.remaining_micros
    ended_micros = record.ended_micros - record.refunded_micros
    is_voided = lot.status is LotStatus.VOIDED
    return wallet.Grant(
        grant_id=ids.grant_id(customer_id, lot.key),
        kind=_KINDS[lot.kind],
        amount_micros=lot.amount_micros,
        remaining_micros=remaining_micros,
        held_micros=lot.held_micros,
        consumed_micros=lot.amount_micros
        - remaining_micros
        - record.ended_micros
        - record.rolled_over_micros,
        expired_micros=0 if is_voided else ended_micros,
        voided_micros=ended_micros if is_voided else 0,
        refunded_micros=record.refunded_micros,
        external_reference=record.external_reference or "",
        recurring=record.recurring or "",
        rolled_over_micros=record.rolled_over_micros,
        effective_at=timestamp(lot.effective_at),
        expires_at=timestamp(lot.expires_at),
        priority=lot.priority,
        scope=lot.scope or "",
        status=_STATUSES[lot.status],
    )


def upcoming_grant(terms: RecurringGrant, at: datetime) -> admin.UpcomingGrant:
    """What a plan grants next."""
    return admin.UpcomingGrant(
        name=terms.name,
        at=timestamp(at),
        amount_micros=terms.amount_micros,
        kind=_KINDS[terms.kind],
        paid_total_usd=decimal(terms.paid_total_nanousd),
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
    )
    balance(line.balance_after, entry.after)
    if entry.labels:
        labels(line.labels, entry.labels)
    if image is not None:
        line.reservation_id = ids.reservation_id(customer_id, image.sequence)
    if entry.kind in _CHARGES:
        line.charge_id = ids.charge_id(customer_id, entry.sequence)
    elif entry.kind is EntryKind.REFUND and entry.subject is not None:
        line.charge_id = ids.charge_id(customer_id, entry.subject)
    elif entry.kind is EntryKind.PERIOD_CLOSED and entry.credits.available > 0:
        line.grant_id = ids.grant_id(customer_id, LotKey(entry.sequence, 0))
    elif entry.kind in _GRANTS and entry.subject is not None:
        line.grant_id = ids.grant_id(customer_id, LotKey(entry.subject, entry.subject_n or 0))
    return line


def used(row: Used, label_keys: Sequence[str]) -> wallet.UsageRow:
    """A row of the usage report."""
    reported = wallet.UsageRow(
        day=row.key.day.isoformat(),
        kind=row.key.kind,
        unit=row.key.unit,
        measured=_plain(row.measured) if row.key.unit else "",
        quantities={name: _plain(quantity) for name, quantity in row.quantities.items()},
        items=row.items,
        credits_micros=row.credits_micros,
    )
    _labels_asked(reported.labels, label_keys, row.key.labels)
    return reported


def month_statement(page: StatementPage, label_keys: Sequence[str]) -> wallet.GetStatementResponse:
    """A page of a month's statement, without its token."""
    change = page.change
    stated = wallet.GetStatementResponse(
        zone=page.zone,
        begins_at=timestamp(page.begins_at),
        ends_at=timestamp(page.ends_at),
        as_of=timestamp(page.as_of),
        granted_micros=-change.issued,
        used_micros=change.consumed,
        expired_micros=change.expired,
        voided_micros=change.voided,
        refunded_micros=change.refunded,
        rolled_over_micros=page.rolled_over_micros,
        lines=[_stated(line, label_keys) for line in page.lines],
    )
    balance(stated.opening, page.opening)
    balance(stated.closing, page.closing)
    return stated


def _stated(line: StatedLine, label_keys: Sequence[str]) -> wallet.StatementLine:
    stated = wallet.StatementLine(
        type=_LINE_TYPES[line.part],
        grant_kind=grant_kind(line.grant_kind) if line.grant_kind else wallet.GRANT_KIND_UNSPECIFIED,
        kind=line.kind,
        name=line.name,
        title=line.title,
        unit=line.unit,
        measured=_plain(line.measured) if line.unit else "",
        quantities={name: _plain(quantity) for name, quantity in line.quantities.items()},
        items=line.items,
        credits_micros=line.credits_micros,
    )
    _labels_asked(stated.labels, label_keys, line.labels)
    return stated


def _labels_asked(into: pb.Labels, keys: Sequence[str], values: Sequence[str]) -> None:
    """Labels by which a report tells its rows apart; one that the work does not have is not reported."""
    labels(into, {key: value for key, value in zip(keys, values, strict=True) if value})


def _plain(amount: Decimal) -> str:
    """A decimal without an exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price_list_item(item: pricing.PriceListItem, multiplier_nanos: int) -> wallet.PriceListItem:
    """What a rule of a card tells a customer with this multiplier."""
    return wallet.PriceListItem(
        title=item.title,
        kind=item.kind,
        names=item.names,
        conditions=item.conditions,
        rates=[_rate(rate, multiplier_nanos) for rate in item.rates],
        varies=item.varies,
        included=item.included,
    )


def _rate(rate: pricing.Rate, multiplier_nanos: int) -> wallet.Rate:
    """A rate, in credits with the customer's multiplier."""
    credits_text = _credits_of_rate(rate, multiplier_nanos)
    return wallet.Rate(per=rate.per, credits=credits_text, note=rate.note, unit=rate.unit)


def _credits_of_rate(rate: pricing.Rate, multiplier_nanos: int) -> str:
    """Exact; what is counted in a unit of its own has no multiplier."""
    is_counted = bool(rate.unit) and not rate.pool
    return rate.credits if is_counted else format_product(rate.credits, multiplier_nanos)


# -- Parts -------------------------------------------------------------------------------------------


def balance(into: pb.Balance, after: Credits) -> None:
    """Balances as their customer sees them: what is owed is positive."""
    into.available_micros = after.available
    into.held_micros = after.held
    into.pending_micros = after.pending
    into.debt_micros = -after.debt


def labels(into: pb.Labels, stored: Mapping[str, str]) -> None:
    """Labels without the internal ones."""
    into.SetInParent()
    for key, value in stored.items():
        if key in NAMED_LABELS:
            setattr(into, key, value)
        elif not key.startswith(INTERNAL_LABEL):
            into.other[key] = value


def _instant(into: Timestamp, when: datetime) -> None:
    since = when - EPOCH
    into.seconds = since.days * 86_400 + since.seconds
    into.nanos = since.microseconds * 1_000


def timestamp(when: datetime | None) -> Timestamp | None:
    """An instant, exact to the microsecond."""
    if when is None:
        return None
    made = Timestamp()
    _instant(made, when)
    return made


def decimal(nanos: int) -> str:
    """Billionths as a decimal string, without trailing zeros."""
    whole, fraction = divmod(abs(nanos), NANOS)
    sign = "-" if nanos < 0 else ""
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else f"{sign}{whole}"


def problem(found: pricing.Problem) -> admin.RateProblem:
    """What is wrong with a document of prices or plans, or likely to be, and where."""
    return admin.RateProblem(
        document=found.file,
        line=found.line,
        column=found.column,
        message=found.message,
        hint=found.hint,
    )
