"""Whether a customer's plan, its own fields of that, and its card go together, and price usage."""

from __future__ import annotations

from datetime import datetime

import pricing
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.errors import StatusError, refusal_status, refused, some_of
from ledger.api.messages import encode
from ledger.api.messages.validation import InvalidArgumentError
from ledger.books.model.plans import Unpriced
from ledger.books.model.refusals import RefusalReason
from ledger.books.refusals import overrides_unreadable
from ledger.prices.plan_overrides import (
    doubts_of_overrides,
    overridden,
    refuse_overrides,
    unreadable_fields,
)
from ledger.prices.price_book import PriceBook


def require_prices(prices: PriceBook, now: datetime, plan: str, card: str, overrides: str) -> None:
    """A customer's plan exists and goes with its own fields, and there is a card to price usage by.

    Raises StatusError and InvalidArgumentError.
    """
    plans = prices.plans(now)
    if plan not in plans:
        raise refused(RefusalReason.PLAN_NOT_FOUND, plan=plan, allowed=some_of(plans))
    unreadable = unreadable_fields(overrides) if overrides else ()
    if unreadable:
        raise StatusError(refusal_status(overrides_unreadable(unreadable)))
    if overrides:
        try:
            refuse_overrides(prices.plan_book(now), plan, overrides)
        except pricing.ConfigError as error:
            wrong = [("customer.plan_overrides", str(problem)) for problem in error.problems]
            raise InvalidArgumentError(wrong) from error
    cards = prices.cards(now)
    if card and card not in cards:
        raise refused(RefusalReason.RATE_CARD_NOT_FOUND, rate_card=card, allowed=some_of(cards))
    priced_by = prices.card_for(plans[plan], card or None, now)
    if priced_by is None:
        allowed = some_of(cards)
        description = f"is required, as plan {plan} has no card in force; one of {allowed} is allowed"
        raise InvalidArgumentError([("customer.rate_card", description)])
    policies = overridden(plans[plan], overrides) if overrides else plans[plan]
    if policies.unpriced is Unpriced.FALLBACK and not priced_by.content.fallback:
        name = priced_by.version.name
        description = (
            f"is {name}, which names no rule to fall back on, as plan {plan} asks: write"
            " fallback: {tokens: <name of a rule>} in the card, or choose another card or plan"
        )
        raise InvalidArgumentError([("customer.rate_card", description)])


def warnings_of(prices: PriceBook, now: datetime, customer: pb.Customer) -> list[pb.RateProblem]:
    """What of own fields is likely a mistake; nothing where they, or the plan, are not known."""
    own = customer.plan_overrides
    plans = prices.plan_book(now)
    plan = plans.plans.get(customer.plan)
    if not own or plan is None or unreadable_fields(own):
        return []
    priced_by = prices.card_for(plan, customer.rate_card or None, now)
    card = priced_by.content if priced_by is not None else None
    return [encode.problem(each) for each in doubts_of_overrides(plans, customer.plan, own, card)]
