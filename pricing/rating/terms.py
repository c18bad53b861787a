"""Terms: one version of a card and one of the cost book, compiled into what `price` works with.

What is matched once is remembered, by no more of an item than the card's rules look at; what is new is found
by an index of the names, so that a card may have hundreds of rules. Names and labels come from callers, so
what is remembered is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from operator import attrgetter
from typing import NamedTuple

from pricing.cards.card_document import MatchDoc, label_facet
from pricing.cards.patterns import Test, compile_patterns
from pricing.cards.price_document import KINDS
from pricing.cards.rate_card import RateCard, Rounding
from pricing.cards.rule_index import Finder
from pricing.costs.cost_book import CostBook
from pricing.exact import BILLION
from pricing.rating.compile import Rule, compile_rule
from pricing.rating.meters import Machines, Meter
from pricing.usage.items import Compute, Item

_MATCHES_KNOWN = 8192
"""Of a kind of usage."""
_NAME_OF_KIND = {"tokens": "model", "compute": "resource", "units": "meter", "outcome": "name"}
"""The field of an item that a rule's names are matched against; conditions are named as their fields,
but for what served it, which an item need not say."""

Labels = tuple[str | None, ...]
"""Values of the labels that the card's rules ask for, in the card's order."""


class Terms:
    """What the customer's prices rest on. Immutable, but for what it remembers of matches."""

    def __init__(self, card: RateCard, costs: CostBook) -> None:
        self.card = card
        self.costs = costs
        self.rounding: Rounding = card.rounding
        """The card's quantum and mode."""
        self.has_outcome_rule = card.has_outcome_rule
        """The card prices outcomes: included usage waits for one."""
        self._label_names = tuple(sorted({label for rule in card.rules for label in rule.match.labels}))
        machines = Machines({}, self._meters)
        compiled = zip(card.rules, _compile(card, machines), strict=True)
        rules = [(rule.match, made) for rule, made in compiled]
        machines.by_key.update((meter.key, meter) for _, rule in rules for meter in rule.meters)
        self.rules = {
            kind: Rules(
                _NAME_OF_KIND[kind], self._label_names, [rule for rule in rules if rule[0].kind == kind]
            )
            for kind in KINDS
        }
        """Of each kind of usage."""
        by_name = {rule.name: rule for _, rule in rules}
        self.fallbacks = {kind: by_name[name] for kind, name in card.fallback.items()}
        """By kind of usage, what charges items that have no price where the customer's plan says so."""
        self.remembers = any(of_kind.remember for of_kind in self.rules.values())
        """The price of some usage needs to know of the past."""
        self.multiplier_nanos = BILLION
        """What the customer's prices are multiplied by, in billionths."""

    def _meters(self, item: Compute, labels: Labels) -> Sequence[Meter]:
        rule = self.rules["compute"].first(item, labels)
        return () if rule is None else rule.meters

    def multiplied(self, multiplier_nanos: int) -> Terms:
        """The terms for a customer with a multiplier of its own; what is compiled is shared."""
        terms = copy(self)
        terms.multiplier_nanos = multiplier_nanos
        return terms

    def labels(self, labels: Mapping[str, str]) -> Labels:
        """The labels that matter to the card."""
        return tuple(map(labels.get, self._label_names)) if self._label_names else ()


def compile_terms(card: RateCard, costs: CostBook) -> Terms:
    """Compiles a card and a cost book to integer arithmetic."""
    return Terms(card, costs)


def _compile(card: RateCard, machines: Machines) -> Iterator[Rule]:
    stated = (rule.price.allowance for rule in card.rules)
    allowances = {allowance.of: allowance for allowance in stated if allowance is not None}
    for rule, text in zip(card.rules, card.price_texts, strict=True):
        yield compile_rule(rule, text, card.name, allowances, card.credit_price_nanousd, machines)


class Rules:
    """The rules for one kind of usage, in the order of the card."""

    __slots__ = (
        "_cases",
        "_conditions",
        "_facts",
        "_finder",
        "_known",
        "_label_facets",
        "_looks_at_labels",
        "name_of",
        "remember",
    )

    def __init__(
        self, name: str, label_names: tuple[str, ...], rules: Sequence[tuple[MatchDoc, Rule]]
    ) -> None:
        matches = [match for match, _ in rules]
        conditions = dict.fromkeys(condition for match in matches for condition in match.conditions)
        self.name_of = attrgetter(name)
        """What tells the name of an item."""
        self._conditions = [(condition, _field(condition)) for condition in conditions]
        self._label_facets = tuple(map(label_facet, label_names))
        self._facts = attrgetter(name, *map(_field, conditions))
        self._looks_at_labels = any(match.labels for match in matches)
        self._cases = [_Case.of(match, rule, label_names) for match, rule in rules]
        self.remember = any(rule.keys is not None for _, rule in rules)
        """The price of some usage of the kind needs to know of the past."""
        self._finder = Finder([(match.names, match.facets) for match in matches])
        self._known: dict[object, Rule | None] = {}

    def first(self, item: Item, labels: Labels) -> Rule | None:
        """The first rule that matches an item; None if none does."""
        facts = self._facts(item)
        key = (facts, labels) if self._looks_at_labels else facts
        try:
            return self._known[key]
        except KeyError:
            found = self._find(item, labels)
            if len(self._known) >= _MATCHES_KNOWN:
                self._known.clear()
            self._known[key] = found
            return found

    def _find(self, item: Item, labels: Labels) -> Rule | None:
        values = {facet: getattr(item, field) for facet, field in self._conditions}
        values.update(zip(self._label_facets, labels, strict=True))
        for number in self._finder.candidates(self.name_of(item), values.get):
            case = self._cases[number]
            if case.holds(item, labels):
                return case.rule
        return None


def _field(condition: str) -> str:
    return "ran" if condition == "served_by" else condition


class _Case(NamedTuple):
    """When a rule takes an item whose name it matches: all conditions have to hold."""

    rule: Rule
    conditions: tuple[tuple[str, Test], ...]
    """Fields of the item."""
    labels: tuple[tuple[int, Test], ...]
    """Positions in `Labels`."""

    @classmethod
    def of(cls, match: MatchDoc, rule: Rule, label_names: tuple[str, ...]) -> _Case:
        return cls(
            rule,
            tuple((_field(name), compile_patterns(patterns)) for name, patterns in match.conditions.items()),
            tuple(
                (label_names.index(name), compile_patterns(patterns))
                for name, patterns in match.labels.items()
            ),
        )

    def holds(self, item: Item, labels: Labels) -> bool:
        for field, test in self.conditions:
            if not test(getattr(item, field)):
                return False
        for position, test in self.labels:
            value = labels[position]
            if value is None or not test(value):
                return False
        return True
