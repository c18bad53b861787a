"""Used credits that are not to be paid any more."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "cell_0012"
down_revision = "cell_0011"


def upgrade() -> None:
    run_script("0012_cell.sql")
