"""Rows of a cell's tables as the books' values; `rows_out` is the other way."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from ledger.books.model.amounts import Credits, Dollars, Ratio
from ledger.books.model.budgets import BudgetCrossing
from ledger.books.model.entries import Draw, Entry, EntryKind, EntryLine, Money, MoneyLine
from ledger.books.model.lots import GrantKind, Lot, LotKey, LotStatus
from ledger.books.model.priced import Effect, State, Terms, Treatment
from ledger.books.model.renewals import Every, Renewal, RenewalKey
from ledger.books.model.reservations import (
    NO_COSTS,
    Pin,
    Reservation,
    ReservationCosts,
    ReservationImage,
    ReservationState,
)
from ledger.books.model.wallets import NO_REMAINDERS, NO_TALLIES, Tally, Wallet
from ledger.store.cells.columns import (
    ENTRY,
    ENTRY_LINE_OWN,
    LOT,
    MONEY,
    MONEY_LINE_OWN,
    RENEWAL,
    RESERVATION,
    RESERVATION_COSTS,
    STATE,
    WALLET,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import asyncpg

Fields: TypeAlias = "Sequence[Any] | asyncpg.Record"
"""A row as the driver gives it: of a table's columns, in their order."""


_wallet, _entry, _money = WALLET.reader(), ENTRY.reader(), MONEY.reader()
_reservation, _costs = RESERVATION.reader(), RESERVATION_COSTS.reader()
_lot, _state, _renewal = LOT.reader(), STATE.reader(), RENEWAL.reader()
_credits, _dollars, _terms = (
    attrgetter(*Credits._fields),
    attrgetter(*Dollars._fields),
    attrgetter(*Terms._fields),
)
_credits_after = attrgetter(*(f"{account}_after" for account in Credits._fields))


def wallet_of(row: Fields, unbilled_nanousd: int, lots: Iterable[Lot]) -> Wallet:
    """A wallet of its row, and what stands in other tables; `lots` in burn order."""
    wallet = _wallet(row)
    return Wallet(
        customer=wallet.customer,
        sequence=wallet.sequence,
        display_name=wallet.display_name,
        plan=wallet.plan,
        card=wallet.card,
        zone=wallet.zone,
        multiplier_nanos=wallet.multiplier_nanos,
        balances=Credits(*_credits(wallet)),
        lots=tuple(lots),
        unbilled_nanousd=unbilled_nanousd,
        next_due_at=wallet.next_due_at,
        last_instant=wallet.last_instant,
        tallies={key: Tally(_ratio_of(exact), billed) for key, (exact, billed) in wallet.tallies.items()}
        if wallet.tallies
        else NO_TALLIES,
        plan_overrides=wallet.plan_overrides,
    )


def entry_of(row: Fields, money: Money | None = None) -> Entry:
    """An entry of its row, and its money where that was read."""
    entry = _entry(row)
    return Entry(
        customer=entry.customer,
        sequence=entry.sequence,
        kind=EntryKind(entry.kind),
        request_id=entry.request_id,
        fingerprint=entry.fingerprint,
        credits=Credits(*_credits(entry)),
        after=Credits(*_credits_after(entry)),
        effective_at=entry.effective_at,
        booked_at=entry.booked_at,
        occurred_at=entry.occurred_at,
        reservation=ReservationImage(
            sequence=entry.reservation,
            state=ReservationState(entry.reservation_state),
            held_micros=entry.reservation_held,
            charged_micros=entry.reservation_charged,
            expires_at=entry.reservation_expires_at,
        )
        if entry.reservation is not None
        else None,
        subject=entry.subject,
        subject_n=entry.subject_n,
        terms=_terms_of(entry),
        plan=entry.plan,
        priced_micros=entry.priced,
        uncollected_micros=entry.uncollected,
        late=entry.late,
        final=entry.final,
        reason=entry.reason,
        labels=entry.labels or {},
        lines=tuple(_entry_line_of(line) for line in entry.lines or ()),
        money=money,
    )


def money_of(row: Fields) -> Money | None:
    """The dollars of an entry; None where its row is NULL (of an outer join)."""
    money = _money(row)
    if money.customer is None:
        return None
    return Money(
        dollars=Dollars(*_dollars(money)),
        lines=tuple(_money_line_of(line) for line in money.lines or ()),
        draws=tuple(Draw(LotKey(s, n), micros, value) for s, n, micros, value in money.draws or ()),
        debt_value_nanousd=money.debt_value,
        absorbed_failed_outcome_nanousd=money.absorbed_failed_outcome,
        absorbed_uncollected_nanousd=money.absorbed_uncollected,
        absorbed_unpriced_nanousd=money.absorbed_unpriced,
        remainders={key: _ratio_of(text) for key, text in money.remainders.items()}
        if money.remainders
        else NO_REMAINDERS,
    )


def reservation_of(
    row: Fields, costs: Fields | None = None, counters: Sequence[str] | None = None
) -> Reservation:
    """A reservation of its row, that of its costs where this is not NULL, and the counters it is in."""
    reservation = _reservation(row)
    return Reservation(
        sequence=reservation.sequence,
        state=ReservationState(reservation.state),
        terms=Terms(*_terms(reservation)),
        created_at=reservation.created_at,
        expires_at=reservation.expires_at,
        pins=tuple(Pin(LotKey(s, n), micros) for s, n, micros in reservation.pins),
        labels=reservation.labels or {},
        priced_micros=reservation.priced,
        charged_micros=reservation.charged,
        has_outcome_rule=reservation.has_outcome_rule,
        outcome_charged=reservation.outcome_charged,
        own_run=reservation.own_run,
        lapsed_micros=reservation.lapsed,
        costs=_costs_of(costs) if costs is not None and costs[0] is not None else NO_COSTS,
        counters=tuple(counters or ()),
    )


def lot_of(row: Fields, value_nanousd: int) -> Lot:
    """A lot of its row, and its value, which stands in a table of its own."""
    lot = _lot(row)
    return Lot(
        key=LotKey(lot.sequence, lot.n),
        kind=GrantKind(lot.kind),
        amount_micros=lot.amount,
        remaining_micros=lot.remaining,
        held_micros=lot.held,
        value_nanousd=value_nanousd,
        priority=lot.priority,
        scope=lot.scope,
        effective_at=lot.effective_at,
        expires_at=lot.expires_at,
        status=LotStatus(lot.status),
    )


def state_of(row: Fields) -> State:
    """What prices remember under one key, of its row."""
    state = _state(row)
    return State(
        text=state.state,
        closes_at=state.closes_at,
        surplus_micros=state.surplus,
        collected_micros=state.collected,
        uncollected_micros=state.uncollected,
        revenue_nanousd=state.revenue_nanousd,
        terms=_terms_of(state),
    )


def renewal_of(row: Fields) -> tuple[RenewalKey, Renewal]:
    renewal = _renewal(row)
    return RenewalKey(renewal.plan, renewal.recurring), Renewal(
        next_at=renewal.next_at,
        every=Every(renewal.every),
        anchor=renewal.anchor,
        lots=tuple(LotKey(*key) for key in renewal.lots),
    )


def crossing_of(stated: Mapping[str, Any]) -> BudgetCrossing:
    """A threshold that an entry crossed."""
    ends_at = stated["ends_at"]
    return BudgetCrossing(**{**stated, "ends_at": datetime.fromisoformat(ends_at) if ends_at else None})


def _terms_of(row: Any) -> Terms | None:
    """Terms of their columns; None where they are NULL."""
    return Terms(*_terms(row)) if row.card is not None else None


def _ratio_of(text: str) -> Ratio:
    """Raises ZeroDivisionError for a text that is no amount."""
    numerator, denominator = text.split("/")
    return Fraction(int(numerator), int(denominator)).as_integer_ratio()


def _costs_of(row: Fields) -> ReservationCosts:
    costs = _costs(row)
    return ReservationCosts(
        cost_exact=_ratio_of(costs.cost_exact),
        included_exact=_ratio_of(costs.included_exact),
        unpriced_exact=_ratio_of(costs.unpriced_exact),
        posted_nanousd=costs.posted,
        absorbed_failed_outcome_nanousd=costs.absorbed_failed_outcome,
        absorbed_uncollected_nanousd=costs.absorbed_uncollected,
        absorbed_unpriced_nanousd=costs.absorbed_unpriced,
        saved_exact=_ratio_of(costs.saved_exact),
        own_key_exact=_ratio_of(costs.own_key_exact),
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
