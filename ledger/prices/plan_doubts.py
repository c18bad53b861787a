"""What of a plan is likely to be a mistake, though it can be published: each with its place in the plan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from ledger.books.model.budgets import Budget, BudgetWindow
from ledger.books.model.plans import Plan
from ledger.books.model.renewals import RecurringGrant
from ledger.books.rounding import MICROS_PER_CREDIT
from ledger.prices.plan_grants import SHORTEST
from pricing.cards.rate_card import RateCard
from pricing.documents.yaml_reader import Loc
from pricing.exact import format_nanos

PRICES_APART: Final = 10
"""So many times more, or less, than the card's price of a credit is no discount: it is a digit too many, or a
total in the place of a price."""

_WITHIN: Final = {
    BudgetWindow.HOUR: frozenset(BudgetWindow),
    BudgetWindow.DAY: frozenset(BudgetWindow) - {BudgetWindow.HOUR},
    BudgetWindow.WEEK: frozenset({BudgetWindow.WEEK, BudgetWindow.TOTAL}),
    BudgetWindow.MONTH: frozenset({BudgetWindow.MONTH, BudgetWindow.TOTAL}),
    BudgetWindow.TOTAL: frozenset({BudgetWindow.TOTAL}),
}
"""Of each window those that hold the whole of it: a week may lie in two months."""


class PlanDoubt(NamedTuple):
    """What is likely a mistake."""

    at: Loc
    """Below the plan."""
    message: str
    hint: str


def doubts_of_plan(plan: Plan, card: RateCard | None) -> Iterator[PlanDoubt]:
    """Yields what has no effect, or hardly the one that is meant. `card`: the plan's, if it names one."""
    yield from _of_budgets(plan.budgets)
    top_up = plan.top_up
    if top_up is not None:
        if top_up.add_micros is not None and top_up.add_micros < top_up.below_micros:
            message = "is less than below: one top-up may leave need of the next one, a cool_down later"
            yield PlanDoubt(("topup", "add"), message, "write as much or more")
        yield from _of_price(("topup", "credit_price_usd"), top_up.credit_price_nanousd, card)
    for grant in plan.grants:
        yield from _of_grant(grant, plan.expiring_notice, card)


def _of_budgets(budgets: tuple[Budget, ...]) -> Iterator[PlanDoubt]:
    """Yields budgets that others reach first, whatever the work, and that notify of nothing."""
    for n, budget in enumerate(budgets):
        first = (
            other.name
            for m, other in enumerate(budgets)
            if m != n and _reaches_first(other, budget) and (m < n or not _reaches_first(budget, other))
        )
        name = next(first, None)
        if name is not None and not budget.notify_percents:
            message = f"is never reached: {name!r} counts all that it counts, and has no more"
            yield PlanDoubt(
                ("budgets", budget.name, "limit"), message, "write a lower limit, or leave it out"
            )


def _reaches_first(outer: Budget, inner: Budget) -> bool:
    """Whether a counter of one counts all that a counter of the other does, for as long, and has no more."""
    if outer.limit_micros > inner.limit_micros or outer.window not in _WITHIN[inner.window]:
        return False
    labels = {*inner.by, *(label for label, _ in inner.where)}
    return set(outer.where) <= set(inner.where) and set(outer.by) <= labels


def _of_grant(grant: RecurringGrant, notice: timedelta | None, card: RateCard | None) -> Iterator[PlanDoubt]:
    if grant.paid_total_nanousd:
        price_nanousd = grant.paid_total_nanousd * MICROS_PER_CREDIT // grant.amount_micros
        yield from _of_price(("grants", grant.name, "paid_usd"), price_nanousd, card)
    life = grant.life or SHORTEST[grant.every]
    if notice is not None and notice >= life:
        message = "its credits are reported to expire as soon as they are granted"
        yield PlanDoubt(("grants", grant.name), message, "write a shorter expiring_notice, or a longer life")


def _of_price(at: Loc, price_nanousd: int, card: RateCard | None) -> Iterator[PlanDoubt]:
    """Yields a price of a credit that is far from the card's."""
    if card is None:
        return
    listed = card.credit_price_nanousd
    if not listed <= price_nanousd * PRICES_APART <= listed * PRICES_APART**2:
        message = (
            f"a credit would be paid {format_nanos(price_nanousd)} USD for, and is {format_nanos(listed)} on"
            f" the card {card.name!r}"
        )
        yield PlanDoubt(at, message, "correct one of them")
