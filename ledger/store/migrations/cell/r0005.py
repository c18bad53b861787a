"""Top-ups."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0005"
down_revision = "cell_0004"


def upgrade() -> None:
    run_script("0005_cell.sql")
