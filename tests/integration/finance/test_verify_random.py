"""Verification against random histories, which the pure audit of the books has held at every step."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from bookkeeper import CELL, catch_up, line, priced

from ledger.books import (
    Charge,
    Command,
    Commit,
    DisputeGrant,
    EntryKind,
    GrantKind,
    IssueGrant,
    LotKey,
    OverCapture,
    Plan,
    Refund,
    RefundGrant,
    Release,
    Reserve,
    ResolveDispute,
    Reverse,
    Treatment,
    UsedCredits,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.model.labels import NOTHING
from ledger.books.model.reservations import Reservation
from ledger.followers.tailer import Tailer
from ledger.metrics.finance import FinanceMetrics
from ledger.store.cells import columns, rows_out
from ledger.store.cells.columns import Columns
from ledger.store.finance.verify import verify_journal
from ledger.store.postgres.database import Connection

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "books"))

from books_world import World

STEPS = 60


class RandomWorld(World):
    """A customer to whom random things happen."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 -- the same history again for the same seed
        policy = self.dice.choice(list(OverCapture))
        super().__init__(Plan("standard", "agents", policy, self.dice.choice([0, 7, 50])), 3)
        for step in range(STEPS):
            self.run(*self.random_command(step))
            if self.dice.random() < 0.3:
                self.pass_time(timedelta(seconds=self.dice.randrange(200)))

    def random_command(self, step: int) -> tuple[Command, object]:
        dice, request = self.dice, (f"request-{step}", b"")
        usage = priced(
            *(self.random_line() for _ in range(dice.randrange(1, 4))), outcomes=dice.random() < 0.3
        )
        stated = dice.choice([None, None, dice.randrange(1, 30)])
        usage = usage if stated is None else None
        named = dice.randrange(1, self.wallet.sequence + 1)
        match dice.randrange(9):
            case 0 | 1:
                kind, paid = dice.choice([(GrantKind.PROMO, 0), (GrantKind.PAID, dice.randrange(200))])
                return IssueGrant(*request, dice.randrange(1, 60), kind, paid, **self.random_validity()), None
            case 2 | 3:
                return Reserve(*request, stated, ttl=timedelta(seconds=dice.randrange(1, 300))), usage
            case 4 | 5:
                reservation = dice.choice([*self.reservations, named])
                return Commit(*request, reservation, stated, dice.random() < 0.5), usage
            case 6:
                return Charge(*request, stated, already_used=True), usage
            case 7:
                return self.random_money_back(request), None
            case _:
                reservation = dice.choice([*self.reservations, named])
                return dice.choice(
                    [
                        Release(*request, reservation),
                        Reverse(*request, named, None, "why"),
                        Refund(*request, named, dice.choice([None, 1, 4]), "why"),
                        Refund(*request, self.random_charge(), dice.choice([None, 1, 4]), "why"),
                        Reverse(*request, None, reservation, "why"),
                    ]
                ), None

    def random_money_back(self, request: tuple[str, bytes]) -> Command:
        dice = self.dice
        lot = dice.choice([LotKey(1, 0), *self.lots])
        some = dice.choice([None, None, 1, 5])
        return dice.choice(
            [
                RefundGrant(*request, lot, "why", some, dice.choice([None, None, 1])),
                WriteOffGrant(*request, lot, "why", some),
                WriteOffDebt(*request, "why", some),
                DisputeGrant(*request, lot, "why"),
                ResolveDispute(*request, lot, "why", dice.random() < 0.5),
                VoidGrant(*request, lot, "why", dice.choice(list(UsedCredits))),
            ]
        )

    def random_charge(self) -> int:
        charges = [e.sequence for e in self.entries if e.kind in (EntryKind.CHARGE, EntryKind.COMMIT)]
        return self.dice.choice([1, *charges])

    def random_line(self) -> object:
        treatment = self.dice.choice([*[Treatment.CHARGED] * 4, *Treatment])
        micros = self.dice.randrange(20) if treatment is Treatment.CHARGED else 0
        cost = Fraction(self.dice.randrange(100), self.dice.randrange(1, 4))
        kind = self.dice.choice(["tokens", "compute", "units", "outcome"])
        return line(kind, micros=micros, cost_nanousd=cost, treatment=treatment)

    def random_validity(self) -> dict[str, object]:
        dice = self.dice
        starts = self.now + timedelta(seconds=dice.randrange(1, 100)) if dice.random() < 0.2 else None
        ends = self.now + timedelta(seconds=dice.randrange(101, 400)) if dice.random() < 0.5 else None
        scope = dice.choice([None, None, "tokens", "compute"])
        return {"effective_at": starts, "expires_at": ends, "scope": scope, "priority": dice.randrange(2)}


async def store(owner: Connection, customer: int, world: World) -> None:
    """Writes all that the world has stored as the rows that the service would write."""
    entries = [entry._replace(customer=customer) for entry in world.entries]
    wallet = world.wallet._replace(customer=customer)
    lots, reservations = world.lots.values(), world.reservations.values()
    await owner.execute(
        "INSERT INTO ledger.customers (customer_id, cell) VALUES ($1, $2)", f"customer-{customer}", CELL
    )
    shared = rows_out.Shared()
    row = rows_out.wallet_row(wallet, shared, with_profile=True)
    await insert(owner, "wallets", columns.WALLET, [row], shared, _CREATED)
    rows = [rows_out.entry_row(entry, shared, None) for entry in entries]
    await insert(owner, "entries", columns.ENTRY, rows, shared)
    rows = [rows_out.money_row(entry, entry.money, shared) for entry in entries if entry.money is not None]
    await insert(owner, "money", columns.MONEY, rows, shared)
    rows = [rows_out.lot_row(customer, lot, shared) for lot in lots]
    await insert(owner, "lots", columns.LOT, rows, shared)
    rows = [rows_out.lot_value_row(customer, lot) for lot in lots]
    await insert(owner, "lot_values", columns.LOT_VALUE, rows, shared)
    rows = [rows_out.grant_row(customer, *record) for record in world.records.items()]
    await insert(owner, "grants", columns.GRANT, rows, shared)
    rows = [rows_out.debt_row(customer, wallet.unbilled_nanousd)]
    await insert(owner, "debts", columns.DEBT, rows, shared)
    await owner.executemany(_RESERVATION, [reservation_values(customer, each) for each in reservations])


_CREATED = {"created_at": columns.instant_of("x", "last_instant", 2), "token": "1"}


async def insert(
    owner: Connection,
    table: str,
    kind: Columns,
    rows: list[str],
    shared: rows_out.Shared,
    more: Mapping[str, str] = NOTHING,
) -> None:
    """The rows are $1, what they share begins at $2."""
    names, values = ", ".join([*kind.names, *more]), ", ".join([kind.values(2), *more.values()])
    text = (
        f"WITH shared AS (SELECT {columns.shared_types(2)}) INSERT INTO {CELL}.{table} ({names})"
        f" SELECT {values} FROM {kind.rows(CELL, 1)}"
    )
    await owner.execute(text, rows_out.joined(rows), *shared.parameters())


_RESERVATION = f"""
INSERT INTO {CELL}.reservations ({", ".join(columns.RESERVATION.names)})
VALUES ({", ".join(f"${number}" for number in range(1, len(columns.RESERVATION.names) + 1))})
"""


def reservation_values(customer: int, reservation: Reservation) -> tuple[object, ...]:
    pins = [[*pin.lot, pin.micros] for pin in reservation.pins]
    return (
        customer,
        reservation.sequence,
        reservation.state,
        *reservation.terms,
        reservation.created_at,
        reservation.expires_at,
        reservation.held_micros,
        json.dumps(pins),
        reservation.priced_micros,
        reservation.charged_micros,
        reservation.has_outcome_rule,
        reservation.outcome_charged,
        reservation.own_run,
        reservation.lapsed_micros,
        json.dumps(dict(reservation.labels)),
    )


@pytest.mark.parametrize("seed", range(3))
async def test_random_histories_hold(database, owner, seed):
    """The queries agree with the books' own audit: no history that it holds breaks an invariant here."""
    kinds = set()
    async with owner.transaction():
        for customer in range(1, 11):
            world = RandomWorld(100 * seed + customer)
            kinds |= {entry.kind for entry in world.entries}
            await store(owner, customer, world)
    await catch_up(Tailer(database, [CELL], FinanceMetrics()))
    found = await verify_journal(database.finance, [CELL])
    assert found.violations == ()
    assert found.customers == 10
    assert len(kinds) >= 9, "the dice reach almost every kind of entry"
