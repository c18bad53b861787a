"""What a customer may begin, and what it would cost: quotes and checks. Nothing is written or held."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pricing
from ledger.api.errors import StatusError, refusal_status
from ledger.api.messages import encode
from ledger.api.messages.decode import Foreseen
from ledger.api.public.budgets import put_budget
from ledger.books.foresight import foresee_refusal
from ledger.books.model.budgets import BudgetCounter
from ledger.books.model.priced import Priced, Rounding
from ledger.books.model.refusals import Refusal
from ledger.books.refusals import do_not_verify, price_too_large
from ledger.books.rounding import MAX_AMOUNT, apportion, over_one, round_ratio
from ledger.prices.plan_entitlements import denied_items
from ledger.prices.price_book import Ground, PriceBook, estimated_of
from ledger.store.reading.reads import Spendable
from ledger.turns import Turns
from ledger.v1 import credit_service_pb2 as pb


def shares_micros(card: pricing.RateCard, lines: Sequence[pricing.Line]) -> tuple[int, ...]:
    """Each line's share of their rounded price. Raises StatusError for one that no wallet can hold."""
    weights, denominator = over_one([line.price_micros for line in lines])
    priced = round_ratio((sum(weights), denominator), Rounding(*card.rounding))
    if priced > MAX_AMOUNT:
        raise StatusError(refusal_status(price_too_large("usage")))
    return apportion(priced, weights)


async def checked(
    prices: PriceBook,
    spendable: Spendable,
    asked: Foreseen,
    counters: tuple[BudgetCounter, ...],
    now: datetime,
) -> pb.CheckResponse:
    """What a reserve of what is asked about would meet now.

    Raises StatusError where the customer's plan or card is not there, and for a price beyond any wallet.
    """
    ground = prices.ground_of(
        spendable.plan, spendable.plan_overrides, spendable.card, spendable.multiplier_nanos, now
    )
    if isinstance(ground, Refusal):
        raise StatusError(refusal_status(ground))
    response = pb.CheckResponse(rate_card=ground.card.name, as_of=encode.timestamp(spendable.as_of))
    encode.balance(response.balance, spendable.credits)
    for counter in counters:
        if counter.budget is not None:
            put_budget(response.budgets.add(), counter.budget, counter)
    denied: dict[int, Refusal] = {}
    priced: Priced | None = None
    if asked.usage is None:
        response.credits_micros = asked.amount_micros or 0
    else:
        quote = prices.estimate(asked.usage, asked.labels, ground.terms, now)
        priced, denied = estimated_of(quote), denied_items(ground.plan, ground.card, asked.usage)
        await _put_items(response, ground, quote, denied)
    if spendable.finding is not None:
        refusal: Refusal | None = do_not_verify(spendable.finding)
    elif denied:
        refusal = denied[min(denied)]
    else:
        refusal = foresee_refusal(
            spendable.free_micros,
            asked.amount_micros,
            labels=asked.labels,
            now=now,
            plan=ground.plan,
            priced=priced,
            terms=ground.terms,
            counters=counters,
        )
    response.allowed = refusal is None
    if refusal is not None:
        response.refusal.CopyFrom(refusal_status(refusal))
    return response


async def _put_items(
    response: pb.CheckResponse, ground: Ground, quote: pricing.Quote, denied: dict[int, Refusal]
) -> None:
    """Adds each item with its price, their sum where all have one, and the prices of a unit once a rule."""
    shares, turns = shares_micros(ground.card, quote.lines), Turns()
    if not quote.unpriced:
        response.credits_micros = sum(shares)
    indexes: dict[str, int] = {}
    for n, (line, share) in enumerate(zip(quote.lines, shares, strict=True)):
        item = response.items.add()
        encode.checked(item, line, share)
        if n in denied:
            item.denied_by = denied[n].detail["list"]
        rule = None if line.treatment is pricing.Treatment.UNPRICED else line.rule
        if rule is not None:
            item.prices_index = indexes.setdefault(rule.name, len(indexes))
            if item.prices_index == len(response.prices):
                listed = ground.card.listed(rule.name)
                encode.unit_prices(response.prices.add(), listed, ground.terms.multiplier_nanos)
        await turns.after(1)
