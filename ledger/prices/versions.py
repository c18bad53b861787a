"""What is published: the versions of rate cards, the cost book and the plans, and which is in force when.

Every process prices by what the database has, whatever its own files say. In force at an instant is the
version with the latest `effective_from` that is not after it; of two with the same one, the higher number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from math import inf
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import pricing
from ledger.clock import boot_seconds
from ledger.prices.plans import PlanBook
from ledger.prices.reading import in_reader
from ledger.store.postgres.database import Database
from ledger.store.prices.versions import (
    COST_BOOK,
    Kind,
    Mark,
    Version,
    get_document,
    look,
    title_of,
    versions_since,
)

USAGE_REACH = timedelta(days=36)
"""How far back usage may lie (35 days), and a day."""

Content = TypeVar("Content", pricing.RateCard, pricing.CostBook, PlanBook)


class InForce(NamedTuple, Generic[Content]):
    """A version with what it says."""

    version: Version
    content: Content


READ_DOCUMENT: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.CARD: pricing.RateCard.from_document,
    Kind.COSTS: pricing.CostBook.from_document,
    Kind.PLANS: PlanBook.from_document,
}
"""Reads a document of a kind. Raises ConfigError."""

_Key: TypeAlias = tuple[str, int]
"""A name, and the number of one of its versions."""


class _Contents:
    """What versions say, by their numbers.

    On another history of the database these may be other versions'.
    """

    def __init__(self) -> None:
        self.cards: dict[_Key, pricing.RateCard] = {}
        self.costs: dict[_Key, pricing.CostBook] = {}
        self.plans: dict[_Key, PlanBook] = {}
        self.by_kind: Mapping[Kind, dict[_Key, Any]] = {
            Kind.CARD: self.cards,
            Kind.COSTS: self.costs,
            Kind.PLANS: self.plans,
        }

    def of(self, versions: Iterable[Version]) -> _Contents:
        """Those that these versions say, by their hashes."""
        made = _Contents()
        for version in versions:
            key = version.name, version.number
            content = self.by_kind[version.kind].get(key)
            if content is not None and content.version == version.version:
                made.by_kind[version.kind][key] = content
        return made

    async def fetch_one(self, kind: Kind, name: str, number: int, database: Database) -> None:
        if (name, number) in self.by_kind[kind]:
            return
        document = await get_document(database.writer, kind, name, number)
        # In a thread: a card may have ten thousand rules, and commands do not wait for them.
        self.by_kind[kind][name, number] = await in_reader(READ_DOCUMENT[kind], document)

    async def fetch(self, versions: Iterable[Version], database: Database) -> dict[Version, str]:
        """Fetches what these say; those that cannot be read, and why."""
        failed: dict[Version, str] = {}
        for version in versions:
            try:
                await self.fetch_one(version.kind, version.name, version.number, database)
            except pricing.ConfigError as error:
                title = title_of(version.kind, version.name)
                failed[version] = f"{title}, version {version.number}: {error}"
        return failed


class Published:
    """The versions that a process knows of, and the contents that it may need."""

    def __init__(self, numbers_given_anew: Callable[[], None], current_seconds: float) -> None:
        """`numbers_given_anew` is called when a number may stand for another content than before."""
        self._current_seconds = current_seconds
        self.generation = 0
        """The last version known, of anything."""
        self.asked_at = -inf
        """On the boot clock, when it was last known that nothing newer was published."""
        self.unreadable: tuple[str, ...] = ()
        """Versions that this program cannot read, and why: it may be older than a scheme in them."""
        self._latest: dict[tuple[Kind, str], Version] = {}
        self._costs: list[InForce[pricing.CostBook]] = []
        self._cards: dict[str, list[InForce[pricing.RateCard]]] = {}
        self._plans: list[InForce[PlanBook]] = []
        """The one that takes effect last comes first."""
        self._contents = _Contents()
        self._numbers_given_anew = numbers_given_anew
        self._mark: Mark | None = None
        """Of the version of that generation: what tells it from one of another history."""
        self._refreshing = asyncio.Lock()
        self._forgotten = False
        """The database may have lost versions: all are to be taken in anew."""

    def is_current(self, seconds: float) -> bool:
        """Whether every version that is in force then, on the boot clock, is known.

        Else nothing is priced before the next look.
        """
        return seconds < self.asked_at + self._current_seconds

    def forget(self) -> None:
        """Has the next look take in all versions anew; until then nothing is priced for commands."""
        self._forgotten = True
        self.asked_at = -inf

    async def refresh(self, database: Database, now: datetime) -> None:
        """Takes in what was published since the last look.

        What is not in force any more at `now` is left out, but for cost books and plans within the reach of
        usage. A version that this program cannot read is in `unreadable`; the one before it stays in force
        here, and the generation stays behind. Raises the driver's errors.
        """
        async with self._refreshing:
            asked_at = boot_seconds()
            seen = await look(database.writer, self.generation)
            if seen.mark != self._mark and not self._forgotten:
                # Restored under connections that live on: none has led to another history.
                database.history.turn(seen.now)
            if seen.generation != self.generation or self._forgotten:
                await self._catch_up(database, now)
            if not self._forgotten:
                self.asked_at = asked_at

    async def _catch_up(self, database: Database, now: datetime) -> None:
        anew, self._forgotten = self._forgotten, False
        try:
            await self._take_since(0 if anew else self.generation, database, now, anew=anew)
        except BaseException:
            self._forgotten |= anew
            raise

    async def _take_since(self, known: int, database: Database, now: datetime, *, anew: bool) -> None:
        found = await versions_since(database.writer, known)
        contents = self._contents.of(found) if anew else self._contents
        unreadable: dict[Version, str] = {}
        failed = await contents.fetch(_of_use(found, now), database)
        while failed:
            unreadable |= failed
            readable = [version for version in found if version not in unreadable]
            failed = await contents.fetch(_of_use(readable, now), database)
        if anew:
            self._contents = contents
            self._numbers_given_anew()
            for known_versions in (self._latest, self._costs, self._cards, self._plans):
                known_versions.clear()
            self._mark = None
        for version in found:
            if version not in unreadable:
                self._take(version)
        self.unreadable = tuple(unreadable.values())
        newest = found[-1].generation if found else known
        behind = min((version.generation for version in unreadable), default=newest + 1)
        self.generation = behind - 1
        self._mark = next((each.mark for each in found if each.generation == self.generation), self._mark)

    def _take(self, version: Version) -> None:
        """Puts a version among those of its name, if it was fetched."""
        self._latest[version.kind, version.name] = version
        content = self._contents.by_kind[version.kind].get((version.name, version.number))
        if content is not None:
            if version.kind is Kind.CARD:
                self._cards.setdefault(version.name, [])
            _insert(self._known(version.kind, version.name), InForce(version, content))

    def _known(self, kind: Kind, name: str) -> list[InForce[Any]]:
        """The versions of a name that are or will be in force, what takes effect last first."""
        if kind is Kind.CARD:
            return self._cards.get(name, [])
        return self._costs if kind is Kind.COSTS else self._plans

    async def learn(self, card: str, card_version: int, cost_version: int, database: Database) -> None:
        """Fetches versions that are in force no more, by their numbers. Raises UnknownVersionError."""
        contents = self._contents
        await contents.fetch_one(Kind.CARD, card, card_version, database)
        await contents.fetch_one(Kind.COSTS, COST_BOOK, cost_version, database)

    def knows(self, card: str, card_version: int, cost_version: int) -> bool:
        """Whether both can be had without a look at the database."""
        contents = self._contents
        return (card, card_version) in contents.cards and (COST_BOOK, cost_version) in contents.costs

    def card_of(self, name: str, number: int) -> pricing.RateCard:
        """A known version of a card."""
        return self._contents.cards[name, number]

    def costs_of(self, number: int) -> pricing.CostBook:
        """A known version of the cost book."""
        return self._contents.costs[COST_BOOK, number]

    def can_price(self) -> bool:
        """Whether there is a cost book and a card, in force or to come."""
        return bool(self._costs) and bool(self._cards)

    def latest(self, kind: Kind, name: str = COST_BOOK) -> Version | None:
        """The version of the highest number; None if nothing of that name has been published."""
        return self._latest.get((kind, name))

    def latest_costs(self) -> pricing.CostBook | None:
        """What the latest cost book says, in force or to come."""
        latest = self.latest(Kind.COSTS)
        return self.costs_of(latest.number) if latest is not None else None

    def latest_cards(self) -> Mapping[str, InForce[pricing.RateCard]]:
        """What the latest version of each card says, in force or to come."""
        return {
            name: next(each for each in versions if each.version == self._latest[Kind.CARD, name])
            for name, versions in self._cards.items()
        }

    def versions(self, kind: Kind, name: str = COST_BOOK) -> list[Version]:
        """Those of a name that are or will be in force."""
        return [each.version for each in self._known(kind, name)]

    def names(self) -> Collection[str]:
        """All cards, in force or to come."""
        return self._cards.keys()

    def newest_cards(self) -> Mapping[str, pricing.RateCard]:
        """Of each card what it will say when all its versions have taken effect."""
        return {name: versions[0].content for name, versions in self._cards.items()}

    def card(self, name: str, instant: datetime) -> InForce[pricing.RateCard] | None:
        """The version of a card that is in force at an instant; None if there is none."""
        for each in self._cards.get(name, ()):
            if each.version.effective_from <= instant:
                return each
        return None

    def priced_by(
        self, instant: datetime
    ) -> Iterator[tuple[InForce[pricing.RateCard], InForce[pricing.CostBook]]]:
        """Each card with each cost book that new work may be priced by: those in force, and those to come."""
        for versions in self._cards.values():
            yield from product(_from(versions, instant), _from(self._costs, instant))

    def plans(self, instant: datetime) -> InForce[PlanBook] | None:
        """The plans that are in force at an instant; None: none that were published."""
        for each in self._plans:
            if each.version.effective_from <= instant:
                return each
        return None

    def plans_then(self, instant: datetime) -> InForce[PlanBook] | None:
        """The plans that were in force at an instant. The first that are known reach back for ever."""
        return self.plans(instant) or (self._plans[-1] if self._plans else None)

    def plans_from(self, instant: datetime) -> list[PlanBook]:
        """The plans in force at an instant, and those to come, what takes effect last first."""
        return [each.content for each in _from(self._plans, instant)]

    def costs(self, instant: datetime) -> InForce[pricing.CostBook]:
        """The cost book in force at an instant. The first version reaches back for ever."""
        for each in self._costs:
            if each.version.effective_from <= instant:
                return each
        return self._costs[-1]


def _from(versions: Iterable[InForce[Content]], instant: datetime) -> Iterator[InForce[Content]]:
    """What is in force at an instant, and what will be."""
    for each in versions:
        yield each
        if each.version.effective_from <= instant:
            return


def _insert(versions: list[InForce[Content]], made: InForce[Content]) -> None:
    if made in versions:
        return
    versions.append(made)
    versions.sort(key=lambda each: _when(each.version), reverse=True)


def _when(version: Version) -> tuple[datetime, int]:
    return version.effective_from, version.number


def _of_use(found: Sequence[Version], now: datetime) -> Iterator[Version]:
    """Of each name what is or will be in force, cost books that usage may reach, and the highest number.

    Plans as far back as cost books: what recurs goes by those of its instant, whenever it is written.
    """
    by_name: dict[tuple[Kind, str], list[Version]] = {}
    for version in found:
        by_name.setdefault((version.kind, version.name), []).append(version)
    for (kind, _), versions in by_name.items():
        since = now if kind is Kind.CARD else now - USAGE_REACH
        past = max((each for each in versions if each.effective_from <= since), key=_when, default=None)
        yield from (each for each in versions if each.effective_from > since or each in (past, versions[-1]))
