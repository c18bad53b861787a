"""Documents of prices, checked before they are published: each by itself, and together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pricing
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.messages import encode
from ledger.prices.plans import PlanBook, read_plans_text
from ledger.prices.reading import in_reader
from ledger.prices.versions import Published
from ledger.publishing.publisher import Content, PlansInUseError, Publisher


@dataclass(slots=True)
class _ReadDocuments:
    """Documents of a request, read together."""

    problems: list[pricing.Problem]
    contents: dict[str, Content]
    """By what they are called."""
    costs: pricing.CostBook
    """That the cards are priced by."""


class RateChecks:
    """Checks documents against each other, and against what is published."""

    def __init__(self, publisher: Publisher, published: Published) -> None:
        self._publisher = publisher
        self._published = published

    async def check(self, request: pb.CheckRatesRequest) -> pb.CheckRatesResponse:
        """What is wrong with documents, each by itself and together."""
        await self._publisher.refresh()
        read = await in_reader(self._read_all, request)
        warnings: list[pricing.Problem] = []
        if not read.problems:
            cards = self._cards_beside(read)
            for name, document in read.contents.items():
                taken = self._publisher.refuse_revision(document, name)
                read.problems.extend([taken] if taken is not None else [])
                warnings += await self._doubts(document, request.costs.text, read.costs, cards, name)
                read.problems += await self._left_out(document, name)
        return pb.CheckRatesResponse(
            problems=map(encode.problem, read.problems),
            warnings=map(encode.problem, sorted(warnings)),
        )

    async def _doubts(
        self,
        content: Content,
        text: str,
        costs: pricing.CostBook,
        cards: Mapping[str, pricing.RateCard],
        name: str,
    ) -> list[pricing.Problem]:
        """What is doubtful in a card under a cost book, in plans, or in a cost book, which its text is of."""
        if isinstance(content, pricing.RateCard):
            return await self._publisher.doubts_of_card(content.document, costs, name)
        if isinstance(content, PlanBook):
            return await self._publisher.doubts_of_plans(content, cards)
        return await self._publisher.doubts_of_costs(text, content, name)

    async def _left_out(self, content: Content, name: str) -> list[pricing.Problem]:
        """What is wrong with plans that leave out customers."""
        left_out = await self._publisher.customers_left_out(content) if isinstance(content, PlanBook) else {}
        return [pricing.Problem(name, 0, 0, str(PlansInUseError(left_out)), "")] if left_out else []

    def _read_all(self, request: pb.CheckRatesRequest) -> _ReadDocuments:
        """Reads the documents: each by itself, the cards beside the cost book, the plans beside the cards."""
        read = _ReadDocuments([], {}, self._publisher.latest_costs())
        if request.HasField("costs"):
            where = request.costs.name or "costs"
            try:
                read.costs = read.contents[where] = pricing.read_costs_text(request.costs.text, where)
            except pricing.ConfigError as error:
                read.problems += error.problems
        names: dict[str, str] = {}
        for index, document in enumerate(request.rate_cards):
            where = document.name or f"rate_cards[{index}]"
            try:
                card = read.contents[where] = pricing.read_card_for(document.text, read.costs, where)
            except pricing.ConfigError as error:
                read.problems += error.problems
                continue
            first = names.setdefault(card.name, where)
            if first != where:
                hint = f"give it a name of its own: {first} has this one"
                read.problems.append(pricing.Problem(where, 0, 0, f"two cards are named {card.name!r}", hint))
        self._read_plans(request, read)
        return read

    def _read_plans(self, request: pb.CheckRatesRequest, read: _ReadDocuments) -> None:
        """Reads the plans beside the cards that are read; without any, the cards beside those published."""
        where = request.plans.name or "plans"
        if request.HasField("plans"):
            try:
                known = self._cards_beside(read)
                read.contents[where] = read_plans_text(request.plans.text, known, where)
            except pricing.ConfigError as error:
                read.problems += error.problems
            return
        for name, content in read.contents.items():
            if isinstance(content, pricing.RateCard):
                problem = self._publisher.without_fallback(content, name)
                read.problems += [problem] if problem is not None else []

    def _cards_beside(self, read: _ReadDocuments) -> Mapping[str, pricing.RateCard]:
        """The newest cards published, and in their place those that are read."""
        cards = {each.name: each for each in read.contents.values() if isinstance(each, pricing.RateCard)}
        return {**self._published.newest_cards(), **cards}
