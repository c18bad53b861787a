"""Which prices a customer has now, and what usage amounts to under them.

The one place where pricing's words become the books' own: a quote turns into `Priced`. New work is
priced by what is published; a reservation's pinned version is found again by its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from functools import cache
from math import trunc
from typing import NamedTuple

import pricing
from ledger.books import MAX_AMOUNT, refusals
from ledger.books.making import make
from ledger.books.model.amounts import NO_AMOUNT, ZERO
from ledger.books.model.decisions import Facts
from ledger.books.model.plans import Plan, Unpriced
from ledger.books.model.priced import (
    STATELESS,
    Effect,
    PoolPart,
    Priced,
    PricedLine,
    Rounding,
    State,
    Treatment,
)
from ledger.books.model.priced import Terms as PinnedTerms
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.prices.limits import PRICE_LIMITS
from ledger.prices.plan_overrides import overridden, unreadable_fields
from ledger.prices.plans import BUILT_IN, PlanBook
from ledger.prices.reading import in_reader
from ledger.prices.versions import InForce, Published
from ledger.store.postgres.database import Database

_NOTHING: Mapping[str, object] = {}
_NO_PAST = pricing.Memory()
_NO_TEXTS: Mapping[str, str] = {}
_TREATMENTS = {treatment: Treatment(treatment) for treatment in pricing.Treatment}
"""Pricing's words to the books' own: looked up, for to make a member of an enumeration takes 0.5 us."""

_WHOLE = 10**18
"""What the weights of a line's effects add up to: as fine as 64 bits hold."""


class Ground(NamedTuple):
    """What a customer's new work rests on."""

    plan: Plan
    card: pricing.RateCard
    terms: PinnedTerms


class PriceBook:
    """What is published: cards, costs, and the plans that name cards."""

    def __init__(self, current_seconds: float = PRICE_LIMITS.current_seconds) -> None:
        """`current_seconds`: how long a look holds."""
        self.published = Published(self._forget_compiled, current_seconds)
        self._compiled_terms: dict[tuple[str, int, int], pricing.Terms] = {}
        self._terms: dict[PinnedTerms, pricing.Terms] = {}
        self._pins: dict[tuple[str, int, int, int], PinnedTerms] = {}

    def _forget_compiled(self) -> None:
        """Drops all that is known by the numbers of versions: they may be other versions'.

        The tables are replaced, not emptied: what is being compiled goes into the old one.
        """
        self._compiled_terms, self._terms, self._pins = {}, {}, {}

    def plan_book(self, instant: datetime) -> PlanBook:
        """The plans in force at an instant: those published, else those that are built in."""
        found = self.published.plans(instant)
        return found.content if found is not None else BUILT_IN

    def plan_then(self, name: str, overrides: str | None, instant: datetime) -> Plan | None:
        """What a plan, with the customer's own fields, was at an instant that has passed.

        None: there was none of that name, or what the customer has its own of cannot be read.
        """
        stated = self.published.plans_then(instant)
        found = (stated.content if stated is not None else BUILT_IN).plans.get(name)
        if found is None or overrides is None:
            return found
        return None if unreadable_fields(overrides) else overridden(found, overrides)

    def plans(self, instant: datetime) -> Mapping[str, Plan]:
        """The plans in force at an instant, by name."""
        return self.plan_book(instant).plans

    def plan_for(self, plan: str, overrides: str | None, instant: datetime) -> Plan | None:
        """What a customer's plan says at an instant, with the customer's own fields; None: there is none."""
        stated = self.published.plans(instant)
        found = (stated.content if stated is not None else BUILT_IN).plans.get(plan)
        return found if found is None or overrides is None else overridden(found, overrides)

    def cards(self, now: datetime) -> Mapping[str, InForce[pricing.RateCard]]:
        """The cards in force, by name."""
        found = {name: self.published.card(name, now) for name in self.published.names()}
        return {name: card for name, card in found.items() if card is not None}

    def card_for(
        self, plan: Plan | None, override: str | None, now: datetime
    ) -> InForce[pricing.RateCard] | None:
        """The card of a customer on a plan: its own, else the plan's; None if there is none in force."""
        name = override or (plan.card if plan is not None else None)
        return self.published.card(name, now) if name else None

    def costs_at(self, instant: datetime) -> pricing.CostBook:
        """The cost book in force at an instant. The first version reaches back for ever."""
        return self.published.costs(instant).content

    def pin(self, card: InForce[pricing.RateCard], now: datetime, multiplier_nanos: int) -> PinnedTerms:
        """What a reservation or a charge of this instant rests on, of a customer with this multiplier."""
        costs = self.published.costs(now)
        key = (card.version.name, card.version.number, costs.version.number, multiplier_nanos)
        pinned = self._pins.get(key)
        if pinned is None:
            name, card_version, cost_version, _ = key
            pinned = self._pins[key] = PinnedTerms(
                name, card_version, cost_version, card.content.credit_price_nanousd, multiplier_nanos
            )
        return pinned

    def knows(self, pinned: PinnedTerms) -> bool:
        """Whether usage can be priced under these terms without a look at the database."""
        return self.published.knows(pinned.card, pinned.card_version, pinned.cost_version)

    async def learn(self, pinned: PinnedTerms, database: Database) -> None:
        """Fetches the versions of terms that are in force no more."""
        await self.published.learn(pinned.card, pinned.card_version, pinned.cost_version, database)

    async def prepare(self, now: datetime) -> None:
        """Compiles in a thread what new work may be priced by: no command waits for ten thousand rules."""
        known = self._compiled_terms
        for card, costs in list(self.published.priced_by(now)):
            key = (card.version.name, card.version.number, costs.version.number)
            if key not in known:
                compiled = await in_reader(pricing.compile_terms, card.content, costs.content)
                known.setdefault(key, compiled)

    def _terms_of(self, pinned: PinnedTerms) -> pricing.Terms:
        terms = self._terms.get(pinned)
        if terms is None:
            terms = self._terms[pinned] = self._compiled(pinned).multiplied(pinned.multiplier_nanos)
        return terms

    def _compiled(self, pinned: PinnedTerms) -> pricing.Terms:
        """Terms before the customer's multiplier: compiled once for all customers."""
        key = (pinned.card, pinned.card_version, pinned.cost_version)
        compiled = self._compiled_terms.get(key)
        if compiled is None:
            card, costs = self.published.card_of(*key[:2]), self.published.costs_of(key[2])
            compiled = self._compiled_terms[key] = pricing.compile_terms(card, costs)
        return compiled

    def estimate(
        self,
        items: Sequence[pricing.Item],
        labels: Mapping[str, str],
        pinned: PinnedTerms,
        now: datetime,
    ) -> pricing.Quote:
        """The price of usage that has not happened: as asked for, whatever may serve it, and no past."""
        return pricing.price(items, labels, self._terms_of(pinned), _NO_PAST, now=now, estimate=True)

    def memory_keys(
        self,
        items: Sequence[pricing.Item],
        labels: Mapping[str, str],
        pinned: PinnedTerms,
        now: datetime,
    ) -> frozenset[str]:
        """The keys of the states that a price needs."""
        return pricing.memory_keys(items, labels, self._terms_of(pinned), now)

    def quote(
        self,
        plan: str,
        override: str | None,
        multiplier_nanos: int,
        items: Sequence[pricing.Item],
        labels: Mapping[str, str],
        now: datetime,
    ) -> tuple[pricing.RateCard, pricing.Quote] | Refusal:
        """What usage would cost a customer of a plan, with a card of its own or not; no effect."""
        ground = self.ground_of(plan, None, override, multiplier_nanos, now)
        if isinstance(ground, Refusal):
            return ground
        quote = self.estimate(items, labels, ground.terms, now)
        if quote.unpriced:
            first = quote.unpriced[0]
            line = quote.lines[first]
            return refusals.unpriced(first, line.kind, str(line.public["name"]))
        return ground.card, quote

    def ground_of(
        self, plan: str, overrides: str | None, override: str | None, multiplier_nanos: int, now: datetime
    ) -> Ground | Refusal:
        """What new work of a customer of a plan rests on now, with fields and a card of its own or not."""
        policies = self.plan_for(plan, overrides, now)
        if policies is None:
            return Refusal(RefusalReason.PLAN_NOT_FOUND, {"plan": plan})
        if policies.unreadable:
            return refusals.overrides_unreadable(policies.unreadable)
        card = self.card_for(policies, override, now)
        if card is None:
            return Refusal(RefusalReason.RATE_CARD_NOT_FOUND, {"rate_card": override or ""})
        return Ground(policies, card.content, self.pin(card, now, multiplier_nanos))

    def price(
        self,
        items: Sequence[pricing.Item],
        labels: Mapping[str, str],
        pinned: PinnedTerms,
        memory: pricing.Memory,
        now: datetime,
        plan: Plan | None,
    ) -> pricing.Quote:
        """The price of usage that has happened, and its cost by the book in force when it did.

        The plan says what becomes of what has no price.
        """
        return pricing.price(
            items,
            labels,
            self._terms_of(pinned),
            memory,
            now=now,
            costs_at=self.costs_at,
            falls_back=plan is not None and plan.unpriced is Unpriced.FALLBACK,
        )


def estimated_of(quote: pricing.Quote) -> Priced:
    """An estimate in the books' words: it is held for and never booked, so what is priced says no more."""
    return Priced(
        lines=tuple(
            [
                PricedLine(
                    line.kind,
                    _TREATMENTS[line.treatment],
                    line.price_micros,
                    NO_AMOUNT,
                    line.public if line.treatment is pricing.Treatment.UNPRICED else _NOTHING,
                    _NOTHING,
                )
                for line in quote.lines
            ]
        ),
        rounding=_rounding(quote.rounding),
        has_outcome_rule=quote.has_outcome_rule,
        outcome_charged=quote.outcome_charged,
        occurred_at=None,
    )


def priced_of(quote: pricing.Quote, known: Mapping[str, State], terms: PinnedTerms, now: datetime) -> Priced:
    """A quote of usage that has happened, in the books' words; `known` are the states it was made with."""
    lines, occurred_at = [], None
    for line in quote.lines:
        at, pool = line.item.occurred_at, line.pool
        if at is not None and (occurred_at is None or at > occurred_at):
            occurred_at = at
        lines.append(
            make(
                PricedLine,
                (
                    line.kind,
                    _TREATMENTS[line.treatment],
                    line.price_micros,
                    line.costs.posted,
                    line.public,
                    line.internal,
                    _effects_of(line.effects) if line.effects else (),
                    line.saved_nanousd if line.costs.lever else NO_AMOUNT,
                    line.own_key_nanousd,
                    PoolPart(pool.pool, Fraction(*pool.exact_micros)) if pool is not None else None,
                ),
            )
        )
    states = quote.states
    return make(
        Priced,
        (
            tuple(lines),
            _rounding(quote.rounding),
            quote.has_outcome_rule,
            quote.outcome_charged,
            occurred_at,
            {key: _state_of(state, known.get(key), terms, now) for key, state in states.items()}
            if states
            else STATELESS,
            quote.own_run,
        ),
    )


def texts_of(known: Mapping[str, State]) -> Mapping[str, str]:
    """States as pricing takes them."""
    return {key: state.text for key, state in known.items()} if known else _NO_TEXTS


def unwound(facts: Facts, effects: Iterable[Effect], known: Mapping[str, State], now: datetime) -> Facts:
    """Facts with the states as they are without what lines with these effects added.

    Of a period that has closed the surplus is what the lines leave of it, beyond what was settled then, and
    what could not be.
    """
    closed = [key for key, state in known.items() if _has_closed(state, now)]
    undone = pricing.unwind(_as_noted(effects), texts_of(known), closed)
    states = {
        key: (known.get(key) or _NOTHING_KNOWN)._replace(
            text=state.text,
            closes_at=None if key in closed else state.closes_at,
            surplus_micros=_surplus(state, known[key].surplus_micros if key in closed else 0),
        )
        for key, state in undone.items()
    }
    return facts._replace(states=states, is_exact=all(state.is_exact for state in undone.values()))


def _surplus(state: pricing.State, kept_micros: int = 0) -> int:
    """What a state carries, towards 0 in whole micro-credits, beside what is stored; within `MAX_AMOUNT`."""
    return max(-MAX_AMOUNT, min(kept_micros + trunc(state.surplus_micros), MAX_AMOUNT))


def _effects_of(effects: Sequence[pricing.Effect]) -> tuple[Effect, ...]:
    """Effects in the books' words: each weighs what its line was charged for it."""
    if len(effects) == 1:
        return (Effect(*effects[0][:2]),)
    charged = [effect.charged_micros or ZERO for effect in effects]
    total = sum(charged, ZERO)
    if total:
        weights = [trunc(part * _WHOLE / total) for part in charged]
    else:
        weights = [int(effect.charged_micros is not None) for effect in effects]
    return tuple(
        [Effect(effect.key, effect.text, weight) for effect, weight in zip(effects, weights, strict=True)]
    )


def _as_noted(effects: Iterable[Effect]) -> list[pricing.Effect]:
    """Effects in pricing's words, which looks at no amount to take them away."""
    return [pricing.Effect(effect.key, effect.text) for effect in effects]


def _has_closed(state: State, now: datetime) -> bool:
    return state.terms is not None and (state.closes_at is None or state.closes_at <= now)


def freed(effects: Iterable[Effect]) -> Mapping[str, State]:
    """The marks that are freed where lines with these effects are refunded in full."""
    return {key: State("") for key in pricing.free_marks(_as_noted(effects))}


_NOTHING_KNOWN = State("")


def _state_of(state: pricing.State, before: State | None, terms: PinnedTerms, now: datetime) -> State:
    """A state as usage leaves it; one that has closed stays closed."""
    before, closes_at = before or _NOTHING_KNOWN, state.closes_at
    if closes_at is None or closes_at <= now:
        return before._replace(text=state.text, closes_at=None, surplus_micros=0)
    surplus_micros = _surplus(state)
    return before._replace(text=state.text, closes_at=closes_at, surplus_micros=surplus_micros, terms=terms)


@cache
def _rounding(rounding: pricing.Rounding) -> Rounding:
    """How a card rounds, in the books' words; of these are no more than of cards."""
    return Rounding(*rounding)
