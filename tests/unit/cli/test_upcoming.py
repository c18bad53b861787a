"""`acu-ledger grants upcoming`: what is printed of what a plan grants next."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.grants import upcoming_table
from ledger.v1 import wallet_service_pb2 as wallet


def test_what_comes_next_is_printed() -> None:
    """Name, instant, kind, credits and dollars, one in a row."""
    grant = pb.UpcomingGrant(
        name="monthly",
        at=Timestamp(seconds=1_796_083_200),
        amount_micros=1_000_500_000,
        kind=wallet.GRANT_KIND_SUBSCRIPTION,
        paid_total_usd="99.5",
    )
    console = Console(width=120)
    with console.capture() as printed:
        console.print(upcoming_table(pb.GetCustomerResponse(upcoming_grants=[grant])))
    [row] = [line for line in printed.get().splitlines() if "monthly" in line]
    for shown in ("2026-12-01 00:00:00", "SUBSCRIPTION", "1,000.5", "99.5"):
        assert shown in row
