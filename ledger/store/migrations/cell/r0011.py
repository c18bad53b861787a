"""Customers' own fields of their plans, without dollars."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0011"
down_revision = "cell_0010"


def upgrade() -> None:
    run_script("0011_cell.sql")
