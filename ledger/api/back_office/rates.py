"""The part of AdminService about rates: check, diff, publish, list, show, roll back."""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import pricing
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.audit import act_of
from ledger.api.errors import StatusError, refused, some_of
from ledger.api.messages import encode, paging, validation
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.books.model.refusals import RefusalReason
from ledger.prices.plans import BUILT_IN, PlanBook, read_plans_text
from ledger.prices.reading import in_reader
from ledger.prices.versions import InForce
from ledger.publishing.publisher import By, Content, MarginBelowFloorError, PlansInUseError
from ledger.publishing.service import PublishingService
from ledger.store.postgres.database import Pool
from ledger.store.prices.versions import (
    COST_BOOK,
    PLANS,
    Kind,
    Publication,
    RevisionRefusedError,
    Source,
    UnknownVersionError,
    Version,
    find_version,
    get_document,
    list_versions,
)

Document = TypeVar("Document")
Answer = TypeVar("Answer")

NUMBER_MAX: Final = 2**31 - 1
"""Of a version: what its column holds."""

_SOURCES: Final = {source: pb.PriceSource.Value(f"PRICE_SOURCE_{source}") for source in Source}
_DIFFERENCES: Final = {
    kind: pb.DifferenceKind.Value(f"DIFFERENCE_KIND_{kind}") for kind in pricing.DifferenceKind
}


class RateMethods:
    """The methods of AdminService that concern versions of prices."""

    def __init__(self, publishing: PublishingService, writer: Pool, clock: Callable[[], datetime]) -> None:
        self._prices = publishing.prices
        self._published = publishing.prices.published
        self._publisher = publishing.publisher
        self._files = publishing.files
        self._writer = writer
        self._clock = clock

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
            rate_cards=[_rate_card(card) for _, card in cards[:size]], next_page_token=token
        )

    async def GetRateCard(self, request: pb.GetRateCardRequest, context: object) -> pb.GetRateCardResponse:
        """One card, in force or of a version, with its document."""
        problems = Problems()
        name = validation.identifier(problems, "name", request.name)
        number = validation.integer(problems, "number", request.number, 0, NUMBER_MAX)
        problems.raise_if_any()
        card = await self._card(name, number) if number else self._card_in_force(name)
        return pb.GetRateCardResponse(
            rate_card=_rate_card(card), document=card.content.document, version=self._version(card.version)
        )

    def _card_in_force(self, name: str) -> InForce[pricing.RateCard]:
        cards = self._prices.cards(self._clock())
        card = cards.get(name)
        if card is None:
            raise refused(RefusalReason.RATE_CARD_NOT_FOUND, rate_card=name, allowed=some_of(cards))
        return card

    async def _card(self, name: str, number: int) -> InForce[pricing.RateCard]:
        version = await self._find(Kind.CARD, name, number)
        document = await get_document(self._writer, Kind.CARD, name, number)
        return InForce(version, await in_reader(pricing.RateCard.from_document, document))

    async def GetCosts(self, request: pb.GetCostsRequest, context: object) -> pb.GetCostsResponse:
        """The cost book, in force or of a version, with what it states."""
        problems = Problems()
        number = validation.integer(problems, "number", request.number, 0, NUMBER_MAX)
        problems.raise_if_any()
        if number:
            version, costs = await self._cost_book(number)
        else:
            version, costs = self._published.costs(self._clock())
        return pb.GetCostsResponse(version=self._version(version), document=await in_reader(costs.stated))

    async def _cost_book(self, number: int) -> InForce[pricing.CostBook]:
        version = await self._find(Kind.COSTS, COST_BOOK, number)
        document = await get_document(self._writer, Kind.COSTS, COST_BOOK, number)
        return InForce(version, await in_reader(pricing.CostBook.from_document, document))

    async def GetPlans(self, request: pb.GetPlansRequest, context: object) -> pb.GetPlansResponse:
        """The plans, in force or of a version."""
        problems = Problems()
        number = validation.integer(problems, "number", request.number, 0, NUMBER_MAX)
        problems.raise_if_any()
        plans = await self._plan_book(number) if number else self._published.plans(self._clock())
        if plans is None:
            return pb.GetPlansResponse(document=BUILT_IN.document)
        return pb.GetPlansResponse(version=self._version(plans.version), document=plans.content.document)

    async def _plan_book(self, number: int) -> InForce[PlanBook]:
        version = await self._find(Kind.PLANS, PLANS, number)
        document = await get_document(self._writer, Kind.PLANS, PLANS, number)
        return InForce(version, await in_reader(PlanBook.from_document, document))

    async def _find(self, kind: Kind, name: str, number: int) -> Version:
        try:
            return await find_version(self._writer, kind, name, number)
        except UnknownVersionError:
            raise _no_such_version(name, number) from None

    async def ListRateCardVersions(
        self, request: pb.ListRateCardVersionsRequest, context: object
    ) -> pb.ListRateCardVersionsResponse:
        """Versions of cards, and what is wrong with this server's files."""
        problems = Problems()
        name = validation.identifier(problems, "name", request.name) if request.name else ""
        size = paging.page_size(problems, request)
        after = paging.last_key(problems, request, ("", NUMBER_MAX))
        problems.raise_if_any()
        versions, last = await self._list(Kind.CARD, name, after, size)
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
        versions, last = await self._list(kind, name, (name, after), size)
        return versions, paging.next_page_token(request, last[1:]) if last else ""

    async def _list(
        self, kind: Kind, name: str, after: tuple[str, int], size: int
    ) -> tuple[list[pb.PriceVersion], tuple[str, int] | None]:
        """A page, and the key of its last row if there is another page."""
        found = await list_versions(self._writer, kind, name, after, size + 1)
        last = (found[size - 1].name, found[size - 1].number) if len(found) > size else None
        await self._publisher.refresh()
        return [self._version(version) for version in found[:size]], last

    async def CheckRates(self, request: pb.CheckRatesRequest, context: object) -> pb.CheckRatesResponse:
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
            problems=map(encode.problem, read.problems), warnings=map(encode.problem, sorted(warnings))
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
            return content.doubts(cards)
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

    async def DiffRates(self, request: pb.DiffRatesRequest, context: object) -> pb.DiffRatesResponse:
        """What a document or a version changes, rate by rate."""
        problems = Problems()
        number = validation.integer(problems, "with_number", request.with_number, 0, NUMBER_MAX)
        changed = request.WhichOneof("changed")
        if changed is None:
            allowed = "rate_card, costs, plans, rate_card_number, cost_number, plans_number"
            problems.add("changed", f"one of {allowed} is required")
        if changed == "rate_card_number":
            validation.identifier(problems, "rate_card_number.name", request.rate_card_number.name)
            validation.integer(
                problems, "rate_card_number.number", request.rate_card_number.number, 1, NUMBER_MAX
            )
        if changed == "cost_number":
            validation.integer(problems, "cost_number", request.cost_number, 1, NUMBER_MAX)
        if changed == "plans_number":
            validation.integer(problems, "plans_number", request.plans_number, 1, NUMBER_MAX)
        problems.raise_if_any()
        await self._publisher.refresh()
        if changed in ("rate_card", "rate_card_number"):
            return await self._diff_cards(request, number)
        if changed in ("plans", "plans_number"):
            return await self._diff_plans(request, number)
        return await self._diff_costs(request, number)

    async def _diff_cards(self, request: pb.DiffRatesRequest, number: int) -> pb.DiffRatesResponse:
        if request.HasField("rate_card"):
            after = await _read("rate_card", pricing.RateCard.from_document, request.rate_card)
            latest = self._published.latest(Kind.CARD, after.name)
            default = latest.number if latest is not None else 0
        else:
            wanted = request.rate_card_number
            after = (await self._card(wanted.name, wanted.number)).content
            default = wanted.number - 1
        before = await self._card(after.name, number or default) if number or default else None
        found = await in_reader(pricing.differing_cards, before and before.content, after)
        return await self._differences(after.name, before and before.version, found)

    async def _diff_costs(self, request: pb.DiffRatesRequest, number: int) -> pb.DiffRatesResponse:
        if request.HasField("costs"):
            after = await _read("costs", pricing.read_costs_text, request.costs)
            latest = self._published.latest(Kind.COSTS)
            default = latest.number if latest is not None else 0
        else:
            after = (await self._cost_book(request.cost_number)).content
            default = request.cost_number - 1
        before = await self._cost_book(number or default) if number or default else None
        found = await in_reader(pricing.differing_costs, before and before.content, after)
        return await self._differences(COST_BOOK, before and before.version, found)

    async def _diff_plans(self, request: pb.DiffRatesRequest, number: int) -> pb.DiffRatesResponse:
        if request.HasField("plans"):
            after = await _read("plans", PlanBook.from_document, request.plans)
            latest = self._published.latest(Kind.PLANS)
            default = latest.number if latest is not None else 0
        else:
            after = (await self._plan_book(request.plans_number)).content
            default = request.plans_number - 1
        before = await self._plan_book(number or default) if number or default else None
        old = before.content if before is not None else BUILT_IN
        found = pricing.differing_sections(old.stated, after.stated, "plans")
        return await self._differences(PLANS, before and before.version, found)

    async def _differences(
        self, name: str, before: Version | None, found: Iterable[pricing.Difference]
    ) -> pb.DiffRatesResponse:
        return pb.DiffRatesResponse(
            name=name,
            before=self._version(before) if before is not None else None,
            differences=await in_reader(lambda: [*map(_difference, found)]),
        )

    async def PublishRateCard(
        self, request: pb.PublishRateCardRequest, context: object
    ) -> pb.PublishRateCardResponse:
        """Makes a document the next version of its card."""
        by = By(act_of(request), Source.API, forced=request.force)
        done = await _told("document", self._publisher.publish_card(request.document, by))
        latest = self._publisher.latest_costs()
        doubts = await self._publisher.doubts_of_card(request.document, latest, "document")
        return pb.PublishRateCardResponse(
            version=self._version(done.version), replayed=done.repeated, warnings=map(encode.problem, doubts)
        )

    async def PublishCosts(self, request: pb.PublishCostsRequest, context: object) -> pb.PublishCostsResponse:
        """Makes a document the next version of the cost book."""
        by = By(act_of(request), Source.API)
        done = await _told("document", self._publisher.publish_costs(request.document, by))
        latest = self._publisher.latest_costs()
        doubts = await self._publisher.doubts_of_costs(request.document, latest, "document")
        return pb.PublishCostsResponse(
            version=self._version(done.version), replayed=done.repeated, warnings=map(encode.problem, doubts)
        )

    async def PublishPlans(self, request: pb.PublishPlansRequest, context: object) -> pb.PublishPlansResponse:
        """Makes a document the next version of the plans."""
        by = By(act_of(request), Source.API, forced=request.force)
        done = await _told("document", self._publisher.publish_plans(request.document, by))
        plans = await in_reader(PlanBook.from_document, request.document)
        doubts = plans.doubts(self._published.newest_cards(), "document")
        return pb.PublishPlansResponse(
            version=self._version(done.version), replayed=done.repeated, warnings=map(encode.problem, doubts)
        )

    async def RollbackRateCard(
        self, request: pb.RollbackRateCardRequest, context: object
    ) -> pb.RollbackRateCardResponse:
        """Publishes the content of an older version of a card as the next one."""
        problems = Problems()
        name = validation.identifier(problems, "name", request.name)
        number = validation.integer(problems, "number", request.number, 1, NUMBER_MAX)
        problems.raise_if_any()
        orders = By(act_of(request), Source.API, forced=request.force)
        done = await self._roll_back(Kind.CARD, name, number, orders)
        return pb.RollbackRateCardResponse(
            version=self._version(done.version),
            replayed=done.repeated,
            to_come=self._to_come(done.version),
        )

    async def RollbackCosts(
        self, request: pb.RollbackCostsRequest, context: object
    ) -> pb.RollbackCostsResponse:
        """Publishes the content of an older version of the cost book as the next one."""
        problems = Problems()
        number = validation.integer(problems, "number", request.number, 1, NUMBER_MAX)
        problems.raise_if_any()
        orders = By(act_of(request), Source.API)
        done = await self._roll_back(Kind.COSTS, COST_BOOK, number, orders)
        return pb.RollbackCostsResponse(
            version=self._version(done.version),
            replayed=done.repeated,
            to_come=self._to_come(done.version),
        )

    async def RollbackPlans(
        self, request: pb.RollbackPlansRequest, context: object
    ) -> pb.RollbackPlansResponse:
        """Publishes the content of an older version of the plans as the next one."""
        problems = Problems()
        number = validation.integer(problems, "number", request.number, 1, NUMBER_MAX)
        problems.raise_if_any()
        orders = By(act_of(request), Source.API, forced=request.force)
        done = await self._roll_back(Kind.PLANS, PLANS, number, orders)
        return pb.RollbackPlansResponse(
            version=self._version(done.version),
            replayed=done.repeated,
            to_come=self._to_come(done.version),
        )

    async def _roll_back(self, kind: Kind, name: str, number: int, by: By) -> Publication:
        try:
            return await _told("number", self._publisher.roll_back(kind, name, number, by))
        except UnknownVersionError:
            raise _no_such_version(name, number) from None

    def _to_come(self, version: Version) -> list[pb.PriceVersion]:
        """What will be in force in place of a version."""
        later = self._published.versions(version.kind, version.name)
        return [self._version(each) for each in later if each.effective_from > version.effective_from]

    def _version(self, version: Version) -> pb.PriceVersion:
        return pb.PriceVersion(
            name=version.name,
            number=version.number,
            revision=version.revision,
            version=version.version,
            effective_from=encode.timestamp(version.effective_from),
            published_at=encode.timestamp(version.published_at),
            published_by=version.published_by,
            published_by_key_id=version.published_by_key_id,
            source=_SOURCES[version.source],
            restores=version.restores or 0,
            forced=version.forced,
            in_force=version == self._in_force(version.kind, version.name),
        )

    def _in_force(self, kind: Kind, name: str) -> Version | None:
        now = self._clock()
        if kind is Kind.COSTS:
            return self._published.costs(now).version
        found = self._published.plans(now) if kind is Kind.PLANS else self._published.card(name, now)
        return found.version if found is not None else None


@dataclass(slots=True)
class _ReadDocuments:
    """Documents of a request, read together."""

    problems: list[pricing.Problem]
    contents: dict[str, Content]
    """By what they are called."""
    costs: pricing.CostBook
    """That the cards are priced by."""


def _rate_card(card: InForce[pricing.RateCard]) -> pb.RateCard:
    content = card.content
    return pb.RateCard(
        name=content.name,
        revision=content.revision,
        version=content.version,
        credit_name=content.credit_name,
        credit_price_usd=encode.decimal(content.credit_price_nanousd),
        effective_from=encode.timestamp(card.version.effective_from),
        rules=len(content.rules),
        number=card.version.number,
    )


def _difference(difference: pricing.Difference) -> pb.Difference:
    return pb.Difference(
        kind=_DIFFERENCES[difference.kind],
        rule=difference.rule,
        path=difference.path,
        before=difference.before,
        after=difference.after,
        change_percent=difference.change_percent,
    )


async def _read(field: str, read: Callable[[str], Document], text: str) -> Document:
    """A document, read in a thread: other calls do not wait for it."""
    return await _told(field, in_reader(read, text))


async def _told(field: str, doing: Awaitable[Answer]) -> Answer:
    """What comes of a document; what is wrong with it is reported of a field of the request."""
    try:
        return await doing
    except pricing.ConfigError as error:
        raise InvalidArgumentError([(field, str(problem)) for problem in error.problems]) from error
    except MarginBelowFloorError as error:
        raise refused(
            RefusalReason.MARGIN_BELOW_FLOOR,
            name=error.card,
            margin_percent=error.margin_percent,
            floor_percent=error.floor_percent,
        ) from error
    except PlansInUseError as error:
        raise refused(
            RefusalReason.PLANS_IN_USE,
            plans=some_of(error.plans),
            customers=str(error.customers),
        ) from error
    except RevisionRefusedError as error:
        latest = error.latest
        reason = RefusalReason.RATE_REVISION_TAKEN if error.is_taken else RefusalReason.RATE_REVISION_PASSED
        raise refused(
            reason,
            name=latest.name,
            revision=str(error.draft.revision),
            latest_revision=str(latest.revision),
            latest_number=str(latest.number),
        ) from error


def _no_such_version(name: str, number: int) -> StatusError:
    return refused(RefusalReason.RATE_VERSION_NOT_FOUND, name=name, number=str(number))
