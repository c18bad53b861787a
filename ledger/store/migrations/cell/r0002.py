"""Leaner rows for the batched write."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0002"
down_revision = "cell_0001"


def upgrade() -> None:
    run_script("0002_cell.sql")
