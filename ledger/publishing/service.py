"""The service of prices: brings a process to what is published, and what its files say to publication."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import structlog

from ledger.clock import boot_seconds
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.price_book import PriceBook
from ledger.publishing.directory_watch import PriceFiles
from ledger.publishing.publisher import MarginOf, Publisher
from ledger.store.postgres.database import Database
from ledger.store.prices.versions import CONVERGENCE, POLL_SECONDS

_log = structlog.get_logger(__name__)


class PublishingService:
    """One per process."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        cells: Sequence[str],
        prices: PriceBook,
        margin_of: MarginOf,
        clock: Callable[[], datetime],
        metrics: OperationsMetrics,
        convergence: timedelta,
    ) -> None:
        self.prices = prices
        self.publisher = Publisher(database, cells, prices, margin_of, clock, convergence)
        self.files = PriceFiles(directory, self.publisher, self.prices)
        self.margin_floors: Mapping[str, Fraction] = {}
        """Of the cards in force that have one; replaced whole at each look."""
        self.reread = asyncio.Event()
        """Set by whoever wants the files to be read at once, changed or not."""
        self._clock = clock
        self._metrics = metrics
        self._unreadable: tuple[str, ...] = ()
        self._looked_at = boot_seconds()
        # What the files say may be published no more.
        database.history.at_a_turn(lambda _: self.reread.set())
        metrics.prices.look_age.set_function(lambda: round(boot_seconds() - self._looked_at, 1))

    @classmethod
    async def open(
        cls,
        directory: Path,
        database: Database,
        cells: Sequence[str],
        prices: PriceBook,
        margin_of: MarginOf,
        clock: Callable[[], datetime],
        metrics: OperationsMetrics,
        convergence: timedelta = CONVERGENCE,
    ) -> PublishingService:
        """Publishes the files, and takes in what is published; with files that are wrong the latter alone.

        Raises ConfigError where there is nothing to price by, or where the files have plans, wrong ones, and
        none are published: the built-in ones would take them from customers.
        """
        service = cls(directory, database, cells, prices, margin_of, clock, metrics, convergence)
        await service.publisher.refresh()
        await service.files.take()
        await service.files.require()
        await service.prices.prepare(clock())
        service._show()
        return service

    async def run(self) -> None:
        """Looks at the database and at the files until cancelled."""
        reported = ""
        while True:
            try:
                await self.step()
                reported = ""
            except Exception as error:  # noqa: BLE001 -- no look that fails may end the looking
                if reported != repr(error):
                    _log.error("prices.not_looked_at", error=repr(error))
                reported = repr(error)
                self._metrics.prices.files_match.set(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.reread.wait(), POLL_SECONDS)

    async def step(self) -> None:
        """One look. Raises the driver's errors."""
        await self.publisher.refresh()
        await self.prices.prepare(self._clock())
        if self.reread.is_set():
            self.reread.clear()
            await self.files.take()
        else:
            await self.files.step()
        self._looked_at = boot_seconds()
        self._show()

    def _show(self) -> None:
        published = self.prices.published
        if published.unreadable != self._unreadable:
            self._unreadable = published.unreadable
            _log.error("prices.unreadable", versions=list(published.unreadable))
        self.margin_floors = {
            name: card.content.margin_floor
            for name, card in self.prices.cards(self._clock()).items()
            if card.content.margin_floor is not None
        }
        self._metrics.prices.show(
            published.generation, len(self.files.read.refused), match=self.files.read.match
        )
