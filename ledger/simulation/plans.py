"""What plans change of past charges, which is their card and what has no price; and what they change else."""

from __future__ import annotations

from collections.abc import Mapping

from ledger.books.model.plans import Unpriced
from ledger.prices.plan_overrides import overridden
from ledger.prices.plans import PlanBook
from ledger.simulation.side import BookedCharge


def card_under(before: PlanBook, after: PlanBook, booked: BookedCharge) -> str:
    """The card by which other plans would have an entry charged.

    It is the plan's where they change it; else, and of a customer who has a card of its own, it stays.
    """
    plan = after.plans.get(booked.plan)
    if booked.own_card is not None or plan is None or plan.card is None:
        return booked.card
    stated = before.plans.get(booked.plan)
    return booked.card if stated is not None and stated.card == plan.card else plan.card


def unpriced_under(before: PlanBook, after: PlanBook, booked: BookedCharge) -> Unpriced:
    """What other plans, or the customer's own field, have what has no price cost.

    A plan that they do not have stays as it is. Of one that neither has, it costs what it took of its hold.
    """
    plan = after.plans.get(booked.plan) or before.plans.get(booked.plan)
    if plan is None:
        return Unpriced.CHARGE_HOLD
    return (overridden(plan, booked.plan_overrides) if booked.plan_overrides else plan).unpriced


def not_simulated(before: PlanBook, after: PlanBook) -> Mapping[str, list[str]]:
    """What other plans change and no figure shows: by the field, the plans; of plans that are gone under ''.

    Most of it depends on what customers had at the time. Of the card and of what has no price it is a card
    that is gone, and a hold that nobody charged.
    """
    found: dict[str, list[str]] = {}
    for name, field in before.changed_by(after):
        if not _is_simulated(after, name, field):
            found.setdefault(field, []).append(name)
    return {field: sorted(names) for field, names in sorted(found.items())}


def _is_simulated(after: PlanBook, name: str, field: str) -> bool:
    match field:
        case "card":
            return after.plans[name].card is not None
        case "unpriced":
            return after.plans[name].unpriced is not Unpriced.CHARGE_HOLD
        case _:
            return False
