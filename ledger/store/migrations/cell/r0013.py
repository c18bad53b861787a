"""Counters of budgets that are to be swept, how many a window has, and why a customer takes no writes."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0013"
down_revision = "cell_0012"


def upgrade() -> None:
    run_script("0013_cell.sql")
