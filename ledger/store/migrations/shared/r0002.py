"""Events, of customers and of the house."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "shared_0002"
down_revision = "shared_0001"


def upgrade() -> None:
    run_script("0002_shared.sql")
