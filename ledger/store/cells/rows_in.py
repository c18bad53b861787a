"""Rows of a cell's tables as the books' values; `rows_out` is the other way."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from ledger.books.model import (
    NO_COSTS,
    NO_REMAINDERS,
    NO_TALLIES,
    Credits,
    Dollars,
    Draw,
    Effect,
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
    Ratio,
    Reservation,
    ReservationCosts,
    ReservationImage,
    ReservationState,
    State,
    Tally,
    Terms,
    Treatment,
    Wallet,
)
from ledger.store.cells.columns import ENTRY_LINE_OWN, MONEY_LINE_OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import asyncpg

Fields: TypeAlias = "Sequence[Any] | asyncpg.Record"
"""A row as the driver gives it: of a table's columns, in their order."""


def wallet_of(row: Fields, unbilled_nanousd: int, lots: Iterable[Lot]) -> Wallet:
    """A wallet of its row, and what stands in other tables; `lots` in burn order."""
    return Wallet(
        customer=row[0],
        sequence=row[1],
        display_name=row[2],
        plan=row[3],
        card=row[4],
        zone=row[5],
        multiplier_nanos=row[6],
        balances=Credits(*row[7:16]),
        lots=tuple(lots),
        unbilled_nanousd=unbilled_nanousd,
        next_due_at=row[16],
        last_instant=row[17],
        tallies={key: Tally(_ratio_of(exact), billed) for key, (exact, billed) in row[18].items()}
        if row[18]
        else NO_TALLIES,
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
        terms=_terms_of(row[33:38]),
        plan=row[38],
        priced_micros=row[39],
        uncollected_micros=row[40],
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
        remainders={key: _ratio_of(text) for key, text in row[17].items()} if row[17] else NO_REMAINDERS,
    )


def reservation_of(row: Fields, costs: Fields | None = None) -> Reservation:
    """A reservation of its row, and its row of costs where it has one that is not NULL."""
    return Reservation(
        sequence=row[1],
        state=ReservationState(row[2]),
        terms=Terms(*row[3:8]),
        created_at=row[8],
        expires_at=row[9],
        pins=tuple(Pin(LotKey(s, n), micros) for s, n, micros in row[11]),
        labels=row[18] or {},
        priced_micros=row[12],
        charged_micros=row[13],
        has_outcome_rule=row[14],
        outcome_charged=row[15],
        own_run=row[16],
        lapsed_micros=row[17],
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


def state_of(row: Fields) -> State:
    """What prices remember under one key, of its row."""
    return State(
        text=row[2],
        closes_at=row[3],
        surplus_micros=row[4],
        collected_micros=row[5],
        uncollected_micros=row[6],
        revenue_nanousd=row[7],
        terms=_terms_of(row[8:13]),
    )


def _terms_of(row: Fields) -> Terms | None:
    """Terms of their columns; None where they are NULL."""
    return Terms(*row) if row[0] is not None else None


def _ratio_of(text: str) -> Ratio:
    """Raises ZeroDivisionError for a text that is no amount."""
    numerator, denominator = text.split("/")
    return Fraction(int(numerator), int(denominator)).as_integer_ratio()


def _costs_of(row: Fields) -> ReservationCosts:
    return ReservationCosts(
        cost_exact=_ratio_of(row[2]),
        included_exact=_ratio_of(row[3]),
        unpriced_exact=_ratio_of(row[4]),
        posted_nanousd=row[5],
        absorbed_failed_outcome_nanousd=row[6],
        absorbed_uncollected_nanousd=row[7],
        absorbed_unpriced_nanousd=row[8],
        saved_exact=_ratio_of(row[9]),
        own_key_exact=_ratio_of(row[10]),
    )


def _entry_line_of(line: Mapping[str, Any]) -> EntryLine:
    return EntryLine(
        treatment=Treatment(line["treatment"]),
        public={name: value for name, value in line.items() if name not in ENTRY_LINE_OWN},
        credits_micros=line["credits_micros"],
        pool=line.get("pool"),
        pool_micros=line.get("pool_micros", 0),
    )


def _money_line_of(line: Mapping[str, Any]) -> MoneyLine:
    return MoneyLine(
        kind=line["kind"],
        treatment=Treatment(line["treatment"]),
        internal={name: value for name, value in line.items() if name not in MONEY_LINE_OWN},
        credits_micros=line["credits_micros"],
        revenue_nanousd=line["revenue_nanousd"],
        cost_nanousd=line["cost_nanousd"],
        effects=tuple(Effect(*effect) for effect in line.get("memory", ())),
        saved_nanousd=line.get("saved_nanousd", 0),
        own_key_nanousd=line.get("own_key_nanousd", 0),
        pool=line.get("pool"),
        pool_micros=line.get("pool_micros", 0),
    )
