"""How far the cell's journal has become events."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0003"
down_revision = "cell_0002"


def upgrade() -> None:
    run_script("0003_cell.sql")
