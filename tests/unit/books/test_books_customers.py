"""What an update of a customer changes, and what it leaves as it was."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.books import EntryKind, Facts, Plan, UpdateCustomer, Wallet, create, decide
from tests.build import START, decided

WALLET: Wallet = create(7, "Ada", "standard", "own", "Europe/Berlin", "create", b"c", START).wallet
KEPT = {"display_name": "Ada", "plan": "standard", "card": "own", "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ({}, {}),
        ({"display_name": "Grace"}, {"display_name": "Grace"}),
        ({"plan": "gold"}, {"plan": "gold"}),
        ({"card": "other"}, {"card": "other"}),
        ({"card": ""}, {"card": None}),
        ({"zone": "Asia/Tokyo"}, {"zone": "Asia/Tokyo"}),
    ],
)
def test_an_update_changes_what_it_names_and_nothing_else(
    named: dict[str, Any], changed: dict[str, Any]
) -> None:
    """Each field by itself; an empty card removes the customer's own, and the zone goes to the wallet too."""
    outcome = decide(
        WALLET,
        UpdateCustomer("update", b"u", **named),
        now=START,
        plan=Plan("the plan now", None),
        priced=None,
        terms=None,
        facts=Facts(),
    )
    decision = decided(outcome)
    fields = decision.wallet._asdict()
    assert {name: fields[name] for name in KEPT} == KEPT | changed
    entry = decision.entry
    assert (entry.kind, entry.request_id, entry.fingerprint) == (EntryKind.CUSTOMER_UPDATED, "update", b"u")
    assert (entry.plan, entry.sequence, entry.money) == ("the plan now", 2, None)
