"""What is known of grants beside their lots."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0004"
down_revision = "cell_0003"


def upgrade() -> None:
    run_script("0004_cell.sql")
