"""A shorthand for commands to an engine, and a configuration with one simple card."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pricing
from ledger import books
from ledger.clock import DatabaseClock
from ledger.engine.command import Committed, all_done
from ledger.engine.engine import Engine
from ledger.publishing.service import PublishingService
from ledger.store.finance.verify import verify_journal
from ledger.store.postgres.database import Database
from tests.acts import ACT
from tests.customers import create_customer

COSTS = """
units:
  page: {each: "0.001"}
"""
CARD = """
card: basic
revision: %s
credit: credit
credit_price_usd: "0.01"
rules:
  - name: pages
    match: {units: page}
    price: {each: "%s"}
"""


@dataclass(frozen=True, slots=True)
class Config:
    """The files of a configuration."""

    card: str = CARD
    costs: str = COSTS
    plans: str = ""
    """Of `plans.yaml`; empty: the plans that are built in."""

    def write(self, directory: Path, each: str = "1", revision: int = 1) -> Path:
        """Writes them, the card's price of a page and its revision filled in."""
        (directory / "cards").mkdir(parents=True, exist_ok=True)
        (directory / "costs.yaml").write_text(self.costs)
        (directory / "cards" / "basic.yaml").write_text(self.card % (revision, each))
        if self.plans:
            (directory / "plans.yaml").write_text(self.plans)
        return directory


def fingerprint(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def pages(quantity: int) -> tuple[pricing.Item, ...]:
    return (pricing.Units(meter="page", quantity_nanos=quantity * 10**9),)


def entry_of(outcome: Committed | books.Refusal) -> books.Entry:
    """Of a command that had an effect."""
    assert isinstance(outcome, Committed), outcome
    return outcome.entry


class World:
    """One engine, and commands by their request ids."""

    def __init__(
        self, engine: Engine, database: Database, clock: DatabaseClock, publishing: PublishingService
    ) -> None:
        self.engine = engine
        self.database = database
        self.clock = clock
        self.publishing = publishing

    async def customer(self, customer_id: str, credits_micros: int = 0, plan: str = "standard") -> str:
        def make(customer: int, now: datetime) -> books.Decision:
            return books.create(
                customer,
                display_name=customer_id,
                plan=plan,
                card="basic",
                zone="UTC",
                request_id="create",
                fingerprint=fingerprint("create"),
                now=now,
            )

        await create_customer(self.database.writer, customer_id, "cell_00", make, ACT)
        if credits_micros:
            command = books.IssueGrant(
                "grant", fingerprint("grant"), credits_micros, books.GrantKind.PAID, credits_micros * 10
            )
            await self.execute(customer_id, command)
        return customer_id

    async def execute(
        self, customer_id: str, command: books.Command, usage: tuple[pricing.Item, ...] | None = None
    ) -> Committed | books.Refusal:
        """What comes of a command."""
        pending = self.engine.begin(customer_id, command, usage)
        await all_done((pending,))
        return pending.result()

    async def reserve(
        self, customer_id: str, request_id: str, micros: int, body: str | None = None
    ) -> Committed | books.Refusal:
        command = books.Reserve(request_id, fingerprint(body or f"reserve {micros}"), micros)
        return await self.execute(customer_id, command)

    async def commit(
        self, customer_id: str, request_id: str, reservation: int, quantity: int, *, final: bool = True
    ) -> Committed | books.Refusal:
        print_ = fingerprint(f"commit {reservation} {quantity} {final}")
        command = books.Commit(request_id, print_, reservation, None, final)
        return await self.execute(customer_id, command, pages(quantity))


async def assert_books_hold(world: World) -> None:
    """Whatever the journal says agrees with itself."""
    found = await verify_journal(world.database.finance, ("cell_00",))
    assert found.violations == ()
