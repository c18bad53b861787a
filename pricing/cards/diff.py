"""What one version of a document changes against another: of a card or of a cost book, rate by rate.

Rules are the same if they have the same name. What is compared is what the documents state, number by number:
"1.50" is "1.5", and a revision is no price.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from pricing.cards.card_document import CardDoc
from pricing.cards.rate_card import RateCard
from pricing.costs.cost_book import CostBook
from pricing.documents.validate import read_text

Path = tuple[str, ...]
"""Keys that lead to a value."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_NO_PRICES = ("card", "revision", "rules")
_PERCENT_PLACES = Decimal("0.000001")


class DifferenceKind(StrEnum):
    """What is different."""

    RULE_ADDED = "RULE_ADDED"
    RULE_REMOVED = "RULE_REMOVED"
    RULE_MOVED = "RULE_MOVED"
    """`before` and `after` are its places, from 1."""
    VALUE = "VALUE"


class Difference(NamedTuple):
    """One thing that is different."""

    kind: DifferenceKind
    rule: str
    """Empty for what stands outside of rules."""
    path: Path
    """To a value, from its rule or from the document."""
    before: str
    """Empty: it was not there."""
    after: str
    """Empty: it is not there any more."""

    @property
    def change_percent(self) -> str:
        """(after - before) / before as "+12.5", to 6 decimals, half even; empty where one is no number."""
        if self.kind is not DifferenceKind.VALUE:
            return ""
        if not _NUMBER.fullmatch(self.before) or not _NUMBER.fullmatch(self.after):
            return ""
        before = Fraction(self.before)
        return _percent((Fraction(self.after) - before) / before) if before else ""


def differing_cards(before: RateCard | None, after: RateCard) -> tuple[Difference, ...]:
    """What a card changes: its head, then its rules in their order. None: everything is new."""
    old, new = (_plain(card) for card in (before, after))
    old_rules, new_rules = ({rule["name"]: rule for rule in card.get("rules", ())} for card in (old, new))
    return (
        *_values("", _head(old), _head(new)),
        *_removed(old_rules, new_rules),
        *_moved(list(old_rules), list(new_rules)),
        *_changed(old_rules, new_rules),
    )


def differing_costs(before: CostBook | None, after: CostBook) -> tuple[Difference, ...]:
    """What a cost book changes, the catalog's prices last. None: everything is new."""
    old, new = (
        json.loads(book.document) if book else {"costs": {}, "catalog": None} for book in (before, after)
    )
    return (
        *_values("", _head(old["costs"]), _head(new["costs"])),
        *_values("", {"catalog": _models(old["catalog"])}, {"catalog": _models(new["catalog"])}),
    )


def differing_sections(
    before: Mapping[str, Any], after: Mapping[str, Any], key: str
) -> tuple[Difference, ...]:
    """What the plain values of another document change: `key` holds its sections, compared as rules are."""
    old, new = before.get(key, {}), after.get(key, {})
    head = [{name: value for name, value in _head(plain).items() if name != key} for plain in (before, after)]
    return (*_values("", *head), *_removed(old, new), *_changed(old, new))


def _plain(card: RateCard | None) -> Mapping[str, Any]:
    if card is None:
        return {}
    plain: Mapping[str, Any] = read_text(card.document, CardDoc, card.name).plain
    return plain


def _head(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in plain.items() if key not in _NO_PRICES}


def _models(catalog: Any) -> Mapping[str, Any]:
    """The catalog's prices by provider, and by the clause that a model's name has to meet."""
    providers = catalog["providers"] if catalog else ()
    return {
        provider["id"]: {json.dumps(match): rest for match, *rest in provider["models"]}
        for provider in providers
    }


def _removed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name, rule in old.items():
        if name not in new:
            yield Difference(DifferenceKind.RULE_REMOVED, name, (), _said(rule), "")


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name, rule in new.items():
        if name in old:
            yield from _values(name, old[name], rule)
        else:
            yield Difference(DifferenceKind.RULE_ADDED, name, (), "", _said(rule))


def _said(rule: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in rule.items() if key != "name"}, ensure_ascii=False)


def _moved(old: Sequence[str], new: Sequence[str]) -> Iterator[Difference]:
    """The fewest rules that, put elsewhere, make the old order of the common ones the new one."""
    places = {name: place for place, name in enumerate(old)}
    common = [name for name in new if name in places]
    staying = _longest_rising([places[name] for name in common])
    for place, name in enumerate(new):
        if name in places and places[name] not in staying:
            yield Difference(DifferenceKind.RULE_MOVED, name, (), str(places[name] + 1), str(place + 1))


def _longest_rising(numbers: Sequence[int]) -> frozenset[int]:
    """A longest part of distinct numbers that rises (patience sorting)."""
    tops: list[int] = []
    below: dict[int, int | None] = {}
    for number in numbers:
        pile = bisect_left(tops, number)
        below[number] = tops[pile - 1] if pile else None
        tops[pile : pile + 1] = [number]
    found: list[int] = []
    last = tops[-1] if tops else None
    while last is not None:
        found.append(last)
        last = below[last]
    return frozenset(found)


def _values(rule: str, old: Any, new: Any) -> Iterator[Difference]:
    before, after = dict(_leaves(old, ())), dict(_leaves(new, ()))
    for path in {**before, **after}:
        was, is_ = before.get(path, ""), after.get(path, "")
        if not _same(was, is_):
            yield Difference(DifferenceKind.VALUE, rule, path, was, is_)


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The values of a document as text; a list of plain values is one."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, (*path, key))
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for index, part in enumerate(value):
            yield from _leaves(part, (*path, str(index + 1)))
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    else:
        yield path, _text(value)


def _text(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _same(was: str, is_: str) -> bool:
    if was == is_:
        return True
    numbers = _NUMBER.fullmatch(was) and _NUMBER.fullmatch(is_)
    return bool(numbers) and Fraction(was) == Fraction(is_)


def _percent(ratio: Fraction) -> str:
    scaled = ratio * 100
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(scaled.numerator) / Decimal(scaled.denominator)
        shown = exact.quantize(_PERCENT_PLACES, ROUND_HALF_EVEN)
    text = f"{shown:+f}".rstrip("0").rstrip(".")
    return text if shown else "+0"
