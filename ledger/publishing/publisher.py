"""Publishing: how a document, or a directory of files, becomes the version that every process prices by.

What is published has to hold together: a card may not price what the latest cost book does not know, and a
cost book may not drop what the latest version of a card prices.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from functools import partial
from math import floor

import structlog

import pricing
from ledger.books.model import Plan
from ledger.errors import NotNowError, RequestError
from ledger.prices.price_book import PriceBook
from ledger.prices.reading import in_reader
from ledger.store.audit import Act
from ledger.store.postgres.database import Database
from ledger.store.prices.plans import note_plans
from ledger.store.prices.versions import (
    COST_BOOK,
    Kind,
    NewVersion,
    Publication,
    RevisionRefusedError,
    Source,
    Version,
    find_version,
    get_document,
    publish,
)

FLOOR_DAYS = 30
"""Of usage that a card's margin is simulated on, before it is published."""

Content = pricing.RateCard | pricing.CostBook
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
    """A card is published in spite of its margin floor."""
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


def percent(share: Fraction) -> str:
    """A share in per cent, rounded down to two decimals: one under a floor never looks like it."""
    hundredths = floor(share * 10_000)
    return f"{'-' if hundredths < 0 else ''}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


class Publisher:
    """Publishes on behalf of one process, which then prices by what came of it."""

    def __init__(
        self, database: Database, prices: PriceBook, margin_of: MarginOf, clock: Callable[[], datetime]
    ) -> None:
        self._margin_of = margin_of
        self._database = database
        self._prices = prices
        self._published = prices.published
        self._clock = clock

    async def publish_card(self, text: str, by: By) -> Publication:
        """Publishes the document of a card.

        Raises ConfigError with all that is wrong with it, also where a plan of this process would have
        nothing left to fall back on; RevisionRefusedError, MarginBelowFloorError unless it is forced.
        """
        await self.refresh()
        card = await in_reader(pricing.read_card_for, text, self.latest_costs())
        plans = self._prices.plans_without_fallback(card)
        if plans:
            message = f"card {card.name} names no rule to fall back on, as plan {', '.join(plans)} asks"
            hint = "write fallback: {tokens: <name of a rule>}, or let the plan say unpriced: CHARGE_HOLD"
            raise pricing.ConfigError([pricing.Problem("<rate card>", 0, 0, message, hint)])
        return await self._publish(card, replace(by, forced=await self._is_below_floor(card, by)))

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
            card = pricing.revised_card(pricing.RateCard.from_document(document), revision)
            return await self.publish_card(card.document, orders)
        costs = pricing.revised_costs(pricing.CostBook.from_document(document), revision)
        return await self._publish_costs(costs, self._latest_cards(), orders)

    async def publish_files(self, config: pricing.Config, by: Act) -> FilesRead:
        """Publishes what is of a higher revision than what is published; the rest stays as it is.

        Where anything cannot be published nothing is.
        """
        await self.refresh()
        reading = _Reading(By(by, Source.FILE), config)
        contents: tuple[Content, ...] = (config.costs, *config.cards.values())
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
        return found

    async def doubts_of_card(self, text: str, costs: pricing.CostBook, file: str) -> list[pricing.Problem]:
        """What is likely to be a mistake in a card that can be published: found in the reader's thread."""
        return await in_reader(partial(pricing.doubts_of_card, text, costs, file, self._clock()))

    async def doubts_of_costs(self, text: str, costs: pricing.CostBook, file: str) -> list[pricing.Problem]:
        """The same of the text of a cost book."""
        return await in_reader(partial(pricing.doubts_of_costs, text, costs, file))

    async def put_plans_in_force(self, plans: Mapping[str, Plan], by: Act) -> None:
        """Lets this process go by plans of its files. Raises the driver's errors."""
        await note_plans(self._database.writer, by, plans)
        self._prices.plans = plans

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
        refused = [str(problem) for problem in problems]
        for card in cards.values():
            try:
                await self._is_below_floor(card, reading.by)
            except (MarginBelowFloorError, MarginUnknownError) as error:
                hint = "acu-ledger rates publish --force publishes it all the same"
                refused.append(f"{reading.title(card)}: {error} ({hint})")
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
        done = await publish(self._database.writer, draft)
        if not done.repeated:
            _log.info("prices.published", **_told(done.version))
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
        self._files = config.files

    def title(self, content: Content) -> str:
        """The file, and what it holds."""
        return f"{self._files[_key(content)[1]]}: {_title(content)}"


def _key(content: Content) -> tuple[Kind, str]:
    if isinstance(content, pricing.RateCard):
        return Kind.CARD, content.name
    return Kind.COSTS, COST_BOOK


def _title(content: Content) -> str:
    return f"card {content.name}" if isinstance(content, pricing.RateCard) else "cost book"


def _told(version: Version) -> dict[str, object]:
    return {
        "what": f"card {version.name}" if version.kind is Kind.CARD else "cost book",
        "number": version.number,
        "revision": version.revision,
        "effective_from": version.effective_from.isoformat(),
        "by": version.published_by,
        "by_key_id": version.published_by_key_id,
        "source": version.source.value,
        "forced": version.forced,
    }
