"""Grants that recur."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0009"
down_revision = "cell_0008"


def upgrade() -> None:
    run_script("0009_cell.sql")
