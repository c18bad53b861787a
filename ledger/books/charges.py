"""Charges: what one commit, or one `Charge`, books.

A commit of usage reports what has happened: it is never refused for its price or its amount. What it may
draw, in this order: lots of the pools that its lines may draw on; the pins of its own hold; then, as the
plan's over-capture allows, what is available; then debt, down to the plan's overdraft limit. The rest is not
collected, a memo. The cost is posted in full, collected or not.

A late commit (after its hold has expired) and a charge of work already done have no hold: they draw what
is available under every policy, and make debt where the policy is ALLOW_WITH_OVERDRAFT.

Work that has no price is charged what the customer's plan says: nothing, a fallback's price (which it brings
with it), or the hold. A part with such an item takes all that is left of the hold beside its price, from lots
that admit the items' kinds; a late one as much as went back when the hold expired, less what late parts have
been charged since, and its own price. A charge without a reservation has no hold to take.

A cost beyond what the books can hold (billions of dollars) is not posted: the dollar lines are uncosted,
which finance sees counted. It refuses nothing: where refusals begin would tell the cost to whoever may ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from ledger.books import budgets, refusals
from ledger.books.absorbed_cost import accrue, fits, settle
from ledger.books.billing import (
    Bill,
    make_bill,
    refuse_amount,
    refuse_unpriced,
    without_carried,
)
from ledger.books.burn_down import Source, cover, free_sources, pinned_sources
from ledger.books.commands import Charge, Commit
from ledger.books.credit_pools import PoolDraws, draw_on_pools
from ledger.books.debts import borrow, overdraft_left
from ledger.books.making import make
from ledger.books.model.amounts import NO_AMOUNT, Ratio
from ledger.books.model.budgets import BudgetCounter
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import EntryKind, EntryLine, MoneyLine
from ledger.books.model.plans import OverCapture, Plan, Unpriced
from ledger.books.model.priced import STATELESS, Priced, State, Terms, Treatment
from ledger.books.model.refusals import Refusal
from ledger.books.model.reservations import NO_COSTS, Pin, Reservation, ReservationCosts, ReservationState
from ledger.books.model.wallets import NO_TALLY, Wallet
from ledger.books.period_close import count
from ledger.books.posting import Draft
from ledger.books.reservations import settle_reservation, with_changes
from ledger.books.rounding import (
    MAX_AMOUNT,
    MICROS_PER_CREDIT,
    BooksError,
    apportion,
    apportion_ratios,
    exact_sum,
    nearest,
    round_ratio,
)
from ledger.books.tallies import carry

# To look a member up in its enumeration costs as much as a call.
_COMMIT = EntryKind.COMMIT
_UNPRICED, _CHARGE_HOLD = Treatment.UNPRICED, Unpriced.CHARGE_HOLD
_OPEN, _EXPIRED, _COMMITTED = ReservationState.OPEN, ReservationState.EXPIRED, ReservationState.COMMITTED
_BEYOND_THE_BOOKS: Mapping[str, object] = {"cost_source": "beyond_the_books", "uncosted": True}
_GOES_BEYOND_THE_HOLD = (OverCapture.ALLOW_IF_AVAILABLE, OverCapture.ALLOW_WITH_OVERDRAFT)


def commit(
    wallet: Wallet,
    command: Commit,
    *,
    now: datetime,
    plan: Plan,
    priced: Priced | None,
    facts: Facts,
) -> Decision | Refusal:
    """Charges a part of a reservation's work; a final part gives the rest of the hold back."""
    refusal = refuse_amount(command.amount_micros, least=0)
    if refusal:
        return refusal
    before = facts.reservation
    if before is None:
        return refusals.RESERVATION_NOT_FOUND
    state = before.state
    if state is not _OPEN and state is not _EXPIRED:
        return refusals.RESERVATION_CLOSED
    late = state is _EXPIRED
    priced, pools = draw_on_pools(wallet.lots, priced, wallet.tallies)
    draft = Draft(wallet, now)
    held = pinned_sources(draft.lots, before.pins)
    bill = make_bill(command.amount_micros, priced, wallet.tallies.get(before.terms.card, NO_TALLY))
    if plan.unpriced is _CHARGE_HOLD:
        bill = _with_lapsed(bill, before.lapsed_micros) if late else _with_hold(bill, held)
    payment = _pay(wallet, bill, pools, held, plan, before.terms, facts.counters, no_hold=late)
    if before.priced_micros + payment.priced_micros > MAX_AMOUNT:
        return refusals.price_too_large("usage" if priced else "amount_micros")
    rejects = payment.uncollected_micros and priced is None and not late
    if rejects and plan.over_capture is OverCapture.REJECT:
        return refusals.over_capture(payment.charged_micros, payment.priced_micros)
    return _take_part(draft, command, before, plan, priced, payment, facts.counters, late=late)


def _take_part(
    draft: Draft,
    command: Commit,
    before: Reservation,
    plan: Plan,
    priced: Priced | None,
    payment: _Payment,
    counters: Sequence[BudgetCounter],
    *,
    late: bool,
) -> Decision:
    """Books a part, whatever of it can be collected; what is absorbed is decided when nothing is held."""
    booked = _book(draft, payment, before.terms, before.costs)
    rest = _rest(before.pins, payment.taken)
    if command.final:
        draft.unpin(rest)
        rest = ()
    after = _after_commit(before, payment, priced, booked.costs, rest, final=command.final)
    if counters:
        draft.count(counters, payment.counted_micros + after.held_micros - before.held_micros)
    if command.final or late:
        settled, absorbed = settle_reservation(after)
        if any(absorbed):
            draft.absorb(*absorbed)
            after = with_changes(after, after.state, after.pins, costs=settled)
    return draft.finish(
        _COMMIT,
        plan.name,
        command=command,
        reservation=after,
        terms=before.terms,
        labels={**before.labels, **command.labels} if command.labels else before.labels,
        occurred_at=priced.occurred_at if priced else None,
        priced_micros=payment.priced_micros,
        uncollected_micros=payment.uncollected_micros,
        late=late,
        final=command.final,
        lines=booked.lines,
        money_lines=booked.money_lines,
        states=_states(priced, booked.money_lines, payment.uncollected_micros),
    )


def charge(
    wallet: Wallet,
    command: Charge,
    *,
    now: datetime,
    plan: Plan,
    priced: Priced | None,
    terms: Terms | None,
    facts: Facts,
) -> Decision | Refusal:
    """Charges work without a reservation: refused unless budgets and available credits cover it in full.

    Work already done is charged as a late commit is: nothing is refused.
    """
    if terms is None:
        raise BooksError("a charge rests on terms: none were given")
    refusal = refuse_amount(command.amount_micros, least=1)
    if not (refusal or command.already_used):
        refusal = refuse_unpriced(priced)
    if refusal:
        return refusal
    priced, pools = draw_on_pools(wallet.lots, priced, wallet.tallies)
    bill = make_bill(command.amount_micros, priced, wallet.tallies.get(terms.card, NO_TALLY))
    counters = facts.counters
    if command.already_used:
        counters = tuple([each for each in counters if not budgets.is_one_too_many(each)])
    payment = _pay(wallet, bill, pools, [], plan, terms, counters, no_hold=True, borrows=command.already_used)
    if payment.priced_micros > MAX_AMOUNT:
        return refusals.price_too_large("usage" if priced else "amount_micros")
    if not command.already_used and (refusal := budgets.refuse_new_values(counters, payment.bill.micros)):
        return refusal
    if payment.uncollected_micros and not command.already_used:
        refusal = budgets.refuse_beyond(budgets.tightest(counters), payment.bill.micros)
        return refusal or refusals.insufficient(payment.charged_micros, payment.priced_micros)
    draft = Draft(wallet, now)
    if counters:
        draft.count(counters, payment.counted_micros, begins=True)
    return _take_charge(draft, command, plan, priced, terms, payment)


def _take_charge(
    draft: Draft, command: Charge, plan: Plan, priced: Priced | None, terms: Terms, payment: _Payment
) -> Decision:
    """Books a charge, and decides at once what of its cost is absorbed."""
    booked = _book(draft, payment, terms, NO_COSTS)
    outcome_missing = priced is not None and priced.has_outcome_rule and not priced.outcome_charged
    _, absorbed = settle(
        booked.costs, payment.priced_micros, payment.charged_micros, outcome_missing=outcome_missing
    )
    draft.absorb(*absorbed)
    return draft.finish(
        EntryKind.CHARGE,
        plan.name,
        command=command,
        terms=terms,
        labels=command.labels,
        occurred_at=priced.occurred_at if priced else None,
        priced_micros=payment.priced_micros,
        uncollected_micros=payment.uncollected_micros,
        lines=booked.lines,
        money_lines=booked.money_lines,
        states=_states(priced, booked.money_lines, payment.uncollected_micros),
    )


def _with_part(before: ReservationCosts, bill: Bill, terms: Terms) -> ReservationCosts | None:
    """What the work has cost with a part of it; None: more than the books can hold."""
    unpriced = [line.exact_micros for line in bill.lines if line.treatment is _UNPRICED]
    paid_nanousd = _paid_unpriced(unpriced, bill, terms) if unpriced else NO_AMOUNT
    after = accrue(before, bill.lines, paid_nanousd)
    return after if fits(after, bill.lines) else None


def _paid_unpriced(prices: Sequence[Ratio], bill: Bill, terms: Terms) -> Ratio:
    """What the lines without a price of their own are charged, in nano-dollars at the list price of credits.

    `prices` is what a fallback asks for them, in micro-credits.
    """
    paid_micros, denominator = exact_sum(prices, (sum(bill.of_hold), 1))
    return paid_micros * terms.credit_price_nanousd, denominator * MICROS_PER_CREDIT


def _with_hold(bill: Bill, held: Sequence[Source]) -> Bill:
    """Lets the lines that have no price take what their bill leaves of the hold, in equal parts."""
    if not any(line.treatment is _UNPRICED for line in bill.lines):
        return bill
    taken, _ = cover(bill, iter(held))
    drawn = {lot.key: micros for lot, micros, _ in taken}
    of_hold = [0] * len(bill.lines)
    for lot, micros, _ in held:
        lines = _unpriced_of(bill, lot.scope)
        left = micros - drawn.get(lot.key, 0) if lines else 0
        for n, part in zip(lines, apportion(left, [1] * len(lines)), strict=True):
            of_hold[n] += part
    return bill.with_hold(of_hold)


def _with_lapsed(bill: Bill, lapsed_micros: int) -> Bill:
    """Lets the lines that have no price take what their bill leaves of what the hold lapsed with.

    In equal parts, as of a hold.
    """
    lines = _unpriced_of(bill, None)
    of_hold = [0] * len(bill.lines)
    left = max(0, lapsed_micros - bill.micros) if lines else 0
    for n, part in zip(lines, apportion(left, [1] * len(lines)), strict=True):
        of_hold[n] = part
    return bill.with_hold(of_hold)


def _unpriced_of(bill: Bill, scope: str | None) -> list[int]:
    """The lines without a price that a lot of a scope may pay for."""
    return [
        n for n, line in enumerate(bill.lines) if line.treatment is _UNPRICED and scope in (None, line.kind)
    ]


class _Payment(NamedTuple):
    """What a part of the work asks for, and what pays for it."""

    bill: Bill
    pools: PoolDraws
    """What pools pay, beside the bill."""
    priced_micros: int
    """The price, of both together."""
    taken: list[Source]
    debt_micros: int
    uncollected_micros: int

    @property
    def charged_micros(self) -> int:
        """What of the price is collected."""
        return self.priced_micros - self.uncollected_micros

    @property
    def counted_micros(self) -> int:
        """What of that counts in budgets: all but what pools pay."""
        return self.bill.micros - self.uncollected_micros


def _pay(
    wallet: Wallet,
    bill: Bill,
    pools: PoolDraws,
    held: list[Source],
    plan: Plan,
    terms: Terms,
    counters: Sequence[BudgetCounter],
    *,
    no_hold: bool,
    borrows: bool = True,
) -> _Payment:
    """Finds the credits for a bill; what is carried into it waits where they cover all but that.

    Beyond the hold no more is taken, or borrowed, than budgets leave. `no_hold`: there is none that could
    have limited it. `borrows`: it may make debt, if the plan lets it.
    """
    goes_beyond = no_hold or plan.over_capture in _GOES_BEYOND_THE_HOLD
    least = budgets.tightest(counters) if counters else None

    def pay(bill: Bill) -> _Payment:
        taken, uncovered = cover(bill, chain(held, free_sources(wallet.lots)) if goes_beyond else iter(held))
        debt_max = uncovered
        if least is not None:
            taken, left, cut = budgets.within(least, taken)
            uncovered += cut
            debt_max = min(uncovered, left)
        debt = min(debt_max, overdraft_left(wallet, plan, terms)) if debt_max and borrows else 0
        return make(_Payment, (bill, pools, bill.micros + pools.total_micros, taken, debt, uncovered - debt))

    payment = pay(bill)
    if payment.uncollected_micros:
        alone = without_carried(bill)
        if alone.micros <= bill.micros - payment.uncollected_micros:
            return pay(alone)
    return payment


class _Booked(NamedTuple):
    """What a draft has posted for a part of the work."""

    lines: tuple[EntryLine, ...]
    money_lines: tuple[MoneyLine, ...]
    costs: ReservationCosts
    """What the work has cost by now."""


def _book(draft: Draft, payment: _Payment, terms: Terms, before: ReservationCosts) -> _Booked:
    """Posts draws, debt and cost, and says which line brought and cost how much of it."""
    bill, pools = payment.bill, payment.pools
    pool_revenue_nanousd = 0
    if pools.sources:
        draft.draw(pools.sources)
        pool_revenue_nanousd = draft.revenue_nanousd
    draft.draw(payment.taken)
    if payment.debt_micros:
        borrow(draft, payment.debt_micros, terms)
    with_part = _with_part(before, bill, terms)
    after = before if with_part is None else with_part
    draft.cost(after.posted_nanousd - before.posted_nanousd)
    if not bill.lines:
        return make(_Booked, ((), (), after))
    draft.carry(terms.card, *carry(bill.usage, bill.usage_micros, bill.rounding.quantum_micros))
    for key, (tally, more_micros) in pools.carried.items():
        draft.carry(key, tally, more_micros)
    revenue_nanousd = draft.revenue_nanousd - pool_revenue_nanousd
    lines, money_lines = _lines(bill, revenue_nanousd, before, after, uncosted=with_part is None)
    if pools.micros:
        lines, money_lines = _with_pools(lines, money_lines, bill, pools.micros, pool_revenue_nanousd)
    return make(_Booked, (lines, money_lines, after))


def _lines(
    bill: Bill, revenue_nanousd: int, before: ReservationCosts, after: ReservationCosts, *, uncosted: bool
) -> tuple[tuple[EntryLine, ...], tuple[MoneyLine, ...]]:
    """Divides price, revenue, cost and memos of a part over its lines."""
    shares = bill.shares()
    revenues = apportion(revenue_nanousd, shares)
    cost_nanousd = after.posted_nanousd - before.posted_nanousd
    of_lines = apportion_ratios(cost_nanousd, [line.cost_exact_nanousd for line in bill.lines])
    saved = own_key = (0,) * len(bill.lines)
    if after.saved_exact is not before.saved_exact:
        exact = [line.saved_exact_nanousd for line in bill.lines]
        saved = _memos(before.saved_exact, after.saved_exact, exact)
    if after.own_key_exact is not before.own_key_exact:
        exact = [line.own_key_exact_nanousd for line in bill.lines]
        own_key = _memos(before.own_key_exact, after.own_key_exact, exact)
    lines, money_lines = [], []
    each = zip(bill.lines, shares, revenues, of_lines, saved, own_key, strict=True)
    for line, micros, revenue, cost, line_saved, line_own_key in each:
        internal = {**line.internal, **_BEYOND_THE_BOOKS} if uncosted else line.internal
        memos = (line_saved, line_own_key)
        lines.append(make(EntryLine, (line.treatment, line.public, micros, None, 0)))
        money_lines.append(
            make(
                MoneyLine,
                (line.kind, line.treatment, internal, micros, revenue, cost, line.effects, *memos, None, 0),
            )
        )
    return tuple(lines), tuple(money_lines)


def _with_pools(
    lines: Sequence[EntryLine],
    money_lines: Sequence[MoneyLine],
    bill: Bill,
    drawn_micros: Sequence[int],
    revenue_nanousd: int,
) -> tuple[tuple[EntryLine, ...], tuple[MoneyLine, ...]]:
    """Adds to each line what its pool has paid of it, and the revenue of that."""
    revenues = apportion(revenue_nanousd, drawn_micros)
    both, money_both = list(lines), list(money_lines)
    for n, drawn in enumerate(drawn_micros):
        pool = bill.lines[n].pool
        if pool is not None:
            micros = lines[n].credits_micros + drawn
            both[n] = lines[n]._replace(credits_micros=micros, pool=pool.pool, pool_micros=drawn)
            money_both[n] = money_lines[n]._replace(
                credits_micros=micros,
                revenue_nanousd=money_lines[n].revenue_nanousd + revenues[n],
                pool=pool.pool,
                pool_micros=drawn,
            )
    return tuple(both), tuple(money_both)


def _states(
    priced: Priced | None, lines: tuple[MoneyLine, ...], uncollected_micros: int
) -> Mapping[str, State]:
    """The states that the usage has changed, with what its lines have booked."""
    if priced is None or not priced.states:
        return STATELESS
    return count(priced.states, lines, uncollected_micros)


def _memos(before: Ratio, after: Ratio, of_lines: Sequence[Ratio]) -> tuple[int, ...]:
    """What each line adds to a sum that is rounded over the whole reservation, as the cost is."""
    return nearest(round_ratio(after) - round_ratio(before), of_lines)


def _rest(pins: tuple[Pin, ...], taken: list[Source]) -> tuple[Pin, ...]:
    """What is left of the pins, in their order."""
    drawn = {lot.key: micros for lot, micros, held in taken if held}
    rest = []
    for pin in pins:
        left = pin.micros - drawn.get(pin.lot, 0)
        if left:
            rest.append(make(Pin, (pin.lot, left)))
    return tuple(rest)


def _after_commit(
    before: Reservation,
    payment: _Payment,
    priced: Priced | None,
    costs: ReservationCosts,
    pins: tuple[Pin, ...],
    *,
    final: bool,
) -> Reservation:
    own_run = priced.own_run if priced else None
    return make(
        Reservation,
        (
            before.sequence,
            _COMMITTED if final else before.state,
            before.terms,
            before.created_at,
            before.expires_at,
            pins,
            before.labels,
            before.priced_micros + payment.priced_micros,
            before.charged_micros + payment.priced_micros - payment.uncollected_micros,
            before.has_outcome_rule or (priced is not None and priced.has_outcome_rule),
            before.outcome_charged or (priced is not None and priced.outcome_charged),
            before.own_run if own_run is None else own_run,
            costs,
            max(0, before.lapsed_micros - payment.bill.micros) if before.lapsed_micros else 0,
            before.counters,
        ),
    )
