"""The directory of prices: `costs.yaml` and `cards/*.yaml`, read whole, or refused with all that is wrong."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path

from pricing.cards.card_document import CardDoc, MatchDoc, RuleDoc
from pricing.cards.patterns import Index, is_glob, matches
from pricing.cards.rate_card import RateCard, read_card
from pricing.cards.rule_index import Finder
from pricing.costs.cost_book import CostBook, RateCost, read_costs
from pricing.documents.validate import ConfigError, Located, Problem, read_text
from pricing.documents.yaml_reader import Loc
from pricing.planning.doubts import doubts_of_card, doubts_of_costs
from pricing.usage.items import KeyOwner, Result

_ALL_VALUES: Mapping[str, tuple[str, ...]] = {"key_owner": tuple(KeyOwner), "result": tuple(Result)}
"""What a rule stands for that does not state a condition, where that is few values and not any text."""


_NAMES_SHOWN = 20
"""Of what the cost book knows."""


@dataclass(frozen=True, slots=True)
class Config:
    """What is priced by: one cost book, and the cards by their names."""

    costs: CostBook
    cards: Mapping[str, RateCard]
    files: Mapping[str, str]
    """Of the cards, by their names, and of the cost book under the empty one."""
    costs_text: str
    """The text of the cost book's file."""

    def doubts(self, now: datetime) -> list[Problem]:
        """What is likely to be a mistake in the files, though they can be published."""
        found = doubts_of_costs(self.costs_text, self.costs, self.files[""])
        for name, card in self.cards.items():
            found += doubts_of_card(card.document, self.costs, self.files[name], now)
        return sorted(found)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps the collector away: all that is read stays, and looking through it takes as long as reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def load(directory: Path) -> Config:
    """Reads the cost book and all cards of a directory.

    Raises ConfigError with every problem of every file: what a file says by itself, names that two cards
    share, rules that can never match, and rules for what the cost book does not know.
    """
    problems: list[Problem] = []
    costs: CostBook | None = None
    costs_text = ""
    try:
        costs, costs_text = read_costs(directory / "costs.yaml")
    except ConfigError as error:
        problems += error.problems
    cards: list[Located[CardDoc]] = []
    for path in _card_files(directory, problems):
        try:
            cards.append(read_card(path))
        except ConfigError as error:
            problems += error.problems
    problems += _shared_names(cards)
    for card in cards:
        problems += _shadowed(card)
        problems += _unknown(card, costs) if costs else ()
    if problems or costs is None:
        raise ConfigError(sorted(problems, key=lambda problem: problem[:3]))
    files = {card.model.card: card.places.file for card in cards}
    files[""] = str(directory / "costs.yaml")
    return Config(costs, {card.model.card: RateCard(card) for card in cards}, files, costs_text)


@_uncollected()
def read_card_for(text: str, costs: CostBook, file: str = "<rate card>") -> RateCard:
    """Reads the text of one card that is to be priced by a cost book; `file` names it in problems.

    Raises ConfigError with every problem: those of the text by itself, rules that can never match, and rules
    for what the cost book does not know.
    """
    card = read_text(text, CardDoc, file)
    problems = [*_shadowed(card), *_unknown(card, costs)]
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem[:3]))
    return RateCard(card)


def unknown_to(costs: CostBook, card: RateCard, file: str) -> list[Problem]:
    """What a card has rules for and a cost book does not know; `file` names the card."""
    return list(_unknown(read_text(card.document, CardDoc, file), costs))


def _card_files(directory: Path, problems: list[Problem]) -> Sequence[Path]:
    folder = directory / "cards"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    problems += [
        Problem(str(path), 0, 0, "would not be read", "name it .yaml")
        for path in files
        if path.suffix == ".yml"
    ]
    cards = [path for path in files if path.suffix == ".yaml" and not path.name.startswith(".")]
    if not cards:
        problems.append(
            Problem(str(folder), 0, 0, "holds no rate card", "add a file such as cards/basic.yaml")
        )
    return cards


def _shared_names(cards: Sequence[Located[CardDoc]]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for card in cards:
        name = card.model.card
        if name in first:
            hint = f"give it a name of its own: {first[name]} has this one"
            yield card.places.problem(("card",), f"two cards are named {name!r}", hint)
        first.setdefault(name, card.places.file)


def _unknown(card: Located[CardDoc], costs: CostBook) -> Iterator[Problem]:
    known = {"compute": costs.resources, "units": costs.units}
    found = {kind: _known_by_pattern(card.model.rules, kind, names) for kind, names in known.items()}
    for index, rule in enumerate(card.model.rules):
        kind = rule.match.kind
        for pattern in rule.match.names if kind in known else ():
            loc = ("rules", index, "match", kind)
            names = found[kind][pattern]
            if not names:
                yield _unknown_name(card, loc, pattern, known[kind])
            elif _follows_nothing(rule, [known[kind][name] for name in names]):
                message = f"{rule.price.scheme} on {pattern!r}, which costs nothing, would charge nothing"
                hint = "write included: true if that is meant"
                yield card.places.problem(("rules", index, "price"), message, hint)


def _known_by_pattern(rules: Iterable[RuleDoc], kind: str, known: Iterable[str]) -> Mapping[str, list[str]]:
    """Of the names that the cost book knows, those that each pattern of the rules matches."""
    found: dict[str, list[str]] = {
        pattern: [] for rule in rules if rule.match.kind == kind for pattern in rule.match.names
    }
    patterns = Index(found.items())
    for name in known:
        for names in patterns.find(name):
            names.append(name)
    return found


def _unknown_name(card: Located[CardDoc], loc: Loc, pattern: str, known: Iterable[str]) -> Problem:
    kind, names = loc[-1], sorted(known)
    what, example = ("resource", 'per_hour: "2.49"') if kind == "compute" else ("unit", 'each: "0.01"')
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    hint = f"it knows {', '.join(names[:_NAMES_SHOWN]) or 'none'}{more}"
    if not is_glob(pattern):
        hint += f"; add to costs.yaml {kind}: {{{pattern}: {{{example}}}}}, or {{cost: none}}"
    return card.places.problem(loc, f"the cost book knows no {what} {pattern!r}", hint)


def _follows_nothing(rule: RuleDoc, costs: Sequence[RateCost]) -> bool:
    following = rule.price.cost_plus is not None or rule.price.fee_on_cost is not None
    return following and all(cost.numerator == 0 for cost in costs)


def _shadowed(card: Located[CardDoc]) -> Iterator[Problem]:
    """The rules all of whose cases an earlier rule takes, but for those that are named to fall back on."""
    rules = card.model.rules
    finder = Finder([(_named(rule.match, rule.match.names), rule.match.facets) for rule in rules])
    for index, rule in enumerate(rules):
        if rule.name in card.model.fallback.values():
            continue
        takers = []
        for case in _cases(rule.match):
            taker = _taker(rules, index, case, finder)
            if taker is None:
                break
            takers.append(taker.name)
        else:
            names = ", ".join(repr(name) for name in dict.fromkeys(takers))
            message = f"the rule {rule.name!r} can never match: {names} above it takes all that it would"
            yield card.places.problem(("rules", index), message, "move it up, or leave it out")


def _taker(rules: Sequence[RuleDoc], index: int, case: _Case, finder: Finder) -> RuleDoc | None:
    """The first rule above one that takes a case of it."""
    match = rules[index].match
    values = {**case, **{facet: patterns[0] for facet, patterns in match.facets.items() if facet not in case}}
    [name] = _named(match, [case[""]])
    for number in finder.candidates(name, values.get):
        if number >= index:
            return None
        if _takes(rules[number].match, match, case):
            return rules[number]
    return None


def _named(match: MatchDoc, names: Iterable[str]) -> list[str]:
    """Names, or patterns of them, that tell the kind of usage too."""
    return [f"{match.kind} {name}" for name in names]


_Case = Mapping[str, str]


def _cases(match: MatchDoc) -> Iterator[_Case]:
    """Splits a rule by its lists: each case has one name, and one value for each condition."""
    alternatives: dict[str, tuple[str, ...]] = {"": match.names}
    for condition in match.conditions_of_kind:
        alternatives[condition] = match.conditions.get(condition) or _ALL_VALUES.get(condition, ("*",))
    for values in product(*alternatives.values()):
        yield dict(zip(alternatives, values, strict=True))


def _takes(earlier: MatchDoc, later: MatchDoc, case: _Case) -> bool:
    if earlier.kind != later.kind or not matches(earlier.names, case[""]):
        return False
    for condition, patterns in earlier.conditions.items():
        if not matches(patterns, case[condition]):
            return False
    return all(
        label in later.labels and all(matches(patterns, pattern) for pattern in later.labels[label])
        for label, patterns in earlier.labels.items()
    )
