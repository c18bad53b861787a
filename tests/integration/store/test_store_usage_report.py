"""A usage report is what a simple count of the customer's own charges makes, in measured units too."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from store_world import CELL

from ledger import books
from ledger.books import Charge, PricedLine, Refund, Reverse
from ledger.store.cells.load import load_reversal
from ledger.store.cells.write import write
from ledger.store.directory import Directory
from ledger.store.reading.reads import Reads
from ledger.store.reading.usage_report import UsageQuery
from tests.build import line, priced

KINDS = ("tokens", "compute", "units")
UNITS = ("", "DBU", "ACU")


def random_line(dice: random.Random) -> PricedLine:
    """A line of any kind, measured or not, with decimals that no float holds."""
    kind, unit = dice.choice(KINDS), dice.choice(UNITS)
    quantity = f"{dice.randrange(10**9)}.{dice.randrange(10**9):09d}"
    public: dict[str, object] = {
        "title": kind,
        "kind": kind,
        "name": "x",
        "quantities": {"quantity": quantity},
    }
    if unit:
        public["measured"] = {"unit": unit, "quantity": f"0.{dice.randrange(10**9):09d}"}
    return line(dice.randrange(1, 1000), 7, kind=kind, public=public)


def count(counts: Counter, entry: books.Entry, sign: int) -> None:
    """Add an entry's lines to the counts by (project, kind, unit) and figure."""
    for each in entry.lines:
        measured = each.public.get("measured", {"unit": "", "quantity": "0"})
        key = (entry.labels["project"], each.public["kind"], measured["unit"])
        counts[*key, "credits"] += each.credits_micros
        counts[*key, "items"] += sign
        counts[*key, "measured"] += sign * Decimal(measured["quantity"])
        counts[*key, "quantity"] += sign * Decimal(each.public["quantities"]["quantity"])


@pytest.mark.parametrize("seed", range(2))
async def test_reports_count_what_was_charged(world, connection, database, seed):
    """Charges, refunds in part and in full, and reversals: every figure of every row, exactly."""
    dice = random.Random(seed)  # noqa: S311 -- the same charges again for the same seed
    customer = next(iter(world.wallets))
    counts: Counter = Counter()
    for _ in range(12):
        usage = priced(*(random_line(dice) for _ in range(dice.randrange(1, 5))))
        labels = {"project": dice.choice("ab"), "internal.route": "r"}
        charge = Charge(world.request_id(), b"f", None, labels=labels)
        entry = world.do(customer, charge, usage).entry
        count(counts, entry, 1)
        await write(connection, CELL, world.take())
        for command in (
            Refund(world.request_id(), b"f", entry.sequence, dice.choice([None, 1]), "goodwill"),
            Reverse(world.request_id(), b"f", entry.sequence, None, "undone"),
        ):
            if dice.random() < 0.3:
                found = await load_reversal(
                    connection, CELL, customer, charge=entry.sequence, reservation=None
                )
                back = world.do(customer, command, facts=found).entry
                count(counts, back, 0 if isinstance(command, Refund) else -1)
                await write(connection, CELL, world.take())
    day = world.now.date()
    query = UsageQuery(day - timedelta(days=1), day + timedelta(days=1), ("project",), {})
    reads = Reads(database.reader, database.reports, Directory(database.reader))
    name = await connection.fetchval("SELECT customer_id FROM ledger.customers WHERE customer = $1", customer)
    rows = (await reads.usage(name, query, None, 100)).rows
    reported: Counter = Counter()
    for row in rows:
        key = (*row.key.labels, row.key.kind, row.key.unit)
        reported[*key, "credits"] += row.credits_micros
        reported[*key, "items"] += row.items
        reported[*key, "measured"] += row.measured
        reported[*key, "quantity"] += row.quantities.get("quantity", Decimal(0))
    assert {key: figure for key, figure in reported.items() if figure} == {
        key: figure for key, figure in counts.items() if figure
    }
    of_a = (await reads.usage(name, replace(query, labels={"project": "a"}), None, 100)).rows
    assert of_a == [row for row in rows if row.key.labels == ("a",)]
