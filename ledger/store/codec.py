"""The books' values as texts for the write, and rows of a cell's tables as the books' values.

Every table has its columns named once, in the order in which rows are built and taken apart; the customer
comes first. Exact amounts are `num/den` texts; pins and draws are arrays of arrays; labels and lines are NULL
where there are none.

What is written goes as one text for each kind of row: the literal of an array of the cell's composite type
of that kind. Arrays by column have the driver look at each value in turn, which costs more than the
database's own work on it.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from ledger.books.model import (
    NO_COSTS,
    Credits,
    Dollars,
    Draw,
    Entry,
    EntryKind,
    EntryLine,
    GrantKind,
    Lot,
    LotKey,
    LotStatus,
    Money,
    MoneyLine,
    Pin,
    Reservation,
    ReservationCosts,
    ReservationImage,
    ReservationState,
    Terms,
    Treatment,
    Wallet,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

Fields: TypeAlias = "Sequence[Any] | asyncpg.Record"
"""A row as the driver gives it: of a table's columns, in their order."""


class Columns(NamedTuple):
    """Columns of a table, and the composite type of the cell that carries rows of them to the write."""

    row_type: str
    names: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, row_type: str, text: str) -> Columns:
        pairs = [pair.split() for pair in text.split(",")]
        return cls(row_type, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))

    def select(self, alias: str) -> str:
        """The columns of a table known as `alias`, for a SELECT."""
        return ", ".join(f"{alias}.{name}" for name in self.names)

    def rows(self, cell: str, parameter: int) -> str:
        """The rows that the text `$parameter` holds (an `array`), as a row source `x`."""
        return f"unnest(${parameter}::text::{cell}.{self.row_type}[]) AS x"


WALLET = Columns.of(
    "wallet_row",
    """
    customer bigint, sequence bigint, display_name text, plan text, card text, zone text, issued bigint,
    pending bigint, available bigint, held bigint, consumed bigint, expired bigint, voided bigint,
    refunded bigint, debt bigint, next_due_at timestamptz, last_instant timestamptz
""",
)
ENTRY = Columns.of(
    "entry_row",
    """
    customer bigint, sequence bigint, kind text, request_id text, fingerprint bytea,
    issued bigint, pending bigint, available bigint, held bigint, consumed bigint, expired bigint,
    voided bigint, refunded bigint, debt bigint,
    issued_after bigint, pending_after bigint, available_after bigint, held_after bigint,
    consumed_after bigint, expired_after bigint, voided_after bigint, refunded_after bigint,
    debt_after bigint,
    effective_at timestamptz, booked_at timestamptz, occurred_at timestamptz,
    reservation bigint, reservation_state text, reservation_held bigint, reservation_charged bigint,
    reservation_expires_at timestamptz, subject bigint, subject_n integer,
    card text, card_version text, cost_version text, credit_price_nanousd bigint, plan text,
    priced bigint, uncollected bigint, uncosted boolean, late boolean, final boolean, reason text,
    labels jsonb, lines jsonb
""",
)
MONEY = Columns.of(
    "money_row",
    """
    customer bigint, sequence bigint, receivable bigint, unbilled bigint, refund_payable bigint,
    deferred bigint, revenue bigint, breakage bigint, write_off bigint, cost bigint, provider_payable bigint,
    debt_value bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint,
    lines jsonb, draws jsonb, booked_at timestamptz
""",
)
RESERVATION = Columns.of(
    "reservation_row",
    """
    customer bigint, sequence bigint, state text, card text, card_version text, cost_version text,
    credit_price_nanousd bigint, created_at timestamptz, expires_at timestamptz, held bigint, pins jsonb,
    exact_micros text, priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean,
    own_run text, labels jsonb
""",
)
RESERVATION_COSTS = Columns.of(
    "reservation_costs_row",
    """
    customer bigint, sequence bigint, cost_exact text, included_exact text, unpriced_exact text,
    posted bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint
""",
)
LOT = Columns.of(
    "lot_row",
    """
    customer bigint, sequence bigint, n integer, kind text, amount bigint, remaining bigint, held bigint,
    priority integer, scope text, effective_at timestamptz, expires_at timestamptz, status text
""",
)

RESERVATION_CHANGE = Columns.of(
    "reservation_change",
    """
    customer bigint, sequence bigint, state text, expires_at timestamptz, held bigint, pins jsonb,
    exact_micros text, priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean,
    own_run text
""",
)
LOT_CHANGE = Columns.of(
    "lot_change",
    "customer bigint, sequence bigint, n integer, remaining bigint, held bigint, status text",
)
LOT_VALUE = Columns.of("lot_value_row", "customer bigint, sequence bigint, n integer, value_nanousd bigint")
RUN = Columns.of("run_row", "customer bigint, run_id text, state text")
DEBT = Columns.of("debt_row", "customer bigint, unbilled_nanousd bigint")
ROW_TYPES = (
    WALLET,
    ENTRY,
    MONEY,
    RESERVATION,
    RESERVATION_CHANGE,
    RESERVATION_COSTS,
    LOT,
    LOT_CHANGE,
    LOT_VALUE,
    RUN,
    DEBT,
)

_ENTRY_LINE_OWN = frozenset({"treatment", "credits_micros"})
_MONEY_LINE_OWN = frozenset({"kind", "treatment", "credits_micros", "revenue_nanousd", "cost_nanousd"})
_NINE = ",".join(["%d"] * 9)
_EIGHTEEN = f"{_NINE},{_NINE}"


# -- values to rows: record literals -------------------------------------------------------------


def array(rows: Iterable[str]) -> str:
    """The literal of an array of rows."""
    escaped = [row.replace("\\", "\\\\").replace('"', '\\"') for row in rows]
    return '{"' + '","'.join(escaped) + '"}' if escaped else "{}"


def numbers(values: Iterable[int]) -> str:
    """The literal of an array of whole numbers."""
    return f"{{{','.join(map(str, values))}}}"


def wallet_row(wallet: Wallet) -> str:
    return (
        f"({wallet.customer},{wallet.sequence},{_text(wallet.display_name)},{_text(wallet.plan)},"
        f"{_text(wallet.card)},{_text(wallet.zone)},{_NINE % wallet.balances},"
        f"{_instant(wallet.next_due_at)},{_instant(wallet.last_instant)})"
    )


def entry_row(entry: Entry) -> str:
    (
        customer,
        sequence,
        kind,
        request_id,
        fingerprint,
        moved,
        after,
        effective_at,
        booked_at,
        occurred_at,
        reservation,
        subject,
        subject_n,
        terms,
        plan,
        priced_micros,
        uncollected_micros,
        uncosted,
        late,
        final,
        reason,
        labels,
        lines,
        _,
    ) = entry
    return (
        f"({customer},{sequence},{kind},{_text(request_id)},"
        f"{'' if fingerprint is None else _BYTES + fingerprint.hex()},"
        f"{_EIGHTEEN % (moved + after)},"
        f"{_instant(effective_at)},{_instant(booked_at)},{_instant(occurred_at)},"
        f"{_image(reservation)},{_number(subject)},{_number(subject_n)},{_terms(terms)},{_text(plan)},"
        f"{priced_micros},{uncollected_micros},{uncosted},{late},{final},{_text(reason)},"
        f"{_json(labels) if labels else ''},"
        f"{_json([_entry_line(line) for line in lines]) if lines else ''})"
    )


def money_row(entry: Entry, money: Money) -> str:
    lines = _json([_money_line(line) for line in money.lines]) if money.lines else ""
    draws = _list([f"[{s},{n},{micros},{value}]" for (s, n), micros, value in money.draws])
    return (
        f"({entry.customer},{entry.sequence},{_NINE % money.dollars},{money.debt_value_nanousd},"
        f"{money.absorbed_failed_outcome_nanousd},{money.absorbed_uncollected_nanousd},"
        f"{money.absorbed_unpriced_nanousd},{lines},{draws if money.draws else ''},"
        f"{_instant(entry.booked_at)})"
    )


def reservation_row(customer: int, reservation: Reservation) -> str:
    return (
        f"({customer},{reservation.sequence},{reservation.state},{_terms(reservation.terms)},"
        f"{_instant(reservation.created_at)},{_reservation_state(reservation)},{_labels(reservation.labels)})"
    )


def reservation_change(customer: int, reservation: Reservation) -> str:
    """What may change of a reservation: terms, labels and the instant of its birth are pinned for life."""
    return f"({customer},{reservation.sequence},{reservation.state},{_reservation_state(reservation)})"


def _reservation_state(reservation: Reservation) -> str:
    pins = [f"[{s},{n},{micros}]" for (s, n), micros in reservation.pins]
    return (
        f"{_instant(reservation.expires_at)},{reservation.held_micros},{_list(pins)},"
        f"{_fraction(reservation.exact_micros)},{reservation.priced_micros},{reservation.charged_micros},"
        f"{reservation.has_outcome_rule},{reservation.outcome_charged},{_text(reservation.own_run)}"
    )


def reservation_costs_row(customer: int, reservation: Reservation) -> str | None:
    """None where nothing is to be kept: a closed reservation's costs stand in its entries."""
    costs = reservation.costs
    if reservation.state not in OPEN_TO_COMMITS or costs == NO_COSTS:
        return None
    return (
        f"({customer},{reservation.sequence},{_fraction(costs.cost_exact)},"
        f"{_fraction(costs.included_exact)},{_fraction(costs.unpriced_exact)},{costs.posted_nanousd},"
        f"{costs.absorbed_failed_outcome_nanousd},{costs.absorbed_uncollected_nanousd},"
        f"{costs.absorbed_unpriced_nanousd})"
    )


OPEN_TO_COMMITS = frozenset({ReservationState.OPEN, ReservationState.EXPIRED})


def lot_row(customer: int, lot: Lot) -> str:
    return (
        f"({customer},{lot.key.sequence},{lot.key.n},{lot.kind},{lot.amount_micros},"
        f"{lot.remaining_micros},{lot.held_micros},{lot.priority},{_text(lot.scope)},"
        f"{_instant(lot.effective_at)},{_instant(lot.expires_at)},{lot.status})"
    )


def lot_change(customer: int, lot: Lot) -> str:
    """What may change of a lot."""
    return (
        f"({customer},{lot.key.sequence},{lot.key.n},{lot.remaining_micros},{lot.held_micros},{lot.status})"
    )


def lot_value_row(customer: int, lot: Lot) -> str:
    return f"({customer},{lot.key.sequence},{lot.key.n},{lot.value_nanousd})"


def run_row(customer: int, run_id: str, state: str) -> str:
    return f"({customer},{_text(run_id)},{_text(state)})"


def debt_row(customer: int, unbilled_nanousd: int) -> str:
    return f"({customer},{unbilled_nanousd})"


# -- rows to values ------------------------------------------------------------------------------


def wallet_of(row: Fields, unbilled_nanousd: int, lots: Iterable[Lot]) -> Wallet:
    """A wallet of its row, and what stands in other tables; `lots` in burn order."""
    return Wallet(
        customer=row[0],
        sequence=row[1],
        display_name=row[2],
        plan=row[3],
        card=row[4],
        zone=row[5],
        balances=Credits(*row[6:15]),
        lots=tuple(lots),
        unbilled_nanousd=unbilled_nanousd,
        next_due_at=row[15],
        last_instant=row[16],
    )


def entry_of(row: Fields, money: Money | None = None) -> Entry:
    """An entry of its row, and its money where that was read."""
    (image_sequence, image_state, image_held, image_charged, image_expires_at) = row[26:31]
    return Entry(
        customer=row[0],
        sequence=row[1],
        kind=EntryKind(row[2]),
        request_id=row[3],
        fingerprint=row[4],
        credits=Credits(*row[5:14]),
        after=Credits(*row[14:23]),
        effective_at=row[23],
        booked_at=row[24],
        occurred_at=row[25],
        reservation=ReservationImage(
            image_sequence, ReservationState(image_state), image_held, image_charged, image_expires_at
        )
        if image_sequence is not None
        else None,
        subject=row[31],
        subject_n=row[32],
        terms=Terms(*row[33:37]) if row[33] is not None else None,
        plan=row[37],
        priced_micros=row[38],
        uncollected_micros=row[39],
        uncosted=row[40],
        late=row[41],
        final=row[42],
        reason=row[43],
        labels=row[44] or {},
        lines=tuple(_entry_line_of(line) for line in row[45] or ()),
        money=money,
    )


def money_of(row: Fields) -> Money | None:
    """The dollars of an entry; None where its row is NULL (of an outer join)."""
    if row[0] is None:
        return None
    return Money(
        dollars=Dollars(*row[2:11]),
        lines=tuple(_money_line_of(line) for line in row[15] or ()),
        draws=tuple(Draw(LotKey(s, n), micros, value) for s, n, micros, value in row[16] or ()),
        debt_value_nanousd=row[11],
        absorbed_failed_outcome_nanousd=row[12],
        absorbed_uncollected_nanousd=row[13],
        absorbed_unpriced_nanousd=row[14],
    )


def reservation_of(row: Fields, costs: Fields | None = None) -> Reservation:
    """A reservation of its row, and its row of costs where it has one that is not NULL."""
    return Reservation(
        sequence=row[1],
        state=ReservationState(row[2]),
        terms=Terms(*row[3:7]),
        created_at=row[7],
        expires_at=row[8],
        pins=tuple(Pin(LotKey(s, n), micros) for s, n, micros in row[10]),
        labels=row[17] or {},
        exact_micros=_fraction_of(row[11]),
        priced_micros=row[12],
        charged_micros=row[13],
        has_outcome_rule=row[14],
        outcome_charged=row[15],
        own_run=row[16],
        costs=_costs_of(costs) if costs is not None and costs[0] is not None else NO_COSTS,
    )


def lot_of(row: Fields, value_nanousd: int) -> Lot:
    """A lot of its row, and its value, which stands in a table of its own."""
    return Lot(
        key=LotKey(row[1], row[2]),
        kind=GrantKind(row[3]),
        amount_micros=row[4],
        remaining_micros=row[5],
        held_micros=row[6],
        value_nanousd=value_nanousd,
        priority=row[7],
        scope=row[8],
        effective_at=row[9],
        expires_at=row[10],
        status=LotStatus(row[11]),
    )


# -- parts ---------------------------------------------------------------------------------------


_BYTES = "\\\\x"
"""What bytes in hexadecimal begin with; in a record a backslash is written twice."""


def _text(value: str | None) -> str:
    """A field of text: quoted unless it is plain, for in a record nothing at all is NULL."""
    if value is None:
        return ""
    if value.isalnum():
        return value
    if '"' in value or "\\" in value:
        value = value.replace("\\", "\\\\").replace('"', '""')
    return f'"{value}"'


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


@lru_cache(maxsize=4096)
def _instant(value: datetime | None) -> str:
    """An instant is in several rows of one entry, and its text is the dearest of all fields."""
    return "" if value is None else str(value)


def _json(value: object) -> str:
    """JSON as a field. Raises TypeError for an integer of more than 64 bits."""
    text = orjson.dumps(value).decode().replace("\\", "\\\\").replace('"', '""')
    return f'"{text}"'


def _list(items: Iterable[str]) -> str:
    """A JSON array of arrays of numbers as a field."""
    return f'"[{",".join(items)}]"'


def _labels(labels: Mapping[str, str]) -> str:
    return _json(labels) if labels else ""


@lru_cache(maxsize=1024)
def _terms(terms: Terms | None) -> str:
    """Four fields. Few terms are in use at a time."""
    if terms is None:
        return ",,,"
    return (
        f"{_text(terms.card)},{_text(terms.card_version)},{_text(terms.cost_version)},"
        f"{terms.credit_price_nanousd}"
    )


def _image(image: ReservationImage | None) -> str:
    if image is None:
        return ",,,,"
    return (
        f"{image.sequence},{image.state},{image.held_micros},{image.charged_micros},"
        f"{_instant(image.expires_at)}"
    )


def _fraction(amount: Fraction) -> str:
    numerator, denominator = amount.as_integer_ratio()
    return f"{numerator}/{denominator}"


def _fraction_of(text: str) -> Fraction:
    numerator, denominator = text.split("/")
    return Fraction(int(numerator), int(denominator))


def _costs_of(row: Fields) -> ReservationCosts:
    return ReservationCosts(
        cost_exact=_fraction_of(row[2]),
        included_exact=_fraction_of(row[3]),
        unpriced_exact=_fraction_of(row[4]),
        posted_nanousd=row[5],
        absorbed_failed_outcome_nanousd=row[6],
        absorbed_uncollected_nanousd=row[7],
        absorbed_unpriced_nanousd=row[8],
    )


def _entry_line(line: EntryLine) -> dict[str, object]:
    _refuse_names(line.public, _ENTRY_LINE_OWN)
    return {**line.public, "treatment": line.treatment, "credits_micros": line.credits_micros}


def _entry_line_of(line: Mapping[str, Any]) -> EntryLine:
    return EntryLine(
        treatment=Treatment(line["treatment"]),
        public={name: value for name, value in line.items() if name not in _ENTRY_LINE_OWN},
        credits_micros=line["credits_micros"],
    )


def _money_line(line: MoneyLine) -> dict[str, object]:
    _refuse_names(line.internal, _MONEY_LINE_OWN)
    return {
        **line.internal,
        "kind": line.kind,
        "treatment": line.treatment,
        "credits_micros": line.credits_micros,
        "revenue_nanousd": line.revenue_nanousd,
        "cost_nanousd": line.cost_nanousd,
    }


def _money_line_of(line: Mapping[str, Any]) -> MoneyLine:
    return MoneyLine(
        kind=line["kind"],
        treatment=Treatment(line["treatment"]),
        internal={name: value for name, value in line.items() if name not in _MONEY_LINE_OWN},
        credits_micros=line["credits_micros"],
        revenue_nanousd=line["revenue_nanousd"],
        cost_nanousd=line["cost_nanousd"],
    )


def _refuse_names(said: Mapping[str, object], own: frozenset[str]) -> None:
    if not own.isdisjoint(said):
        raise ValueError(f"a priced line must not use the names {', '.join(sorted(own & said.keys()))}")
