"""Terms: one version of a card and one of the cost book, compiled into what `price` works with.

Which rule prices an item is looked up by what rules can match on; the first such item is matched against the
rules in their order. Names and labels come from callers, so what is remembered is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pricing.card_document import MatchDoc
from pricing.cards import RateCard, Rounding
from pricing.costs import CostBook
from pricing.items import Compute, Item, KeyOwner, Tokens, Units
from pricing.selectors import matches
from pricing.tariffs import Tariff, compile_tariff

_MATCHES_KNOWN = 8192

Labels = tuple[str | None, ...]
"""Values of the labels that the card's rules ask for, in the card's order."""
_Facts = tuple[str, ...]
"""Kind, name, and the conditions of the kind, in the order of `MatchDoc.conditions_of_kind`."""


class Rule(NamedTuple):
    """A rule of a card, compiled."""

    match: MatchDoc
    title: str
    name: str
    price: str
    """As the card states it."""
    included: bool
    tariff: Tariff


class Terms:
    """What the customer's prices rest on. Immutable, but for what it remembers of matches."""

    def __init__(self, card: RateCard, costs: CostBook) -> None:
        self.card = card
        self.costs = costs
        self.label_names = tuple(sorted({label for rule in card.rules for label in rule.match.labels}))
        self._rules = tuple(
            Rule(
                match=rule.match,
                title=rule.public_title,
                name=rule.name,
                price=text,
                included=rule.price.included is True,
                tariff=compile_tariff(
                    rule.price, rule.match.kind, f"{card.name}/{rule.name}", card.credit_price_nanousd
                ),
            )
            for rule, text in zip(card.rules, card.price_texts, strict=True)
        )
        self._known: dict[tuple[_Facts, Labels], Rule | None] = {}

    @property
    def rounding(self) -> Rounding:
        """The card's quantum and mode."""
        return self.card.rounding

    @property
    def has_outcome_rule(self) -> bool:
        """The card prices outcomes: included usage waits for one."""
        return self.card.has_outcome_rule

    def labels(self, labels: Mapping[str, str]) -> Labels:
        """Return the labels that matter to the card."""
        return tuple(map(labels.get, self.label_names))

    def rule(self, item: Item, labels: Labels) -> Rule | None:
        """Return the first rule that matches an item; None if none does."""
        facts = _facts(item)
        key = (facts, labels)
        try:
            return self._known[key]
        except KeyError:
            found = next((rule for rule in self._rules if self._applies(rule.match, facts, labels)), None)
            if len(self._known) >= _MATCHES_KNOWN:
                self._known.clear()
            self._known[key] = found
            return found

    def _applies(self, match: MatchDoc, facts: _Facts, labels: Labels) -> bool:
        kind, name, *values = facts
        if match.kind != kind or not matches(match.names, name):
            return False
        conditions = match.conditions
        for condition, value in zip(match.conditions_of_kind, values, strict=True):
            if condition in conditions and not matches(conditions[condition], value):
                return False
        given = dict(zip(self.label_names, labels, strict=True))
        for label, patterns in match.labels.items():
            text = given[label]
            if text is None or not matches(patterns, text):
                return False
        return True


def compile_terms(card: RateCard, costs: CostBook) -> Terms:
    """Compile a card and a cost book to integer arithmetic."""
    return Terms(card, costs)


def _facts(item: Item) -> _Facts:
    if isinstance(item, Tokens):
        key_owner = "OURS" if item.key_owner is KeyOwner.OURS else "CUSTOMER"  # an enum's hash is slow
        return ("tokens", item.model, key_owner, item.service_tier)
    if isinstance(item, Compute):
        return ("compute", item.resource, item.state)
    if isinstance(item, Units):
        return ("units", item.meter)
    return ("outcome", item.name, str(item.result))
