"""Every statement that stands in a file is one that PostgreSQL takes, on the schema as it is migrated."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from store_world import CELL

import ledger.store
from ledger.store.cells.columns import AUDIT, ENTRY, RENEWAL, WALLET

STORE = Path(ledger.store.__file__).parent
FILES = sorted(file for file in STORE.rglob("*.sql") if "migrations" not in file.parts)
GIVEN = {
    "audit_rows": AUDIT.rows(CELL, 3),
    "cell": CELL,
    "breaks": "SELECT 1::bigint AS customer, 'it breaks' AS description",
    "columns": "plan, ",
    "entry_rows": ENTRY.rows(CELL, 2),
    "groups": "plan",
    "invariant": "held_is_pins",
    "renewal_rows": RENEWAL.rows(CELL, 1),
    "role": "acu_reader",
    "table": "money",
    "wallet_rows": WALLET.rows(CELL, 1),
}
"""What statements are given when they are sent."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(STORE)))
async def test_postgresql_takes_every_statement(owner, file):
    """Names of tables and columns, types of parameters, grammar: all of it is looked at without a row."""
    module = importlib.import_module(
        ".".join(["ledger.store", *file.relative_to(STORE).with_suffix("").parts])
    )
    for name in re.findall(r"^-- name: (\w+)$", file.read_text(), re.MULTILINE):
        statement = module._SQL[name].format(**GIVEN)
        try:
            await owner.prepare(statement)
        except Exception as error:
            error.add_note(f"{file.name}: {name}")
            raise
