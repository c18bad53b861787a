"""Replicas: services of prices on one database, each with a directory of files of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ledger.books.model.plans import Plan
from ledger.clock import DatabaseClock
from ledger.metrics.operations import OperationsMetrics
from ledger.publishing.service import PublishingService

COSTS = "revision: %s\nunits:\n  page: {each: '0.001'}\n%s"
CARD = """\
# Pages, by the piece.
card: basic
revision: %s
credit: credit
credit_price_usd: "0.01"
%srules:
  - {name: pages, match: {units: %s}, price: {each: "%s"}}
"""


def write_costs(directory: Path, revision: int = 1, more: str = "") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "costs.yaml").write_text(COSTS % (revision, more))


def write_card(
    directory: Path, revision: int = 1, each: str = "1", extra: str = "", unit: str = "page"
) -> None:
    (directory / "cards").mkdir(parents=True, exist_ok=True)
    (directory / "cards" / "basic.yaml").write_text(CARD % (revision, extra, unit, each))


@dataclass
class Replica:
    """One process's publishing of prices."""

    directory: Path
    publishing: PublishingService
    metrics: OperationsMetrics
    clock: DatabaseClock

    def each(self, when: datetime) -> str:
        """What a page costs at an instant."""
        card = self.publishing.prices.published.card("basic", when)
        assert card is not None
        [rule] = card.content.price_list()
        return rule.rates[0].credits

    def number(self, when: datetime) -> int:
        """The version in force at an instant."""
        card = self.publishing.prices.published.card("basic", when)
        assert card is not None
        return card.version.number

    def later(self, **by: float) -> datetime:
        return self.clock.now() + timedelta(**by)

    async def look(self) -> None:
        """Two looks: at the second the files are seen to be still."""
        await self.publishing.step()
        await self.publishing.step()

    def gauge(self, name: str) -> Any:
        return self.metrics.registry.get_sample_value(f"acu_ledger_{name}")


def plans_of(replica: Replica, instant: datetime | None = None) -> Mapping[str, Plan]:
    """The plans in force on a replica: now, if no instant is named."""
    return replica.publishing.prices.plans(instant or replica.clock.now())


def write_plans(replica: Replica, revision: int, plans: str) -> None:
    (replica.directory / "plans.yaml").write_text(f"revision: {revision}\nplans: {{{plans}}}\n")


Start = Callable[..., Awaitable[Replica]]
