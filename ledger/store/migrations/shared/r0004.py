"""Versions of the plans."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "shared_0004"
down_revision = "shared_0003"


def upgrade() -> None:
    run_script("0004_shared.sql")
