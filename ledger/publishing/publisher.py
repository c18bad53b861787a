"""Publishing: how a document, or a directory of files, becomes the version that every process prices by.

What is published has to hold together: a card may not price what the latest cost book does not know, a cost
book may not drop what the latest version of a card prices, a card not what a plan falls back on, and plans
may not leave out what customers are on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from math import floor
from typing import Final

import structlog

import pricing
from ledger.books.model.plans import Unpriced
from ledger.errors import NotNowError, RequestError
from ledger.prices.plan_overrides import go_with
from ledger.prices.plans import PlanBook, read_plans_text, refuse_disagreements
from ledger.prices.price_book import PriceBook
from ledger.prices.reading import in_reader
from ledger.store.audit import Act
from ledger.store.postgres.database import Database
from ledger.store.prices.plans import customers_affected, overrides_in_use
from ledger.store.prices.versions import (
    COST_BOOK,
    PLANS,
    Kind,
    NewVersion,
    Publication,
    RevisionRefusedError,
    Source,
    Version,
    find_version,
    get_document,
    publish,
    title_of,
)

FLOOR_DAYS = 30
"""Of usage that a card's margin is simulated on, before it is published."""

Content = pricing.RateCard | pricing.CostBook | PlanBook
_FORCE_HINT: Final = "acu-ledger rates publish --force publishes it all the same"
MarginOf = Callable[[pricing.RateCard, int], Awaitable[Fraction | None]]
"""What a card would leave of its revenue at the list price, on the usage of its name in the last days.

None where there is no revenue. Raises MarginUnknownError.
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class By:
    """Who publishes, and how."""

    act: Act
    source: Source
    forced: bool = False
    """A card is published in spite of its margin floor, plans in spite of customers that they leave out."""
    restores: int | None = None


@dataclass(frozen=True, slots=True)
class FilesRead:
    """What became of a directory's files."""

    refused: tuple[str, ...] = ()
    """What is wrong, for people: where there is anything nothing was published."""
    older: tuple[str, ...] = ()
    """Files of a lower revision than what is published: left alone."""

    @property
    def match(self) -> bool:
        """Whether every file says what is published."""
        return not self.refused and not self.older


class MarginUnknownError(NotNowError):
    """What a card would leave could not be found out."""


class MarginBelowFloorError(RequestError):
    """A card that would leave less, at the list price, than its `margin_floor` asks for."""

    def __init__(self, card: pricing.RateCard, margin: Fraction, least: Fraction) -> None:
        self.card = card.name
        self.margin_percent = percent(margin)
        self.floor_percent = percent(least)
        super().__init__(
            f"its margin would be {self.margin_percent} % at the list price on its usage of the last"
            f" {FLOOR_DAYS} days, under its margin_floor of {self.floor_percent} %"
        )


class PlansInUseError(RequestError):
    """Plans that would leave customers without a plan or a card, or go against their own fields of it."""

    def __init__(self, customers: Mapping[str, int]) -> None:
        self.plans = sorted(customers)
        self.customers = sum(customers.values())
        left = ", ".join(f"{name} ({customers[name]})" for name in self.plans)
        super().__init__(
            "customers are on plans that would be gone, or whose card, their only one, would be, or that go"
            f" against what they have their own of: {left}"
        )


def percent(share: Fraction) -> str:
    """A share in per cent, rounded down to two decimals: one under a floor never looks like it."""
    hundredths = floor(share * 10_000)
    return f"{'-' if hundredths < 0 else ''}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


class Publisher:
    """Publishes on behalf of one process, which then prices by what came of it."""

    def __init__(
        self,
        database: Database,
        cells: Sequence[str],
        prices: PriceBook,
        margin_of: MarginOf,
        clock: Callable[[], datetime],
        convergence: timedelta,
    ) -> None:
        """`convergence`: a version that is not its name's first takes effect no sooner."""
        self._convergence = convergence
        self._margin_of = margin_of
        self._cells = cells
        self._database = database
        self._prices = prices
        self._published = prices.published
        self._clock = clock

    async def publish_card(self, text: str, by: By) -> Publication:
        """Publishes the document of a card.

        Raises ConfigError with all that is wrong with it, also where a plan that is or will be in force would
        have nothing left to fall back on; RevisionRefusedError, MarginBelowFloorError unless it is forced.
        """
        await self.refresh()
        card = await in_reader(pricing.read_card_for, text, self.latest_costs())
        problem = self.without_fallback(card, "<rate card>")
        if problem is not None:
            raise pricing.ConfigError([problem])
        return await self._publish(card, replace(by, forced=await self._is_below_floor(card, by)))

    def without_fallback(self, card: pricing.RateCard, file: str) -> pricing.Problem | None:
        """What is wrong with a card that names no rule to fall back on, where plans ask for one."""
        asking = {
            name
            for book in self._published.plans_from(self._clock())
            for name, plan in book.plans.items()
            if plan.card == card.name and plan.unpriced is Unpriced.FALLBACK
        }
        if card.fallback or not asking:
            return None
        message = f"card {card.name} names no rule to fall back on, as plan {', '.join(sorted(asking))} asks"
        hint = "write fallback: {tokens: <name of a rule>}, or let the plan say unpriced: CHARGE_HOLD"
        return pricing.Problem(file, 0, 0, message, hint)

    async def _is_below_floor(self, card: pricing.RateCard, by: By) -> bool:
        """Whether a card is published in spite of its floor. Raises MarginBelowFloorError if not forced."""
        latest = self._published.latest(Kind.CARD, card.name)
        if card.margin_floor is None or latest is None or card.revision <= latest.revision:
            return False
        margin = await self._margin_of(card, FLOOR_DAYS)
        if margin is None or margin >= card.margin_floor:
            return False
        if not by.forced:
            raise MarginBelowFloorError(card, margin, card.margin_floor)
        return True

    async def publish_costs(self, text: str, by: By) -> Publication:
        """Publishes the document of a cost book, as `costs.yaml` has it.

        Raises ConfigError with all that is wrong with it, RevisionRefusedError.
        """
        await self.refresh()
        costs = await in_reader(pricing.read_costs_text, text)
        return await self._publish_costs(costs, self._latest_cards(), by)

    async def publish_plans(self, text: str, by: By) -> Publication:
        """Publishes the document of the plans, as `plans.yaml` has it.

        Raises ConfigError with all that is wrong with it, RevisionRefusedError, PlansInUseError unless it is
        forced.
        """
        await self.refresh()
        plans = await in_reader(read_plans_text, text, self._published.newest_cards())
        return await self._publish_plans(plans, by)

    async def publish_plans_of_file(self, plans: PlanBook, by: Act) -> Publication:
        """Publishes the plans of a file, without its neighbours. Raises ConfigError, RevisionRefusedError."""
        refuse_disagreements(plans, self._published.newest_cards())
        try:
            return await self._publish_plans(plans, By(by, Source.FILE))
        except PlansInUseError as error:
            hint = "write these plans too, with a card where the customers have none"
            raise pricing.ConfigError([pricing.Problem(plans.file, 0, 0, str(error), hint)]) from error

    async def _publish_plans(self, plans: PlanBook, by: By) -> Publication:
        left_out = await self.customers_left_out(plans)
        if left_out and not by.forced:
            raise PlansInUseError(left_out)
        return await self._publish(plans, replace(by, forced=bool(left_out)))

    async def customers_left_out(self, plans: PlanBook) -> Mapping[str, int]:
        """By plan, the customers that these plans leave without one, or without a card; none if not newer.

        Or with fields of their own that go against the plan. What is or will be in force has to have had it:
        whom an earlier version has left out is left out.
        """
        if not self._is_newer(plans):
            return {}
        now = self._clock()
        before = [self._prices.plan_book(now), *self._published.plans_from(now)]
        named = {name: plan for book in before for name, plan in book.plans.items()}
        carded = {name for book in before for name, plan in book.plans.items() if plan.card is not None}
        dropped = named.keys() - plans.plans.keys()
        without_card = {name for name in carded - dropped if plans.plans[name].card is None}
        pool, left_out = self._database.writer, Counter[str]()
        if dropped or without_card:
            left_out.update(await customers_affected(pool, self._cells, dropped, without_card))
        for (name, overrides), customers in (await overrides_in_use(pool, self._cells)).items():
            if name in named and name in plans.plans and not go_with(overrides, plans, name):
                gone_with = all(go_with(overrides, book, name) for book in before if name in book.plans)
                left_out[name] += customers if gone_with else 0
        return +left_out

    async def roll_back(self, kind: Kind, name: str, number: int, by: By) -> Publication:
        """Publishes the content of an older version again, as the next one.

        A repeat has no second effect. Raises UnknownVersionError, ConfigError where the content does not go
        with the rest any more, RevisionRefusedError where another was faster.
        """
        older = await find_version(self._database.writer, kind, name, number)
        await self.refresh()
        latest = self._published.latest(kind, name) or older
        if number in {latest.number, latest.restores}:
            return Publication(latest, repeated=True)
        document = await get_document(self._database.writer, kind, name, number)
        revision = latest.revision + 1
        orders = replace(by, source=Source.ROLLBACK, restores=number)
        if kind is Kind.CARD:
            return await self.publish_card(pricing.revised_text(document, revision), orders)
        if kind is Kind.PLANS:
            return await self.publish_plans(pricing.revised_text(document, revision), orders)
        costs = pricing.revised_costs(pricing.CostBook.from_document(document), revision)
        return await self._publish_costs(costs, self._latest_cards(), orders)

    async def publish_files(self, config: pricing.Config, plans: PlanBook | None, by: Act) -> FilesRead:
        """Publishes what is of a higher revision than what is published; the rest stays as it is.

        Where anything cannot be published nothing is.
        """
        await self.refresh()
        reading = _Reading(By(by, Source.FILE), config)
        # In this order: cards are priced by the costs, and plans name cards.
        contents: tuple[Content, ...] = (config.costs, *config.cards.values(), *([plans] if plans else []))
        newer = [content for content in contents if self._is_newer(content)]
        for content in contents:
            latest = self._published.latest(*_key(content))
            if content not in newer and latest is not None:
                self._compare(content, latest, reading)
        reading.refused += await self._refused(newer, reading)
        if not reading.refused:
            for content in newer:
                await self._offer(content, reading)
            for doubt in await self._doubts_of_files(config, newer):
                _log.warning("prices.doubtful", problem=str(doubt))
        return FilesRead(tuple(reading.refused), tuple(reading.older))

    async def _doubts_of_files(
        self, config: pricing.Config, newer: Sequence[Content]
    ) -> list[pricing.Problem]:
        cards = {content.name: content for content in newer if isinstance(content, pricing.RateCard)}
        found = []
        if config.costs in newer:
            found += await self.doubts_of_costs(config.costs_text, config.costs, config.files[""])
        for name, card in cards.items():
            found += await self.doubts_of_card(card.document, self.latest_costs(), config.files[name])
        for plans in newer:
            if isinstance(plans, PlanBook):
                found += await self.doubts_of_plans(plans, self._published.newest_cards())
        return found

    async def doubts_of_card(self, text: str, costs: pricing.CostBook, file: str) -> list[pricing.Problem]:
        """What is likely to be a mistake in a card that can be published: found in the reader's thread."""
        return await in_reader(partial(pricing.doubts_of_card, text, costs, file, self._clock()))

    async def doubts_of_costs(self, text: str, costs: pricing.CostBook, file: str) -> list[pricing.Problem]:
        """The same of the text of a cost book."""
        return await in_reader(partial(pricing.doubts_of_costs, text, costs, file))

    async def doubts_of_plans(
        self, plans: PlanBook, cards: Mapping[str, pricing.RateCard], file: str | None = None
    ) -> list[pricing.Problem]:
        """The same of plans beside cards; `file` names their document, if given."""
        return await in_reader(partial(plans.doubts, cards, file))

    def refuse_revision(self, content: Content, file: str) -> pricing.Problem | None:
        """Why the revision of a document keeps it from being published; None if it does not."""
        latest = self._published.latest(*_key(content))
        if latest is None or content.revision > latest.revision or content.version == latest.version:
            return None
        if content.revision == latest.revision:
            return pricing.Problem(file, 0, 0, self._taken(content, latest), "")
        message = f"revision {content.revision} is below {latest.revision}, which is published"
        return pricing.Problem(file, 0, 0, message, f"to publish it, write revision: {latest.revision + 1}")

    async def _refused(self, newer: Sequence[Content], reading: _Reading) -> list[str]:
        """What is wrong with what files would publish, beside what is published."""
        cards = {card.name: card for card in newer if isinstance(card, pricing.RateCard)}
        costs = next((book for book in newer if isinstance(book, pricing.CostBook)), None)
        if costs is None:
            problems = await in_reader(_unknown, self.latest_costs(), cards)
        else:
            problems = await in_reader(_unknown, costs, {**self._latest_cards(), **cards})
        plans = next((book for book in newer if isinstance(book, PlanBook)), None)
        if plans is None:
            doubted = (self.without_fallback(card, reading.file(card)) for card in cards.values())
            problems += filter(None, doubted)
        else:
            problems += plans.disagreements({**self._published.newest_cards(), **cards})
        refused = [str(problem) for problem in problems]
        if plans is not None:
            left_out = await self.customers_left_out(plans)
            if left_out:
                refused.append(f"{reading.title(plans)}: {PlansInUseError(left_out)} ({_FORCE_HINT})")
        for card in cards.values():
            try:
                await self._is_below_floor(card, reading.by)
            except (MarginBelowFloorError, MarginUnknownError) as error:
                refused.append(f"{reading.title(card)}: {error} ({_FORCE_HINT})")
        return refused

    async def _offer(self, content: Content, reading: _Reading) -> None:
        """Publishes what a file says, unless another was faster."""
        try:
            await self._publish(content, reading.by)
        except RevisionRefusedError as error:
            self._compare(content, error.latest, reading)

    def _compare(self, content: Content, latest: Version, reading: _Reading) -> None:
        """Notes where a file says other than what is published, and has no higher revision."""
        if latest.version == content.version:
            return
        if content.revision < latest.revision:
            reading.older.append(_title(content))
        else:
            reading.refused.append(f"{reading.title(content)}: {self._taken(content, latest)}")

    def _is_newer(self, content: Content) -> bool:
        latest = self._published.latest(*_key(content))
        return latest is None or content.revision > latest.revision

    def _taken(self, content: Content, latest: Version) -> str:
        """One revision with two contents."""
        published = self._published.latest_costs()
        same_file = isinstance(content, pricing.CostBook) and published and content.states(published)
        what = "other prices of the catalog" if same_file else "other content"
        return (
            f"revision {latest.revision} is published with {what},"
            f" as version {latest.number} (to publish this one, write revision: {latest.revision + 1})"
        )

    async def refresh(self) -> None:
        """Takes in what others have published."""
        await self._published.refresh(self._database, self._clock())

    async def _publish_costs(
        self, costs: pricing.CostBook, cards: Mapping[str, pricing.RateCard], by: By
    ) -> Publication:
        problems = await in_reader(_unknown, costs, cards)
        if problems:
            raise pricing.ConfigError(problems)
        return await self._publish(costs, by)

    async def _publish(self, content: Content, by: By) -> Publication:
        kind, name = _key(content)
        draft = NewVersion(
            kind=kind,
            name=name,
            revision=content.revision,
            version=content.version,
            effective_from=content.effective_from,
            document=content.document,
            by=by.act,
            source=by.source,
            restores=by.restores,
            forced=by.forced,
        )
        done = await publish(self._database.writer, draft, self._convergence)
        if not done.repeated:
            _log.info("prices.published", **_logged(done.version))
        await self.refresh()
        return done

    def latest_costs(self) -> pricing.CostBook:
        """The cost book that cards are checked against, in force or to come."""
        costs = self._published.latest_costs()
        if costs is None:
            raise AssertionError("nothing is published before a cost book is")
        return costs

    def _latest_cards(self) -> Mapping[str, pricing.RateCard]:
        return {name: card.content for name, card in self._published.latest_cards().items()}


def _unknown(costs: pricing.CostBook, cards: Mapping[str, pricing.RateCard]) -> list[pricing.Problem]:
    return [
        problem
        for name, card in cards.items()
        for problem in pricing.unknown_to(costs, card, f"card {name}, revision {card.revision}")
    ]


class _Reading:
    """What becomes of a directory's files, file by file."""

    def __init__(self, by: By, config: pricing.Config) -> None:
        self.by = by
        self.refused: list[str] = []
        self.older: list[str] = []
        self._config = config

    def title(self, content: Content) -> str:
        """The file, and what it holds."""
        return f"{self.file(content)}: {_title(content)}"

    def file(self, content: Content) -> str:
        """The file that says it."""
        return content.file if isinstance(content, PlanBook) else self._config.files[_key(content)[1]]


def _key(content: Content) -> tuple[Kind, str]:
    if isinstance(content, pricing.RateCard):
        return Kind.CARD, content.name
    if isinstance(content, PlanBook):
        return Kind.PLANS, PLANS
    return Kind.COSTS, COST_BOOK


def _title(content: Content) -> str:
    return title_of(*_key(content))


def _logged(version: Version) -> dict[str, object]:
    return {
        "what": title_of(version.kind, version.name),
        "number": version.number,
        "revision": version.revision,
        "effective_from": version.effective_from.isoformat(),
        "by": version.published_by,
        "by_key_id": version.published_by_key_id,
        "source": version.source.value,
        "forced": version.forced,
    }
