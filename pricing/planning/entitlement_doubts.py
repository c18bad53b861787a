"""What entitlements say that has no effect: names and globs of which a card prices nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pricing.cards.card_document import RuleDoc
from pricing.cards.entitlements import EntitlementsDoc
from pricing.cards.patterns import meet
from pricing.documents.yaml_reader import Loc

_JUDGED_MAX = 100_000
"""Comparisons of a pattern with a pattern: a second's work."""


class EntitlementDoubt(NamedTuple):
    """A name or a glob without effect."""

    at: Loc
    """Below the section."""
    message: str
    hint: str = "correct it, or leave it out"


def doubts_of_entitlements(stated: EntitlementsDoc, rules: Sequence[RuleDoc]) -> Iterator[EntitlementDoubt]:
    """Yields what is most likely misspelt: it meets no rule of its kind."""
    names: dict[str, dict[str, None]] = {}
    for rule in rules:
        names.setdefault(rule.match.kind, {}).update(dict.fromkeys(rule.match.names))
    left = _JUDGED_MAX
    for at, kind, pattern in stated.places():
        priced = names.get(kind, {})
        left -= len(priced)
        if left < 0:
            return
        if pattern not in priced and not any(meet(pattern, name) for name in priced):
            yield EntitlementDoubt(at, f"the card prices no {kind} of {pattern!r}")
