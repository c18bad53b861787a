"""What was taken back of grants for money."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0006"
down_revision = "cell_0005"


def upgrade() -> None:
    run_script("0006_cell.sql")
