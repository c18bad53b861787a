"""Wallets, the journal, reservations, lots, rollups."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0001"
down_revision = None


def upgrade() -> None:
    run_script("0001_cell.sql")
