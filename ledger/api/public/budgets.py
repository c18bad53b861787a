"""What a customer's budgets are, and what they have counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ledger.api.errors import StatusError, refusal_status
from ledger.api.messages import encode
from ledger.books.budgets import CounterPlace, place_of, places_of_new
from ledger.books.model.budgets import Budget, BudgetCounter
from ledger.books.model.plans import Plan
from ledger.books.refusals import overrides_unreadable
from ledger.prices.price_book import PriceBook
from ledger.store.reading.reads import Reads
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet


async def answer(
    prices: PriceBook, reads: Reads, customer_id: str, labels: Mapping[str, str], now: datetime
) -> wallet.GetBudgetsResponse:
    """The budgets of the customer's plan, with their counts where the labels say whose these are."""
    shown: list[tuple[Budget, CounterPlace | None]] = []

    def places(plan: str, overrides: str | None, zone: str, at: datetime) -> Sequence[CounterPlace]:
        stated = prices.plan_for(plan, overrides, now)
        if stated is not None and stated.unreadable:
            raise StatusError(refusal_status(overrides_unreadable(stated.unreadable)))
        for budget in stated.budgets if stated is not None else ():
            is_known = all(label in labels for label in budget.by)
            shown.append((budget, place_of(budget, labels, at, zone) if is_known else None))
        return [place for _, place in shown if place is not None]

    counts = await reads.budget_counts(customer_id, places)
    response = wallet.GetBudgetsResponse(as_of=encode.timestamp(counts.as_of))
    for budget, place in shown:
        put_budget(response.budgets.add(), budget, counts.counters[place.key] if place is not None else None)
    return response


async def counters_of(
    reads: Reads, customer_id: str, policies: Plan | None, labels: Mapping[str, str]
) -> tuple[BudgetCounter, ...]:
    """What a reserve with these labels would count in; no look at the database where the plan has none."""
    stated = policies.budgets if policies is not None else ()
    if not stated:
        return ()
    counts = await reads.budget_counts(
        customer_id, lambda _, __, zone, at: places_of_new(stated, labels, at, zone)
    )
    return tuple(counts.counters.values())


def put_budget(into: pb.Budget, budget: Budget, counter: BudgetCounter | None) -> None:
    """Writes a budget, and what one of its counters has counted, if it is known which is meant."""
    into.name = budget.name
    into.limit_micros = budget.limit_micros
    into.window = pb.BudgetWindow.Value(f"BUDGET_WINDOW_{budget.window}")
    into.by.extend(budget.by)
    into.where.update(budget.where)
    into.at_limit = pb.BudgetAtLimit.Value(f"BUDGET_AT_LIMIT_{budget.at_limit}")
    into.notify_percents.extend(budget.notify_percents)
    if counter is not None:
        into.used_micros = counter.used_micros
        into.left_micros = counter.left_micros
        ends_at = encode.timestamp(counter.ends_at)
        if ends_at is not None:
            into.window_ends_at.CopyFrom(ends_at)
