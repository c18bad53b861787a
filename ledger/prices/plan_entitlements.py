"""The section `entitlements` of a plan: what its customers may begin, within what their card lets them.

plans:
  starter: {card: agents, entitlements: {allow: {tokens: ["anthropic/claude-haiku-*"]}, deny: {compute: "*"}}}
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import pricing
from ledger.books import refusals
from ledger.books.model.plans import Plan, PlanEntitlements
from ledger.books.model.refusals import Refusal

_COMPILED_MAX = 1_024
"""Sections in use at a time: one a plan, and one for each customer who has its own."""


def entitlements_of(stated: pricing.EntitlementsDoc | None) -> PlanEntitlements | None:
    """A plan's section as its plan carries it."""
    return None if stated is None else PlanEntitlements(stated.allowed, stated.denied)


def denied_items(plan: Plan, card: pricing.RateCard, items: Iterable[pricing.Item]) -> dict[int, Refusal]:
    """The items that may not be begun, by their indexes: what a card denies its plans cannot allow."""
    of_plan = _compiled(plan.entitlements) if plan.entitlements is not None else None
    found: dict[int, Refusal] = {}
    for whose, stated in (("rate_card", card.entitlements), ("plan", of_plan)):
        for denied in stated.denied(items) if stated is not None else ():
            refusal = refusals.not_entitled(
                denied.item, denied.kind, denied.name, f"{whose}.{denied.of_list}"
            )
            found.setdefault(denied.item, refusal)
    return found


def refuse_denied(plan: Plan, card: pricing.RateCard, items: Iterable[pricing.Item]) -> Refusal | None:
    """Refuses usage of which an item may not be begun: for the first of these."""
    if plan.entitlements is None and card.entitlements is None:
        return None
    found = denied_items(plan, card, items)
    return found[min(found)] if found else None


@lru_cache(_COMPILED_MAX)
def _compiled(stated: PlanEntitlements) -> pricing.Entitlements:
    return pricing.Entitlements(stated.allow, stated.deny)
