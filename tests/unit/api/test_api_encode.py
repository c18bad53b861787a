"""Lines of a statement that no request of a test can bring about at will."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ledger import books
from ledger.api.messages import encode, ids
from ledger.books import LotKey, State
from ledger.books.period_close import close
from ledger.v1 import wallet_service_pb2 as wallet
from tests.build import terms

NOW = datetime(2026, 11, 2, tzinfo=UTC)
PLAN = books.Plan("standard", None)
TERMS = terms()


def closed(surplus_micros: int) -> books.Entry:
    """The entry by which a period of 10 credits closes, 5 s after it was due."""
    made = books.create(1, "Ada", PLAN.name, None, "UTC", "create", b"", NOW - timedelta(days=1)).wallet
    used = made._replace(balances=books.Credits(issued=-10_000_000, consumed=10_000_000))
    closes_at = NOW - timedelta(seconds=5)
    state = State("{}", closes_at, surplus_micros, 10_000_000, 0, 10**10, TERMS)
    return close(used, "count/card/hours/1", state, 10**10, now=NOW, plan=PLAN).entry


def test_a_closed_period_names_the_grant_that_it_made():
    """The statement tells when the surplus came back, how much, and as which grant."""
    entry = closed(3_000_000)
    line = encode.transaction("acme", entry)
    assert line.type == wallet.TRANSACTION_TYPE_PERIOD_CLOSED
    assert (line.available_change_micros, line.consumed_micros) == (3_000_000, -3_000_000)
    assert line.grant_id == ids.grant_id("acme", LotKey(entry.sequence, 0))
    assert line.effective_at.ToDatetime(UTC) == NOW - timedelta(seconds=5)
    assert (line.charge_id, line.reservation_id) == ("", "")


@pytest.mark.parametrize("kind", [kind for kind in books.EntryKind if kind not in encode.OF_NO_CREDITS])
def test_every_kind_of_entry_has_its_type(kind):
    """Whatever moves credits can stand in a statement."""
    assert wallet.TransactionType.Name(encode._TYPES[kind]) == f"TRANSACTION_TYPE_{kind}"
