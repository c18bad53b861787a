"""Which prices a customer has now, and what usage comes to under them.

The one place where pricing's words become the books' own: a quote turns into `Priced`. Versions of cards
and cost books are content-addressed; a reservation's pinned version is found again in the database when
the configuration has moved on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

import pricing
from ledger.books import refusals
from ledger.books.model import ZERO, Plan, Priced, PricedLine, Refusal, RefusalReason, Rounding, Treatment
from ledger.books.model import Terms as PinnedTerms
from ledger.store.database import Database
from ledger.store.versions import (
    all_costs,
    cards_of,
    get_card,
    get_costs,
    store_card,
    store_costs,
)

USAGE_REACH = timedelta(days=36)
"""How far back usage may lie (35 days), and a day."""


_NOTHING: Mapping[str, object] = {}
_NO_PAST = pricing.Memory()
_TREATMENTS = {treatment: Treatment(treatment) for treatment in pricing.Treatment}
"""Pricing's words to the books' own: looked up, for to make a member of an enumeration takes 0.5 us."""


class PriceBook:
    """The loaded configuration, with the earlier versions that are still of use."""

    def __init__(self, config: pricing.Config, plans: Mapping[str, Plan]) -> None:
        self.plans = plans
        self._costs: list[pricing.CostBook] = [config.costs]
        self._cards: dict[str, list[pricing.RateCard]] = {name: [card] for name, card in config.cards.items()}
        self._terms: dict[PinnedTerms, pricing.Terms] = {}
        self._pins: dict[tuple[str, str], PinnedTerms] = {}
        self._card_by_version = {card.version: card for card in config.cards.values()}
        self._costs_by_version = {config.costs.version: config.costs}

    @classmethod
    async def open(
        cls,
        config: pricing.Config,
        plans: Mapping[str, Plan],
        database: Database,
        now: datetime,
    ) -> PriceBook:
        """Stores the loaded versions, and fetches those that were in force before them."""
        book = cls(config, plans)
        costs = config.costs
        await store_costs(
            database.writer, costs.version, costs.revision, costs.effective_from, costs.document
        )
        for card in config.cards.values():
            await store_card(
                database.writer, card.version, card.name, card.revision, card.effective_from, card.document
            )
        await book._fetch_earlier(database, now)
        return book

    async def _fetch_earlier(self, database: Database, now: datetime) -> None:
        """Usage may lie 35 days back, and a loaded card may start in the future."""
        reach = now - USAGE_REACH
        for header in await all_costs(database.writer):
            if self._costs[-1].effective_from <= reach:
                break
            if header.effective_from < self._costs[-1].effective_from:
                self._costs.append(await self._stored_costs(database, header.version))
        for name, versions in self._cards.items():
            if versions[0].effective_from <= now:
                continue
            for stored in await cards_of(database.writer, name):
                if versions[-1].effective_from <= now:
                    break
                if stored.effective_from < versions[-1].effective_from:
                    versions.append(await self._stored_card(database, stored.version))

    def cards(self, now: datetime) -> Mapping[str, pricing.RateCard]:
        """The cards in force, by name."""
        return {name: card for name in self._cards if (card := self._in_force(name, now)) is not None}

    def card_for(self, plan: str, override: str | None, now: datetime) -> pricing.RateCard | None:
        """The card of a customer on a plan: its own, else the plan's; None if there is none in force."""
        policies = self.plans.get(plan)
        name = override or (policies.card if policies else None)
        return self._in_force(name, now) if name else None

    def _in_force(self, name: str, now: datetime) -> pricing.RateCard | None:
        for card in self._cards.get(name, ()):
            if card.effective_from <= now:
                return card
        return None

    def costs_at(self, instant: datetime) -> pricing.CostBook:
        """The cost book in force at an instant. The first version reaches back for ever."""
        for book in self._costs:
            if book.effective_from <= instant:
                return book
        return self._costs[-1]

    def pin(self, card: pricing.RateCard, now: datetime) -> PinnedTerms:
        """What a reservation or a charge of this instant rests on."""
        costs = self.costs_at(now)
        pinned = self._pins.get((card.version, costs.version))
        if pinned is None:
            pinned = PinnedTerms(card.name, card.version, costs.version, card.credit_price_nanousd)
            self._pins[card.version, costs.version] = pinned
        return pinned

    def knows(self, pinned: PinnedTerms) -> bool:
        """Whether usage can be priced under these terms without a look at the database."""
        return pinned.card_version in self._card_by_version and pinned.cost_version in self._costs_by_version

    async def learn(self, pinned: PinnedTerms, database: Database) -> None:
        """Fetches the versions of terms that the configuration no longer has."""
        if pinned.card_version not in self._card_by_version:
            await self._stored_card(database, pinned.card_version)
        if pinned.cost_version not in self._costs_by_version:
            await self._stored_costs(database, pinned.cost_version)

    async def _stored_card(self, database: Database, version: str) -> pricing.RateCard:
        card = pricing.RateCard.from_document(await get_card(database.writer, version))
        self._card_by_version[card.version] = card
        return card

    async def _stored_costs(self, database: Database, version: str) -> pricing.CostBook:
        costs = pricing.CostBook.from_document(await get_costs(database.writer, version))
        self._costs_by_version[costs.version] = costs
        return costs

    def _terms_of(self, pinned: PinnedTerms) -> pricing.Terms:
        terms = self._terms.get(pinned)
        if terms is None:
            card = self._card_by_version[pinned.card_version]
            costs = self._costs_by_version[pinned.cost_version]
            terms = self._terms[pinned] = pricing.compile_terms(card, costs)
        return terms

    def rounding_of(self, pinned: PinnedTerms) -> pricing.Rounding:
        """How the card of these terms rounds a charge."""
        return self._card_by_version[pinned.card_version].rounding

    def estimate(
        self,
        items: Sequence[pricing.Item],
        labels: Mapping[str, str],
        pinned: PinnedTerms,
        now: datetime,
    ) -> pricing.Quote:
        """The price of usage that has not happened: as asked for, whatever may serve it, and no past."""
        return pricing.price(items, labels, self._terms_of(pinned), _NO_PAST, now=now, estimate=True)

    def quote(
        self,
        plan: str,
        override: str | None,
        items: Sequence[pricing.Item],
        labels: Mapping[str, str],
        now: datetime,
    ) -> tuple[pricing.RateCard, pricing.Quote] | Refusal:
        """What usage would cost a customer of a plan, with a card of its own or not; no effect."""
        if plan not in self.plans:
            return Refusal(RefusalReason.PLAN_NOT_FOUND, {"plan": plan})
        card = self.card_for(plan, override, now)
        if card is None:
            return Refusal(RefusalReason.RATE_CARD_NOT_FOUND, {"rate_card": override or ""})
        quote = self.estimate(items, labels, self.pin(card, now), now)
        if quote.unpriced:
            return refusals.unpriced(quote.unpriced[0])
        return card, quote

    def price(
        self,
        items: Sequence[pricing.Item],
        labels: Mapping[str, str],
        pinned: PinnedTerms,
        memory: pricing.Memory,
        now: datetime,
    ) -> pricing.Quote:
        """The price of usage that has happened, and its cost by the book in force when it did."""
        return pricing.price(items, labels, self._terms_of(pinned), memory, now=now, costs_at=self.costs_at)


def estimated_of(quote: pricing.Quote, rounding: pricing.Rounding) -> Priced:
    """An estimate in the books' words: it is held for and never booked, so its lines say no more."""
    return Priced(
        lines=tuple(
            [
                PricedLine(
                    line.kind, _TREATMENTS[line.treatment], line.exact_micros, ZERO, _NOTHING, _NOTHING
                )
                for line in quote.lines
            ]
        ),
        rounding=_rounding(rounding),
        has_outcome_rule=quote.has_outcome_rule,
        outcome_charged=quote.outcome_charged,
        occurred_at=None,
    )


def priced_of(quote: pricing.Quote, rounding: pricing.Rounding, items: Sequence[pricing.Item]) -> Priced:
    """A quote of usage that has happened, in the books' words."""
    stated = [item.occurred_at for item in items if item.occurred_at is not None]
    return Priced(
        tuple(
            [
                PricedLine(
                    line.kind,
                    _TREATMENTS[line.treatment],
                    line.exact_micros,
                    line.cost_exact_nanousd,
                    line.public,
                    line.internal,
                )
                for line in quote.lines
            ]
        ),
        _rounding(rounding),
        quote.has_outcome_rule,
        quote.outcome_charged,
        max(stated) if stated else None,
        quote.runs,
        quote.own_run,
    )


@cache
def _rounding(rounding: pricing.Rounding) -> Rounding:
    """How a card rounds, in the books' words; of these are no more than of cards."""
    return Rounding(*rounding)
