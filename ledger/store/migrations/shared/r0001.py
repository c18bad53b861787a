"""Who is a customer, and the versions of prices."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "shared_0001"
down_revision = None


def upgrade() -> None:
    run_script("0001_shared.sql")
