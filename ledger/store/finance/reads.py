"""What finance reads: the trial balance, margins, and the entries of charges.

The trial balance comes from the journal itself, margins from the rollups. Each answer is of
one snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ledger.books.model.amounts import Credits, Dollars
from ledger.books.model.entries import Entry
from ledger.store.cells import rows_in
from ledger.store.cells.columns import ENTRY, MONEY
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    import asyncpg

    from ledger.store.directory import CustomerKey
    from ledger.store.postgres.database import Pool, PooledConnection

GIVEN_BACK_MAX = 1_000
"""Refunds reported of one charge: an answer has a size."""


def _sums(accounts: Sequence[str]) -> str:
    return ", ".join(f"coalesce(sum({account}), 0) AS {account}" for account in accounts)


_SQL = statements_of(
    __name__,
    entry_columns=ENTRY.select("e"),
    money_columns=MONEY.select("m"),
    credit_sums=_sums(Credits._fields),
    dollar_sums=_sums(Dollars._fields),
    dollars=", ".join(Dollars._fields),
)
CREDIT_BALANCES = _SQL["credit_balances"]
DOLLAR_BALANCES = _SQL["dollar_balances"]
MARGINS = _SQL["margins"]
AS_OF = _SQL["as_of"]
CHARGE = _SQL["charge"]
GIVEN_BACK = _SQL["given_back"]
POSTED_DOLLARS = _SQL["posted_dollars"]


class Dimension(StrEnum):
    """What margins can be distinguished by: the columns of the rollups."""

    CUSTOMER = "customer"
    PLAN = "plan"
    CARD = "card"
    MODEL = "model"
    KIND = "kind"
    LEVER = "lever"
    DAY = "day"
    KEY_OWNER = "key_owner"


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """Balances of all accounts, in micro-credits and nano-dollars; each commodity sums to 0."""

    credits: Credits
    dollars: Dollars
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Margin:
    """Sums of one group: micro-credits priced, nano-dollars earned and owed to providers; and memos."""

    lines: int = 0
    unpriced_lines: int = 0
    uncosted_lines: int = 0
    credits_micros: int = 0
    revenue_nanousd: int = 0
    cost_nanousd: int = 0
    saved_nanousd: int = 0
    """What levers saved of the cost."""
    own_key_nanousd: int = 0
    """What customers paid providers on keys of their own, at list prices."""
    own_key_saved_nanousd: int = 0
    """What levers saved of that."""

    def __add__(self, other: Margin) -> Margin:
        return Margin(
            self.lines + other.lines,
            self.unpriced_lines + other.unpriced_lines,
            self.uncosted_lines + other.uncosted_lines,
            self.credits_micros + other.credits_micros,
            self.revenue_nanousd + other.revenue_nanousd,
            self.cost_nanousd + other.cost_nanousd,
            self.saved_nanousd + other.saved_nanousd,
            self.own_key_nanousd + other.own_key_nanousd,
            self.own_key_saved_nanousd + other.own_key_saved_nanousd,
        )


@dataclass(frozen=True, slots=True)
class MarginReport:
    groups: Mapping[tuple[Any, ...], Margin]
    """By the values of the dimensions asked for, in their order."""
    as_of: datetime | None
    """Everything booked up to this instant is in it; None while that is known of none."""


@dataclass(frozen=True, slots=True)
class MarginQuery:
    group_by: tuple[Dimension, ...] = ()
    first_day: date | None = None
    last_day: date | None = None
    """Included, as the first is."""
    customer: int | None = None


@dataclass(frozen=True, slots=True)
class FoundCharge:
    """The entry of a charge, and those that gave it back, oldest first; each with its money."""

    charge: Entry
    given_back: tuple[Entry, ...]


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[PooledConnection]:
    """A connection on which all statements see one state of the database."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection


async def trial_balance(
    pool: Pool, cells: Sequence[str], *, as_of: datetime | None = None, customer: int | None = None
) -> TrialBalance:
    """Adds up all accounts over what was booked up to `as_of` (None: over all that is booked)."""
    credit_balances = [0] * len(Credits._fields)
    dollar_balances = [0] * len(Dollars._fields)
    async with snapshot(pool) as connection:
        clock: datetime = await connection.fetchval("SELECT now()")
        for cell in cells:
            for balances, statement in (
                (credit_balances, CREDIT_BALANCES),
                (dollar_balances, DOLLAR_BALANCES),
            ):
                row = await connection.fetchrow(statement.format(cell=cell), as_of, customer)
                for index, amount in enumerate(row or ()):
                    balances[index] += int(amount)
    return TrialBalance(Credits(*credit_balances), Dollars(*dollar_balances), as_of or clock)


async def margin_report(
    pool: Pool, cells: Sequence[str], query: MarginQuery, groups_max: int
) -> MarginReport:
    """Adds up the rollups by the dimensions asked for; at most so many groups of each cell.

    Without a dimension there is one group, of everything.
    """
    names = [dimension.value for dimension in query.group_by]
    columns, grouping = "".join(f"{name}, " for name in names), ", ".join(names) or "()"
    groups: dict[tuple[Any, ...], Margin] = {} if names else {(): Margin()}
    instants: list[datetime | None] = []
    async with snapshot(pool) as connection:
        for cell in cells:
            statement = MARGINS.format(cell=cell, columns=columns, groups=grouping)
            for row in await connection.fetch(
                statement, query.first_day, query.last_day, query.customer, groups_max
            ):
                key = tuple(row[name] for name in names)
                groups[key] = groups.get(key, Margin()) + Margin(*(int(sum_) for sum_ in row[len(names) :]))
            instants.append(await connection.fetchval(AS_OF.format(cell=cell)))
    known = [instant for instant in instants if instant is not None]
    return MarginReport(groups, min(known) if len(known) == len(instants) else None)


async def posted_dollars(pool: Pool, key: CustomerKey, sequence: int) -> Dollars:
    """What an entry has posted, in nano-dollars."""
    row = await pool.fetchrow(POSTED_DOLLARS.format(cell=key.cell), key.customer, sequence)
    return Dollars(*row) if row is not None else Dollars()


async def find_charge(pool: Pool, key: CustomerKey, sequence: int) -> FoundCharge | None:
    """A charge and its refunds; None if that entry is no charge."""
    async with snapshot(pool) as connection:
        row = await connection.fetchrow(CHARGE.format(cell=key.cell), key.customer, sequence)
        if row is None:
            return None
        charge = _with_money(row)
        reservation = charge.reservation.sequence if charge.reservation else None
        given_back = await connection.fetch(
            GIVEN_BACK.format(cell=key.cell), key.customer, sequence, reservation, GIVEN_BACK_MAX
        )
    return FoundCharge(charge, tuple(_with_money(each) for each in given_back))


def _with_money(row: asyncpg.Record) -> Entry:
    return rows_in.entry_of(row, rows_in.money_of(row[ENTRY.width :]))
