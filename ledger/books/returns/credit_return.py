"""What goes back of charges: their credits, and the revenue that their lines brought.

The credits that come back pay first what the customer owes now, whichever charge made that debt. What is
left goes to lots, the last drawn first:

1. What was collected as debt, and has been paid since: to the lots that paid debt after the charge, the
   newest first, each with the value that it gave. A lot to which other charges have returned anything since
   is passed over, so that no payment comes back twice. What no such lot has paid (other credits that came
   back did; or it was so many payments ago that it is no longer looked for) makes a new lot, with the value
   that the charge booked for it.
2. What was drawn from lots: to those lots, with the value drawn.

For a lot that has expired or was voided since, a new lot of its kind, priority and scope is made, with the
value refunded and a life of 30 days. What was paid for that moves along.

No more value comes back to a lot than it has earned of what was paid for it: where that was paid back, or was
given up, the credits are worth less, or nothing, and what is missing stays revenue. Nor are all lots
together ever worth more than what is left of all that was paid.

A charge may go back in several parts. Each begins where the one before it ended, and the value of a part is
known by where it begins and ends, so that the parts together return what one would. Credits that paid present
debt count as those that were borrowed, then as those drawn first: what is drawn last is left for the lots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ledger.books.grants import earned_of, used_of
from ledger.books.model.decisions import Facts
from ledger.books.model.entries import Draw, Entry, EntryKind, EntryLine, MoneyLine
from ledger.books.model.lots import NO_RECORD, GrantKind, GrantRecord, Lot, LotKey, LotStatus
from ledger.books.period_close import take_off
from ledger.books.posting import Draft
from ledger.books.rounding import apportion, share

NEW_LIFE = timedelta(days=30)
_RETURNS = (EntryKind.REVERSAL, EntryKind.REFUND)
"""Entries that give credits back to the lots that they came from."""


def left_of(facts: Facts) -> int:
    """Gives the micro-credits that may still go back: what was collected, less what has gone back.

    That is what was refunded, and what periods that closed since have given back.
    """
    collected = sum(entry.charged_micros for entry in facts.charges)
    given_micros, _ = take_off(facts.states, facts.charges, facts.refunds)
    return collected + sum(refund.charged_micros for refund in facts.refunds) - given_micros


def is_refunded(charge: Entry, refunds: Sequence[Entry]) -> bool:
    """Whether refunds have given back all that was left of a charge."""
    return any(refund.final for refund in refunds if refund.subject == charge.sequence)


# -- Credits


class _ReturnableCharge(NamedTuple):
    """A charge, and how much of what it collected has gone back."""

    draws: tuple[Draw, ...]
    """The last drawn first."""
    borrowed_micros: int
    """What of its debt has not come back."""
    returned_micros: int
    """How far its draws have come back."""
    kept_micros: int
    """What of its draws never will: of those drawn first, as much as paid debt instead."""


class _Parts(NamedTuple):
    """How an amount that comes back is divided, in micro-credits."""

    forgiven_of_debt: int
    """Pays present debt, and stands for what was borrowed."""
    forgiven_of_draws: int
    """Pays present debt, and stands for what was drawn first."""
    paid_since: int
    """Was borrowed, and has been paid since."""
    drawn: int


def give_back(draft: Draft, facts: Facts, micros: int) -> None:
    """Books that so much of what charges have collected comes back; at most `left_of` them."""
    forgiven = min(micros, -draft.wallet.balances.debt)
    if forgiven:
        draft.forgive(forgiven)
    charges = [_charge_of(entry, facts.refunds) for entry in facts.charges]
    parts = _divide(micros, forgiven, sum(charge.borrowed_micros for charge in charges))
    payments = _take_payments(facts, parts.paid_since)
    unknown = parts.paid_since - sum(micros for micros, _ in payments.values())
    born = 0
    if unknown:
        value = _booked_value(facts.charges, charges, parts, unknown)
        value = min(value, draft.returnable_nanousd(facts.claimed_nanousd))
        draft.give_back(_new_lot(draft, born, None, unknown), unknown, value)
        born += 1
    own = _take_draws(charges, parts.drawn)
    known = {lot.key: lot for lot in facts.lots}
    for key in {**payments, **own}:
        both = [returned[key] for returned in (payments, own) if key in returned]
        back, value = sum(part[0] for part in both), sum(part[1] for part in both)
        lot = draft.lots.get(key) or _emptied(known[key])
        earned, by_others = _earned(lot, facts), _paid_by_others(lot, back, facts)
        if earned is not None:
            value = min(value, earned + value - share(value, back - by_others, back))
        value = min(value, draft.returnable_nanousd(facts.claimed_nanousd))
        if _takes_back(lot, draft.booked_at):
            draft.give_back(lot, back, value)
            continue
        new = _new_lot(draft, born, lot, back)
        draft.give_back(new, back, value, moved_from=key)
        born += 1
        if earned is not None and not by_others:
            draft.record(key, GrantRecord(taken_off_nanousd=value))
            draft.record(new.key, GrantRecord(value))


def _earned(lot: Lot, facts: Facts) -> int | None:
    """What a lot has earned of what was paid for it, if that is known."""
    record = facts.records.get(lot.key, NO_RECORD)
    return None if record.paid_nanousd is None else max(0, earned_of(lot, record))


def _paid_by_others(lot: Lot, micros: int, facts: Facts) -> int:
    """How many of credits that come back were owed when their lot was voided: others have paid for them."""
    return max(0, micros - used_of(lot, facts.records.get(lot.key, NO_RECORD)))


def _charge_of(entry: Entry, refunds: Sequence[Entry]) -> _ReturnableCharge:
    """A charge as its refunds have left it."""
    borrowed, returned, forgiven = -entry.credits.debt, 0, 0
    for refund in refunds:
        if refund.subject == entry.sequence:
            parts = _divide(-refund.charged_micros, refund.credits.debt, borrowed)
            borrowed -= parts.forgiven_of_debt + parts.paid_since
            returned += parts.drawn
            forgiven += parts.forgiven_of_draws
    draws = tuple(reversed(entry.money.draws)) if entry.money else ()
    return _ReturnableCharge(draws, borrowed, returned, forgiven)


def _divide(micros: int, forgiven: int, borrowed: int) -> _Parts:
    of_debt = min(forgiven, borrowed)
    paid_since = min(micros - forgiven, borrowed - of_debt)
    return _Parts(of_debt, forgiven - of_debt, paid_since, micros - forgiven - paid_since)


def _booked_value(
    entries: Sequence[Entry], charges: Sequence[_ReturnableCharge], parts: _Parts, unknown_micros: int
) -> int:
    """Gives what the charges booked for the last of the debt that comes back."""
    borrowed = -sum(entry.credits.debt for entry in entries)
    booked = -sum(entry.money.debt_value_nanousd for entry in entries if entry.money)
    left = sum(charge.borrowed_micros for charge in charges)
    end = borrowed - left + parts.forgiven_of_debt + parts.paid_since
    return share(booked, end, borrowed) - share(booked, end - unknown_micros, borrowed)


Returned = dict[LotKey, tuple[int, int]]
"""Micro-credits and nano-dollars by lot."""


def _take_draws(charges: Sequence[_ReturnableCharge], micros: int) -> Returned:
    """Says how much goes back to each lot that was drawn, and what value."""
    returned: Returned = {}
    for charge in reversed(charges):
        left = sum(draw.micros for draw in charge.draws) - charge.returned_micros - charge.kept_micros
        part = min(micros, left)
        _add(returned, charge.draws, charge.returned_micros, charge.returned_micros + part)
        micros -= part
    return returned


def _take_payments(facts: Facts, micros: int) -> Returned:
    """Says how much goes back to each lot that has paid debt since, and what value."""
    own = {refund.sequence for refund in facts.refunds}
    others = [entry for entry in facts.later if entry.kind in _RETURNS and entry.sequence not in own]
    spoiled = {draw.lot for draw in _draws(others) if draw.micros < 0}
    before = _payments_returned(facts)
    returned: Returned = {}
    for payment in _draws([entry for entry in facts.later if entry.kind not in _RETURNS]):
        if payment.lot not in spoiled:
            start = before.get(payment.lot, 0)
            part = min(micros, payment.micros - start)
            _add(returned, [payment], start, start + part)
            micros -= part
    return returned


def _payments_returned(facts: Facts) -> dict[LotKey, int]:
    """Says how much refunds have returned to lots that the charge refunded had not drawn: they paid debt."""
    returned: dict[LotKey, int] = {}
    for charge in facts.charges:
        drawn = {draw.lot for draw in _draws([charge])}
        for draw in _draws([refund for refund in facts.refunds if refund.subject == charge.sequence]):
            if draw.micros < 0 and draw.lot not in drawn:
                returned[draw.lot] = returned.get(draw.lot, 0) - draw.micros
    return returned


def _draws(entries: Sequence[Entry]) -> Iterable[Draw]:
    """The draws of entries, the last drawn first."""
    return (draw for e in reversed(entries) for draw in reversed(e.money.draws if e.money else ()))


def _add(returned: Returned, draws: Iterable[Draw], start: int, end: int) -> None:
    """Adds what lies between two places of draws laid end to end; of each draw its share of the value."""
    place = 0
    for key, drawn, value in draws:
        first, last = max(start - place, 0), min(end - place, drawn)
        if first < last:
            before = returned.get(key, (0, 0))
            worth = share(value, last, drawn) - share(value, first, drawn)
            returned[key] = (before[0] + last - first, before[1] + worth)
        place += drawn


def _takes_back(lot: Lot, now: datetime) -> bool:
    if lot.status not in (LotStatus.ACTIVE, LotStatus.DEPLETED, LotStatus.DISPUTED):
        return False
    return lot.expires_at is None or lot.expires_at > now


def _emptied(lot: Lot) -> Lot:
    """A lot that the wallet does not hold: it is empty by now, whatever it was when it was read."""
    return lot._replace(remaining_micros=0, held_micros=0, value_nanousd=0)


def _new_lot(draft: Draft, n: int, old: Lot | None, micros: int) -> Lot:
    """Makes an empty lot for `micros` credits that have no lot to go back to."""
    return Lot(
        key=LotKey(draft.sequence, n),
        kind=old.kind if old else GrantKind.ADJUSTMENT,
        amount_micros=micros,
        remaining_micros=0,
        held_micros=0,
        value_nanousd=0,
        priority=old.priority if old else 0,
        scope=old.scope if old else None,
        effective_at=draft.booked_at,
        expires_at=draft.booked_at + NEW_LIFE,
        status=LotStatus.ACTIVE,
    )


# -- Lines


class LineRest(NamedTuple):
    """A line of a charge, and what refunds have left of its price."""

    line: MoneyLine
    public: EntryLine
    micros: int

    def revenue_nanousd(self, micros: int) -> int:
        """The revenue that the line booked for the next so many of its credits."""
        price = self.line.credits_micros
        if price == 0:
            return 0
        returned, booked = price - self.micros, self.line.revenue_nanousd
        return share(booked, returned + micros, price) - share(booked, returned, price)


def lines_left(facts: Facts) -> tuple[LineRest, ...]:
    """All lines of the charges."""
    rests: list[LineRest] = []
    for charge in facts.charges:
        lines = charge.money.lines if charge.money else ()
        left = [line.credits_micros for line in lines]
        for refund in facts.refunds:
            if refund.subject == charge.sequence:
                left = [micros + back.credits_micros for micros, back in zip(left, refund.lines, strict=True)]
        rests += map(LineRest, lines, charge.lines, left)
    return tuple(rests)


def take_back(
    rests: Sequence[LineRest], micros: Sequence[int], revenue_nanousd: int, *, cost: bool
) -> tuple[tuple[EntryLine, ...], tuple[MoneyLine, ...]]:
    """Negates so much of each line's price, and of its revenue; with `cost` its cost and memos too.

    Where the revenue taken back (negative, of all lines) is another than was booked for these credits, the
    lines share the difference by their credits.
    """
    booked = [rest.revenue_nanousd(part) for rest, part in zip(rests, micros, strict=True)]
    difference = revenue_nanousd + sum(booked)
    corrections = apportion(difference, micros) if any(micros) else (0,) * len(rests)
    lines, money_lines = [], []
    for (line, public, _), part, revenue, correction in zip(rests, micros, booked, corrections, strict=True):
        lines.append(EntryLine(public.treatment, public.public, -part))
        money_lines.append(
            MoneyLine(
                kind=line.kind,
                treatment=line.treatment,
                internal=line.internal,
                credits_micros=-part,
                revenue_nanousd=correction - revenue,
                cost_nanousd=-line.cost_nanousd if cost else 0,
                saved_nanousd=-line.saved_nanousd if cost else 0,
                own_key_nanousd=-line.own_key_nanousd if cost else 0,
            )
        )
    return tuple(lines), tuple(money_lines)
