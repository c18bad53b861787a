"""What pricing says of usage: its lines, each with an exact price and an exact cost.

Nothing here is rounded: a charge is rounded once, where it is made, to the card's quantum.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from math import gcd
from typing import NamedTuple

from pricing.cards.rate_card import Rounding
from pricing.costs.item_cost import CUSTOMER_KEY, Costs
from pricing.exact import NOTHING, Pair, subtract
from pricing.rating.compile import Rule
from pricing.rating.state import Effect, Measured, PoolPart, State
from pricing.usage.items import Compute, Item, Tokens
from pricing.usage.journal import facts_of, quantities_of


class Treatment(StrEnum):
    """How a line's usage is paid for."""

    __hash__ = str.__hash__  # that of enumerations is Python, and slow
    CHARGED = "CHARGED"
    INCLUDED = "INCLUDED"
    """Free on this line, knowingly: another rule (an outcome, say) pays for it."""
    UNPRICED = "UNPRICED"
    """It has no price: flagged, to be corrected later. 0 credits, but for what the plan takes instead."""


CHARGED, INCLUDED, UNPRICED = Treatment  # a member by way of its class takes 0.08 us to look up


class Line(NamedTuple):
    """One usage item, priced. Amounts are made fractions, and words, only when they are asked for."""

    item: Item
    kind: str
    """tokens, compute, units, outcome."""
    name: str
    """What was asked for."""
    treatment: Treatment
    price_micros: Pair
    costs: Costs
    rule: Rule | None
    """The rule that matched, priced or not."""
    unpriced_reason: str
    """no_rule, no_rate, no_cost, no_subject or run_full where it is unpriced; else empty.

    Never to be public."""
    effects: tuple[Effect, ...] = ()
    """What it added to the states of the past."""
    pool: PoolPart | None = None
    """If it may be paid from a pool; `price_micros` is then what it costs where nothing of that is left."""
    measured: Measured | None = None
    """How much it amounts to in the unit of the rule, if that measures."""
    fallback: str = ""
    """The rule whose price it has, though none of its own."""

    @property
    def exact_micros(self) -> Fraction:
        """The price in micro-credits."""
        return Fraction(*self.price_micros)

    @property
    def cost_exact_nanousd(self) -> Fraction:
        """The cost to post: of what was served; 0 on the customer's own key."""
        return Fraction(*self.costs.posted)

    @property
    def saved_nanousd(self) -> Pair:
        """What a lever saved: the cost of what was asked for less that of what was served, signed.

        0 where either is unknown. On the customer's own key the customer saved it, at list prices.
        """
        costs = self.costs
        if not costs.lever or costs.asked is None or costs.served is None:
            return NOTHING
        return subtract(costs.asked, costs.served)

    @property
    def own_key_nanousd(self) -> Pair:
        """What the customer paid the provider, on its own key: what was served, at list prices."""
        served = self.costs.served
        return NOTHING if served is None or self.costs.source != CUSTOMER_KEY else served

    @property
    def public(self) -> dict[str, object]:
        """What may leave by a public door, as JSON values: title, kind, name (as asked for), quantities.

        measured (unit, quantity) where the rule measures.

        An unpriced line has a title made of its name: that of a rule would tell that only a cost is missing.
        """
        rule, name = self.rule, self.name
        titled = rule is not None and self.treatment is not UNPRICED
        said: dict[str, object] = {
            "title": rule.title if titled and rule is not None else f"{self.kind}: {name}",
            "kind": self.kind,
            "name": name,
            "quantities": quantities_of(self.item),
        }
        if self.measured is not None:
            said["measured"] = self.measured.public
        return said

    @property
    def internal(self) -> dict[str, object]:
        """What never leaves by one, as JSON values.

        rule and price (as the card states it), name (as asked for), served_by, key_owner, lever, cost_source,
        unpriced_reason: empty where there is none. list_nanousd, asked_nanousd, served_nanousd: exact, an
        integer or `n/d`; None where it is unknown. usage, unless there is nothing to say: see `journal`.
        uncosted, true, where the cost that is posted is not known to be what the item costs. fallback,
        the rule that an item without a price is charged by, where one is.
        """
        item, costs, rule = self.item, self.costs, self.rule
        listed = _exact(costs.listed)
        asked = listed if costs.asked is costs.listed else _exact(costs.asked)
        said: dict[str, object] = {
            "rule": rule.name if rule is not None else "",
            "price": rule.price if rule is not None else "",
            "name": self.name,
            "served_by": (item.served_by or "") if isinstance(item, (Tokens, Compute)) else "",
            "key_owner": str(item.key_owner) if isinstance(item, Tokens) else "",
            "lever": costs.lever,
            "list_nanousd": listed,
            "asked_nanousd": asked,
            "served_nanousd": asked if costs.served is costs.asked else _exact(costs.served),
            "cost_source": costs.source,
            "unpriced_reason": self.unpriced_reason,
        }
        if facts := facts_of(item):
            said["usage"] = facts
        if not costs.known:
            said["uncosted"] = True
        if self.fallback:
            said["fallback"] = self.fallback
        return said


class Quote(NamedTuple):
    """The items' prices and costs, in their order, and the memory as they leave it."""

    lines: tuple[Line, ...]
    states: Mapping[str, State]
    """The states of the past that changed, as they are by now."""
    own_run: str | None
    """State of the reservation's own run; None if it has none."""
    has_outcome_rule: bool
    """The card prices outcomes: included usage waits for one."""
    outcome_charged: bool
    """One of the lines is an outcome that is charged for."""
    rounding: Rounding
    """The card's quantum and mode: nothing here is rounded by them yet."""

    @property
    def unpriced(self) -> tuple[int, ...]:
        """Indexes of the lines that could not be priced."""
        return tuple([n for n, line in enumerate(self.lines) if line.treatment is UNPRICED])

    @property
    def exact_micros(self) -> Fraction:
        """The sum of the lines."""
        sums: dict[int, int] = {}
        for line in self.lines:
            numerator, denominator = line.price_micros
            sums[denominator] = sums.get(denominator, 0) + numerator
        return sum((Fraction(numerator, denominator) for denominator, numerator in sums.items()), Fraction(0))


def _exact(amount: Pair | None) -> str | None:
    if amount is None:
        return None
    numerator, denominator = amount
    if denominator == 1:
        return str(numerator)
    common = gcd(numerator, denominator)
    whole = denominator == common
    return str(numerator // common) if whole else f"{numerator // common}/{denominator // common}"
