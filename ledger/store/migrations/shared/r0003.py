"""Endpoints of webhooks, and what is to be delivered to them."""

from __future__ import annotations

from ledger.store.migrations import run_script

revision = "shared_0003"
down_revision = "shared_0002"


def upgrade() -> None:
    run_script("0003_shared.sql")
