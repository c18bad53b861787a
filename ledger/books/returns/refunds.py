"""Refunds: goodwill for work that did happen. Credits and revenue go back, in part or whole.

All refunds of a charge together, and a reversal of it, before or after, return no more than it collected. The
cost stays, and so do counters, budgets and what the reservation says of its parts; a refund of all that is
left frees the marks of what is charged once.
"""

from __future__ import annotations

from datetime import datetime

from ledger.books import refusals
from ledger.books.billing import refuse_amount
from ledger.books.commands import Refund
from ledger.books.limits import REFUND_LINES_MAX, REFUNDS_MAX
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import Entry, EntryKind
from ledger.books.model.plans import Plan
from ledger.books.model.refusals import Refusal
from ledger.books.model.wallets import Wallet
from ledger.books.period_close import uncount
from ledger.books.posting import Draft
from ledger.books.returns.credit_return import give_back, left_of, lines_left, take_back
from ledger.books.rounding import apportion


def refund(wallet: Wallet, command: Refund, *, now: datetime, plan: Plan, facts: Facts) -> Decision | Refusal:
    """Gives back credits of one charge: of a `Charge`, or of one commit."""
    refusal = refuse_amount(command.amount_micros, least=1)
    if refusal:
        return refusal
    if not facts.charges or facts.charges[0].kind not in (EntryKind.CHARGE, EntryKind.COMMIT):
        return refusals.CHARGE_NOT_FOUND
    left = 0 if facts.reversed else left_of(facts)
    micros = left if command.amount_micros is None else command.amount_micros
    if micros > left or left == 0:
        return refusals.refund_exceeds_charge(left)
    refunds_max = _refunds_max(facts.charges[0])
    if micros < left and len(facts.refunds) >= refunds_max:
        return refusals.too_many_refunds(refunds_max, left)

    # The refund is given.
    charge = facts.charges[0]
    refunded = -sum(entry.charged_micros for entry in facts.refunds)
    states = uncount(facts.states, charge, back_before_micros=refunded, back_micros=micros)
    draft = Draft(wallet, now)
    give_back(draft, facts, micros)
    rests = lines_left(facts)
    parts = apportion(micros, [rest.micros for rest in rests]) if rests else ()
    lines, money_lines = take_back(rests, parts, draft.revenue_nanousd, cost=False)
    return draft.finish(
        EntryKind.REFUND,
        plan.name,
        command=command,
        subject=(charge.sequence, None),
        terms=charge.terms,
        labels=charge.labels,
        priced_micros=-micros,
        final=micros == left,
        reason=command.reason,
        lines=lines,
        money_lines=money_lines,
        states={**states, **facts.freed} if micros == left else states,
    )


def _refunds_max(charge: Entry) -> int:
    """How many refunds of a part of it a charge takes; one more may give back all that is left."""
    return min(REFUNDS_MAX, REFUND_LINES_MAX // max(1, len(charge.lines)) - 1)
