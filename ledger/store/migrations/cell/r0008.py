"""Notices of grants that will expire."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0008"
down_revision = "cell_0007"


def upgrade() -> None:
    run_script("0008_cell.sql")
