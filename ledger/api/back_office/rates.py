"""The part of AdminService about rates: check, diff, publish, list, show, roll back."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import pricing
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.audit import act_of
from ledger.api.back_office.rate_checks import RateChecks
from ledger.api.back_office.rate_differences import RateDifferences, check_fields
from ledger.api.back_office.rate_messages import no_such_version, of_field, rate_card
from ledger.api.back_office.rate_versions import NUMBER_MAX, RateVersions
from ledger.api.errors import refused, some_of
from ledger.api.messages import encode, paging, validation
from ledger.api.messages.validation import Problems
from ledger.books.model.refusals import RefusalReason
from ledger.prices.plans import BUILT_IN, PlanBook
from ledger.prices.reading import in_reader
from ledger.prices.versions import InForce
from ledger.publishing.publisher import By
from ledger.publishing.service import PublishingService
from ledger.store.postgres.database import Pool
from ledger.store.prices.versions import COST_BOOK, PLANS, Kind, Publication, Source, UnknownVersionError


class RateMethods:
    """The methods of AdminService that concern versions of prices."""

    def __init__(self, publishing: PublishingService, writer: Pool, clock: Callable[[], datetime]) -> None:
        self._prices = publishing.prices
        self._published = publishing.prices.published
        self._publisher = publishing.publisher
        self._files = publishing.files
        self._clock = clock
        self._writer = writer
        self._versions = RateVersions(self._published, writer, clock)
        self._checks = RateChecks(self._publisher, self._published)
        self._differences = RateDifferences(self._versions, self._published)

    async def ListRateCards(
        self, request: pb.ListRateCardsRequest, context: object
    ) -> pb.ListRateCardsResponse:
        """The cards in force, by name."""
        problems = Problems()
        size = paging.page_size(problems, request)
        (after,) = paging.last_key(problems, request, ("",))
        problems.raise_if_any()
        cards = sorted(
            (name, card) for name, card in self._prices.cards(self._clock()).items() if name > after
        )
        token = paging.next_page_token(request, (cards[size - 1][0],)) if len(cards) > size else ""
        return pb.ListRateCardsResponse(
            rate_cards=[rate_card(card) for _, card in cards[:size]], next_page_token=token
        )

    async def GetRateCard(self, request: pb.GetRateCardRequest, context: object) -> pb.GetRateCardResponse:
        """One card, in force or of a version, with its document."""
        problems = Problems()
        name = validation.identifier(problems, "name", request.name)
        number = validation.integer(problems, "number", request.number, 0, NUMBER_MAX)
        problems.raise_if_any()
        card = await self._versions.read(Kind.CARD, name, number) if number else self._card_in_force(name)
        return pb.GetRateCardResponse(
            rate_card=rate_card(card),
            document=card.content.document,
            version=self._versions.message(card.version),
        )

    def _card_in_force(self, name: str) -> InForce[pricing.RateCard]:
        cards = self._prices.cards(self._clock())
        card = cards.get(name)
        if card is None:
            raise refused(RefusalReason.RATE_CARD_NOT_FOUND, rate_card=name, allowed=some_of(cards))
        return card

    async def GetCosts(self, request: pb.GetCostsRequest, context: object) -> pb.GetCostsResponse:
        """The cost book, in force or of a version, with what it states."""
        number = _number_of(request, least=0)
        costs: InForce[pricing.CostBook] = (
            await self._versions.read(Kind.COSTS, COST_BOOK, number)
            if number
            else self._published.costs(self._clock())
        )
        return pb.GetCostsResponse(
            version=self._versions.message(costs.version), document=await in_reader(costs.content.stated)
        )

    async def GetPlans(self, request: pb.GetPlansRequest, context: object) -> pb.GetPlansResponse:
        """The plans, in force or of a version."""
        number = _number_of(request, least=0)
        plans: InForce[PlanBook] | None = (
            await self._versions.read(Kind.PLANS, PLANS, number)
            if number
            else self._published.plans(self._clock())
        )
        if plans is None:
            return pb.GetPlansResponse(document=BUILT_IN.document)
        return pb.GetPlansResponse(
            version=self._versions.message(plans.version), document=plans.content.document
        )

    async def ListRateCardVersions(
        self, request: pb.ListRateCardVersionsRequest, context: object
    ) -> pb.ListRateCardVersionsResponse:
        """Versions of cards, and what is wrong with this server's files."""
        problems = Problems()
        name = validation.identifier(problems, "name", request.name) if request.name else ""
        size = paging.page_size(problems, request)
        after = paging.last_key(problems, request, ("", NUMBER_MAX))
        problems.raise_if_any()
        versions, last = await self._page(Kind.CARD, name, after, size)
        return pb.ListRateCardVersionsResponse(
            versions=versions,
            next_page_token=paging.next_page_token(request, last) if last else "",
            file_problems=self._files.read.refused,
            older_files=self._files.read.older,
        )

    async def ListCostVersions(
        self, request: pb.ListCostVersionsRequest, context: object
    ) -> pb.ListCostVersionsResponse:
        """Versions of the cost book."""
        versions, token = await self._list_of_one(Kind.COSTS, COST_BOOK, request)
        return pb.ListCostVersionsResponse(versions=versions, next_page_token=token)

    async def ListPlanVersions(
        self, request: pb.ListPlanVersionsRequest, context: object
    ) -> pb.ListPlanVersionsResponse:
        """Versions of the plans."""
        versions, token = await self._list_of_one(Kind.PLANS, PLANS, request)
        return pb.ListPlanVersionsResponse(versions=versions, next_page_token=token)

    async def _list_of_one(
        self, kind: Kind, name: str, request: pb.ListCostVersionsRequest | pb.ListPlanVersionsRequest
    ) -> tuple[list[pb.PriceVersion], str]:
        """A page of what has one name, and the token of the next page."""
        problems = Problems()
        size = paging.page_size(problems, request)
        (after,) = paging.last_key(problems, request, (NUMBER_MAX,))
        problems.raise_if_any()
        versions, last = await self._page(kind, name, (name, after), size)
        return versions, paging.next_page_token(request, last[1:]) if last else ""

    async def _page(
        self, kind: Kind, name: str, after: tuple[str, int], size: int
    ) -> tuple[list[pb.PriceVersion], tuple[str, int] | None]:
        """A page, and the key of its last row if there is another page."""
        found, last = await self._versions.page(kind, name, after, size)
        await self._publisher.refresh()
        return list(map(self._versions.message, found)), last

    async def CheckRates(self, request: pb.CheckRatesRequest, context: object) -> pb.CheckRatesResponse:
        """What is wrong with documents, each by itself and together."""
        await self._publisher.refresh()
        return await self._checks.check(request)

    async def DiffRates(self, request: pb.DiffRatesRequest, context: object) -> pb.DiffRatesResponse:
        """What a document or a version changes, rate by rate."""
        check_fields(request)
        await self._publisher.refresh()
        return await self._differences.diff(request)

    async def PublishRateCard(
        self, request: pb.PublishRateCardRequest, context: object
    ) -> pb.PublishRateCardResponse:
        """Makes a document the next version of its card."""
        by = By(act_of(request), Source.API, forced=request.force)
        done = await of_field("document", self._publisher.publish_card(request.document, by))
        latest = self._publisher.latest_costs()
        doubts = await self._publisher.doubts_of_card(request.document, latest, "document")
        return pb.PublishRateCardResponse(**self._published_as(done, doubts))

    async def PublishCosts(self, request: pb.PublishCostsRequest, context: object) -> pb.PublishCostsResponse:
        """Makes a document the next version of the cost book."""
        by = By(act_of(request), Source.API)
        done = await of_field("document", self._publisher.publish_costs(request.document, by))
        latest = self._publisher.latest_costs()
        doubts = await self._publisher.doubts_of_costs(request.document, latest, "document")
        return pb.PublishCostsResponse(**self._published_as(done, doubts))

    async def PublishPlans(self, request: pb.PublishPlansRequest, context: object) -> pb.PublishPlansResponse:
        """Makes a document the next version of the plans."""
        by = By(act_of(request), Source.API, forced=request.force)
        done = await of_field("document", self._publisher.publish_plans(request.document, by))
        plans = await in_reader(PlanBook.from_document, request.document)
        cards = self._published.newest_cards()
        doubts = await self._publisher.doubts_of_plans(plans, cards, "document")
        return pb.PublishPlansResponse(**self._published_as(done, doubts))

    async def RollbackRateCard(
        self, request: pb.RollbackRateCardRequest, context: object
    ) -> pb.RollbackRateCardResponse:
        """Publishes the content of an older version of a card as the next one."""
        problems = Problems()
        name = validation.identifier(problems, "name", request.name)
        number = validation.integer(problems, "number", request.number, 1, NUMBER_MAX)
        problems.raise_if_any()
        by = By(act_of(request), Source.API, forced=request.force)
        return pb.RollbackRateCardResponse(**await self._roll_back(Kind.CARD, name, number, by))

    async def RollbackCosts(
        self, request: pb.RollbackCostsRequest, context: object
    ) -> pb.RollbackCostsResponse:
        """Publishes the content of an older version of the cost book as the next one."""
        number = _number_of(request, least=1)
        by = By(act_of(request), Source.API)
        return pb.RollbackCostsResponse(**await self._roll_back(Kind.COSTS, COST_BOOK, number, by))

    async def RollbackPlans(
        self, request: pb.RollbackPlansRequest, context: object
    ) -> pb.RollbackPlansResponse:
        """Publishes the content of an older version of the plans as the next one."""
        number = _number_of(request, least=1)
        by = By(act_of(request), Source.API, forced=request.force)
        return pb.RollbackPlansResponse(**await self._roll_back(Kind.PLANS, PLANS, number, by))

    def _published_as(self, done: Publication, doubts: Iterable[pricing.Problem]) -> dict[str, Any]:
        """What all answers to a publication have."""
        return {
            "version": self._versions.message(done.version),
            "replayed": done.repeated,
            "warnings": map(encode.problem, doubts),
        }

    async def _roll_back(self, kind: Kind, name: str, number: int, by: By) -> dict[str, Any]:
        """Publishes an older version again; what all answers to that have."""
        try:
            done = await of_field("number", self._publisher.roll_back(kind, name, number, by))
        except UnknownVersionError:
            raise no_such_version(name, number) from None
        return {
            "version": self._versions.message(done.version),
            "replayed": done.repeated,
            "to_come": self._versions.to_come(done.version),
        }


def _number_of(
    request: pb.GetCostsRequest | pb.GetPlansRequest | pb.RollbackCostsRequest | pb.RollbackPlansRequest,
    *,
    least: int,
) -> int:
    """The version asked for; 0: what is in force. Raises InvalidArgumentError."""
    problems = Problems()
    number = validation.integer(problems, "number", request.number, least, NUMBER_MAX)
    problems.raise_if_any()
    return number
