"""Customers' own fields of their plans."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0010"
down_revision = "cell_0009"


def upgrade() -> None:
    run_script("0010_cell.sql")
