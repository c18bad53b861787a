"""What budgets count, and which entries count in them."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0007"
down_revision = "cell_0006"


def upgrade() -> None:
    run_script("0007_cell.sql")
