"""Customers whose commands the real books decide, gathered in batches as an engine gathers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ledger import books
from ledger.books import Decision, Facts, GrantKind, Plan, Priced
from ledger.store.cells.write import Batch, Standing
from tests import batches, build
from tests.acts import ACT
from tests.amounts import CREDIT, DOLLAR
from tests.build import decided
from tests.customers import create_customer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.books import Command, Refusal, Reservation, Wallet
    from ledger.store.cells.load import Loaded
    from ledger.store.postgres.database import Database

CELL = "cell_00"
TABLES = (
    "wallets",
    "debts",
    "entries",
    "money",
    "reservations",
    "reservation_costs",
    "lots",
    "lot_values",
    "states",
)
"""Of a cell, as this world fills them."""
PLAN = Plan(
    "team", "standard", over_capture=books.OverCapture.ALLOW_WITH_OVERDRAFT, overdraft_limit_micros=CREDIT
)
TERMS = build.terms("standard", credit_price_nanousd=10_000_000)


def priced(micros: int, cost_nanousd: int = 7, **more: Any) -> Priced:
    """Usage of one line with a price and a cost that are not whole."""
    line = build.line(
        Fraction(micros * 3 + 1, 3),
        Fraction(cost_nanousd * 7 + 1, 7),
        public={"title": "Räknare", "kind": "tokens", "name": "m-1", "quantities": {"input": 1200}},
        internal={"rule": "r", "name": "m-1", "lever": "cache", "served_by": "m-1-mini"},
    )
    return build.priced(line, **more)


@dataclass
class World:
    """Customers in memory, ahead of the database by one open batch."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    wallets: dict[int, Wallet] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    """Of the batches that write the wallets so."""
    reservations: dict[tuple[int, int], Reservation] = field(default_factory=dict)
    batch: Batch = field(init=False)
    requests: int = 0

    def __post_init__(self) -> None:
        self.take()

    def take(self) -> Batch:
        """The open batch, closed; a new one opens."""
        taken = getattr(self, "batch", None)
        self.now = max(self.now, datetime.now(UTC))
        self.batch = Batch(decided_at=self.now)
        return taken if taken is not None else self.batch

    async def new_customer(self, database: Database, name: str = "", credits_count: int = 1_000) -> int:
        """A customer in the database, and a grant to it in the open batch."""
        created = await create_customer(
            database.writer,
            name or f"customer-{len(self.wallets)}-{self.request_id()}",
            CELL,
            self._created,
            ACT,
        )
        customer = created.key.customer
        text = f"SELECT token FROM {CELL}.wallets WHERE customer = $1"
        self.tokens[customer] = await database.writer.fetchval(text, customer)
        if credits_count:
            self.grant(customer, credits_count)
        return customer

    async def new_customers(self, database: Database, count: int) -> list[int]:
        """So many, each with a grant in the open batch: none grows old while the others are made."""
        customers = [await self.new_customer(database, credits_count=0) for _ in range(count)]
        self.take()
        for customer in customers:
            self.grant(customer, 1_000)
        return customers

    def _created(self, customer: int, now: datetime) -> Decision:
        decision = books.create(
            customer, "Åsa", PLAN.name, None, "Europe/Stockholm", self.request_id(), b"f", now
        )
        self.now = max(self.now, now)
        self.wallets[customer] = decision.wallet
        return decision

    def request_id(self) -> str:
        self.requests += 1
        return f"request-{self.requests}"

    def grant(self, customer: int, credits_count: int, **more: Any) -> Decision:
        options: dict[str, Any] = {
            "kind": GrantKind.PAID,
            "paid_total_nanousd": credits_count * DOLLAR // 100,
            **more,
        }
        return self.do(
            customer,
            books.IssueGrant(self.request_id(), b"f", amount_micros=credits_count * CREDIT, **options),
        )

    def reserve(self, customer: int, micros: int = CREDIT, **more: Any) -> int:
        """Its sequence."""
        return self.do(
            customer, books.Reserve(self.request_id(), b"f", amount_micros=micros, **more)
        ).entry.sequence

    def commit(
        self, customer: int, sequence: int, usage: Priced | None = None, *, final: bool = True
    ) -> Decision:
        command = books.Commit(self.request_id(), b"f", sequence, None, final)
        return self.do(customer, command, usage or priced(CREDIT // 2))

    def do(
        self, customer: int, command: Command, usage: Priced | None = None, facts: Facts | None = None
    ) -> Decision:
        decision = decided(self.decide(customer, command, usage, facts))
        self.apply(decision)
        return decision

    def decide(
        self, customer: int, command: Command, usage: Priced | None = None, facts: Facts | None = None
    ) -> Decision | Refusal:
        named = getattr(command, "reservation", None)
        return books.decide(
            self.wallets[customer],
            command,
            now=max(self.now, self.wallets[customer].last_instant),
            plan=PLAN,
            priced=usage,
            terms=TERMS,
            facts=facts or Facts(reservation=self.reservations.get((customer, named))),
        )

    def apply(self, decision: Decision) -> None:
        """Adds a decision to the open batch."""
        customer, batch = decision.entry.customer, self.batch
        batches.add(batch, self.standing(customer), decision)
        self.tokens[customer] = batch.token
        if decision.reservation is not None:
            self.reservations[customer, decision.reservation.sequence] = decision.reservation
        if decision.wallet.unbilled_nanousd != self.wallets[customer].unbilled_nanousd:
            batch.debts[customer] = decision.wallet.unbilled_nanousd
        self.wallets[customer] = decision.wallet

    def standing(self, customer: int) -> Standing:
        """What is decided next is decided upon."""
        return Standing(self.wallets[customer].sequence, self.tokens[customer])

    def learn(self, loaded: Mapping[int, Loaded]) -> None:
        """Customers as they were loaded: another process may have written them."""
        self.wallets = {customer: found.wallet for customer, found in loaded.items()}
        self.tokens = {customer: found.token for customer, found in loaded.items()}

    def twin(self) -> World:
        """Another process that knows the same."""
        return World(now=self.now, wallets={**self.wallets}, tokens={**self.tokens}, requests=10_000)

    def tick(self, **delta: float) -> None:
        self.now += timedelta(**delta)
