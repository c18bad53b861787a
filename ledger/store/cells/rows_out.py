"""The books' values as texts for the write.

What is written goes as one text for each kind of row: the literals of the cell's composite type of that kind,
whose fields stand in the order of `columns`. Given arrays, the driver looks at each value in turn, which
costs more than the database's own work on it. Instants and terms are in many rows: they go once, and rows
have their numbers (`Shared`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from ledger.books.model.labels import NOTHING
from ledger.books.model.priced import Terms
from ledger.books.model.reservations import ReservationState
from ledger.store.cells.columns import BETWEEN_ROWS, ENTRY_LINE_OWN, MONEY_LINE_OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ledger.books.model.amounts import Ratio
    from ledger.books.model.budgets import BudgetCrossing, EntryBudgets
    from ledger.books.model.entries import Entry, EntryLine, Money, MoneyLine
    from ledger.books.model.lots import GrantRecord, Lot, LotKey
    from ledger.books.model.priced import State
    from ledger.books.model.renewals import Renewal, RenewalKey
    from ledger.books.model.reservations import Reservation, ReservationCosts
    from ledger.books.model.wallets import Tally, Wallet
    from ledger.store.audit import Audited

Key = TypeVar("Key")

OPEN_TO_COMMITS = frozenset({ReservationState.OPEN, ReservationState.EXPIRED})
_NINE = ",".join(["%d"] * 9)
_NO_TERMS: Sequence[Sequence[Any]] = [()] * len(Terms._fields)
"""By column."""


class Numbers(dict[Key | None, int | str]):
    """The number of each key as a field: drawn where it is first asked for, from 1 on."""

    def __init__(self) -> None:
        self[None] = ""

    def __missing__(self, key: Key) -> int:
        number = self[key] = len(self)
        return number


class Shared:
    """What the rows of one write have alike, each once; a row refers to it by its number."""

    __slots__ = ("instants", "terms")

    def __init__(self) -> None:
        self.instants: Numbers[datetime] = Numbers()
        self.terms: Numbers[Terms] = Numbers()

    def parameters(self) -> list[Sequence[Any]]:
        """Instants, and the terms by column, in the order of their numbers."""
        instants, terms = filter(None, self.instants), filter(None, self.terms)
        return [[*instants], *([*zip(*terms, strict=True)] or _NO_TERMS)]


def joined(rows: Sequence[str]) -> str:
    """Rows of one kind as one text. Raises ValueError where a row has in it what parts them."""
    text = BETWEEN_ROWS.join(rows)
    if text.count(BETWEEN_ROWS) >= len(rows):
        raise ValueError("a text with an ASCII record separator cannot be stored")
    return text


def numbers(values: Iterable[int]) -> str:
    """The literal of an array of whole numbers."""
    return f"{{{','.join(map(str, values))}}}"


def wallet_row(wallet: Wallet, shared: Shared, *, with_profile: bool) -> str:
    """Without its name and policies where these stay as they are."""
    profile = ",,,,,"
    if with_profile:
        profile = (
            f"{_text(wallet.display_name)},{_name(wallet.plan)},{_name(wallet.card)},{_name(wallet.zone)},"
            f"{wallet.multiplier_nanos},{_text(wallet.plan_overrides)}"
        )
    return (
        f"({wallet.customer},{wallet.sequence},{profile},{_NINE % wallet.balances},"
        f"{shared.instants[wallet.next_due_at]},{shared.instants[wallet.last_instant]},"
        f"{_tallies(wallet.tallies)})"
    )


def entry_row(entry: Entry, shared: Shared, stored_labels: Mapping[str, str] | None = NOTHING) -> str:
    """`stored_labels`: those that the database has of the entry's reservation; None: it may have any."""
    instants, subject, subject_n, image = shared.instants, entry.subject, entry.subject_n, entry.reservation
    image_fields = ",,,,"
    if image is not None:
        image_fields = (
            f"{image.sequence},{image.state},{image.held_micros},{image.charged_micros},"
            f"{instants[image.expires_at]}"
        )
    return (
        f"({entry.customer},{entry.sequence},{entry.kind},{_text(entry.request_id)},"
        f"{'' if entry.fingerprint is None else _BYTES + entry.fingerprint.hex()},"
        f"{_NINE % entry.credits},{_NINE % entry.after},"
        f"{instants[entry.effective_at]},{instants[entry.booked_at]},{instants[entry.occurred_at]},"
        f"{image_fields},{'' if subject is None else subject},"
        f"{'' if subject_n is None else subject_n},{shared.terms[entry.terms]},"
        f"{_name(entry.plan)},{entry.priced_micros},{entry.uncollected_micros},{entry.late:d},{entry.final:d},"
        f"{'' if entry.reason is None else _text(entry.reason)},"
        f"{'' if entry.labels == stored_labels else _json({**entry.labels})},"
        f"{_json([*map(_entry_line, entry.lines)]) if entry.lines else ''})"
    )


def hold_row(entry: Entry, reservation: Reservation, shared: Shared) -> str:
    """An entry that reserves, and what it reserves. Raises ValueError if that has other terms, say."""
    made = (reservation.terms, reservation.labels, reservation.created_at)
    if made != (entry.terms, entry.labels, entry.effective_at):
        raise ValueError("a reservation has the terms, the labels and the instant of the entry that makes it")
    return (
        f"{entry_row(entry, shared).removesuffix(')')},{reservation.state},"
        f"{_reservation_state(reservation, shared)})"
    )


def money_row(entry: Entry, money: Money, shared: Shared) -> str:
    lines = _json([*map(_money_line, money.lines)]) if money.lines else ""
    draws = ",".join([f"[{s},{n},{micros},{value}]" for (s, n), micros, value in money.draws])
    if draws:
        draws = f'"[{draws}]"'
    return (
        f"({entry.customer},{entry.sequence},{_NINE % money.dollars},{money.debt_value_nanousd},"
        f"{money.absorbed_failed_outcome_nanousd},{money.absorbed_uncollected_nanousd},"
        f"{money.absorbed_unpriced_nanousd},{lines},{draws},"
        f"{_ratios(money.remainders)},{shared.instants[entry.booked_at]})"
    )


def reservation_change(customer: int, reservation: Reservation, shared: Shared) -> str:
    """What may change of a reservation: terms, labels and the instant of its birth are pinned for life."""
    return (
        f"({customer},{reservation.sequence},{reservation.state},{_reservation_state(reservation, shared)})"
    )


def _reservation_state(reservation: Reservation, shared: Shared) -> str:
    pins = ",".join([f"[{s},{n},{micros}]" for (s, n), micros in reservation.pins])
    own_run = reservation.own_run
    return (
        f'{shared.instants[reservation.expires_at]},{reservation.held_micros},"[{pins}]",'
        f"{reservation.priced_micros},{reservation.charged_micros},"
        f"{reservation.has_outcome_rule:d},{reservation.outcome_charged:d},"
        f"{'' if own_run is None else _text(own_run)},"
        f"{reservation.lapsed_micros}"
    )


def reservation_costs_row(customer: int, sequence: int, costs: ReservationCosts) -> str:
    return (
        f"({customer},{sequence},{_ratio(costs.cost_exact)},"
        f"{_ratio(costs.included_exact)},{_ratio(costs.unpriced_exact)},{costs.posted_nanousd},"
        f"{costs.absorbed_failed_outcome_nanousd},{costs.absorbed_uncollected_nanousd},"
        f"{costs.absorbed_unpriced_nanousd},{_ratio(costs.saved_exact)},{_ratio(costs.own_key_exact)})"
    )


def lot_row(customer: int, lot: Lot, shared: Shared) -> str:
    return (
        f"({customer},{lot.key.sequence},{lot.key.n},{lot.kind},{lot.amount_micros},"
        f"{lot.remaining_micros},{lot.held_micros},{lot.priority},{_text(lot.scope)},"
        f"{shared.instants[lot.effective_at]},{shared.instants[lot.expires_at]},{lot.status})"
    )


def lot_change(customer: int, lot: Lot) -> str:
    """What may change of a lot."""
    return (
        f"({customer},{lot.key.sequence},{lot.key.n},{lot.remaining_micros},{lot.held_micros},{lot.status})"
    )


def lot_extended(customer: int, lot: Lot, shared: Shared) -> str:
    """What may change of a lot that somebody has extended."""
    return (
        f"({customer},{lot.key.sequence},{lot.key.n},{lot.remaining_micros},{lot.held_micros},{lot.priority},"
        f"{shared.instants[lot.expires_at]},{lot.status})"
    )


def grant_row(customer: int, key: LotKey, record: GrantRecord) -> str:
    paid_nanousd = record.paid_nanousd
    return (
        f"({customer},{key.sequence},{key.n},{'' if paid_nanousd is None else paid_nanousd},"
        f"{_text(record.external_reference)},{_text(record.note)},{record.ended_micros},"
        f"{record.refunded_micros},{record.taken_off_nanousd},{record.given_up_micros},"
        f"{record.rolled_over_micros},{_text(record.recurring)})"
    )


def renewal_row(customer: int, key: RenewalKey, renewal: Renewal, shared: Shared) -> str:
    lots = ",".join([f"[{sequence},{n}]" for sequence, n in renewal.lots])
    return (
        f"({customer},{_name(key.plan)},{_text(key.grant)},{shared.instants[renewal.next_at]},{renewal.every},"
        f'{renewal.anchor},"[{lots}]")'
    )


def lot_value_row(customer: int, lot: Lot) -> str:
    return f"({customer},{lot.key.sequence},{lot.key.n},{lot.value_nanousd})"


def state_row(customer: int, key: str, state: State, shared: Shared) -> str:
    return (
        f"({customer},{_key(key)},{_text(state.text)},{shared.instants[state.closes_at]},{state.surplus_micros},"
        f"{state.collected_micros},{state.uncollected_micros},{state.revenue_nanousd},{shared.terms[state.terms]})"
    )


def budgeted_row(entry: Entry, budgets: EntryBudgets) -> str:
    counters = _counters(budgets.counters) if budgets.counters else ""
    crossings = _json([*map(_crossing, budgets.crossings)]) if budgets.crossings else ""
    return f"({entry.customer},{entry.sequence},{counters},{crossings})"


def debt_row(customer: int, unbilled_nanousd: int) -> str:
    return f"({customer},{unbilled_nanousd})"


def audit_row(audited: Audited) -> str:
    (key_id, name, method), entry, before, after = audited
    return (
        f"({entry.customer},{entry.sequence},{_text(key_id)},{_text(name)},{_text(method)},"
        f"{_text(entry.request_id)},{'' if before is None else _json(before)},{_json(after)})"
    )


# -- fields --------------------------------------------------------------------------------------


_BYTES = "\\\\x"
"""What bytes in hexadecimal begin with; in a record a backslash is written twice."""

_ESCAPED_NUL = "\\u0000"
"""NUL in JSON; so does a backslash look that is followed by the rest."""


def _text(value: str | None) -> str:
    """A field of text: quoted unless it is plain, for in a record nothing at all is NULL."""
    if value is None:
        return ""
    if value.isalnum():
        return value
    if '"' in value or "\\" in value:
        value = value.replace("\\", "\\\\").replace('"', '""')
    return f'"{value}"'


@lru_cache(maxsize=1024)
def _name(value: str | None) -> str:
    """A field of text of which there are few: names of plans, cards, zones."""
    return _text(value)


@lru_cache(maxsize=4096)
def _key(value: str) -> str:
    """A field of text that comes again and again for a while: keys of states."""
    return _text(value)


@lru_cache(maxsize=4096)
def _counters(keys: tuple[str, ...]) -> str:
    """A field of the counters' keys in which work counts, much of it in the same ones."""
    return _json(keys)


def _json(value: object) -> str:
    """JSON as a field.

    Raises TypeError for an integer of more than 64 bits and for half a surrogate pair, and ValueError for
    NUL: the column would take it, and no reader could.
    """
    text = orjson.dumps(value).decode()
    if _ESCAPED_NUL in text and _has_nul(value):
        raise ValueError("a text with NUL cannot be stored")
    text = text.replace("\\", "\\\\").replace('"', '""')
    return f'"{text}"'


def _has_nul(value: object) -> bool:
    """Looks into all that orjson writes as an object or an array."""
    if isinstance(value, dict):
        return any(_has_nul(each) for pair in value.items() for each in pair)
    if isinstance(value, (list, tuple)):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _ratio(amount: Ratio) -> str:
    numerator, denominator = amount
    return f"{numerator}/{denominator}"


def _ratios(amounts: Mapping[str, Ratio]) -> str:
    return _json({key: f"{exact}/{of}" for key, (exact, of) in amounts.items()}) if amounts else ""


def _tallies(tallies: Mapping[str, Tally]) -> str:
    if not tallies:
        return ""
    return _json({key: (f"{exact}/{of}", billed) for key, ((exact, of), billed) in tallies.items()})


def _entry_line(line: EntryLine) -> dict[str, object]:
    if not ENTRY_LINE_OWN.isdisjoint(line.public):
        raise _hidden(line.public, ENTRY_LINE_OWN)
    stored = {**line.public, "treatment": line.treatment, "credits_micros": line.credits_micros}
    if line.pool is not None:
        stored |= {"pool": line.pool, "pool_micros": line.pool_micros}
    return stored


def _money_line(line: MoneyLine) -> dict[str, object]:
    if not MONEY_LINE_OWN.isdisjoint(line.internal):
        raise _hidden(line.internal, MONEY_LINE_OWN)
    stored = {
        **line.internal,
        "kind": line.kind,
        "treatment": line.treatment,
        "credits_micros": line.credits_micros,
        "revenue_nanousd": line.revenue_nanousd,
        "cost_nanousd": line.cost_nanousd,
    }
    if line.effects:
        stored["memory"] = [effect[:2] if effect.weight == 1 else [*effect] for effect in line.effects]
    if line.saved_nanousd:
        stored["saved_nanousd"] = line.saved_nanousd
    if line.own_key_nanousd:
        stored["own_key_nanousd"] = line.own_key_nanousd
    if line.pool is not None:
        stored |= {"pool": line.pool, "pool_micros": line.pool_micros}
    return stored


def _crossing(crossing: BudgetCrossing) -> dict[str, object]:
    ends_at = crossing.ends_at
    return {
        **crossing._asdict(),
        "labels": {**crossing.labels},
        "ends_at": None if ends_at is None else ends_at.isoformat(),
    }


def _hidden(said: Mapping[str, object], own: frozenset[str]) -> ValueError:
    return ValueError(f"a priced line must not use the names {', '.join(sorted(own & said.keys()))}")
