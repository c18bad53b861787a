"""What the client says of a wallet: every word that the service has for it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import pytest

from ledger.client import GrantKind, GrantStatus, ReservationState, StatementLineType, TransactionType
from ledger.client.answers.grants import grant_of
from ledger.client.answers.statements import transaction_of
from ledger.v1 import credit_service_pb2, wallet_service_pb2


@pytest.mark.parametrize(
    ("own", "names", "prefix"),
    [
        (GrantKind, wallet_service_pb2.GrantKind.keys(), "GRANT_KIND_"),
        (GrantStatus, wallet_service_pb2.GrantStatus.keys(), "GRANT_STATUS_"),
        (TransactionType, wallet_service_pb2.TransactionType.keys(), "TRANSACTION_TYPE_"),
        (StatementLineType, wallet_service_pb2.StatementLineType.keys(), "STATEMENT_LINE_TYPE_"),
        (ReservationState, credit_service_pb2.ReservationState.keys(), "RESERVATION_STATE_"),
    ],
)
def test_no_word_of_the_service_is_missing(own: type[StrEnum], names: Iterable[str], prefix: str) -> None:
    """One that is added to the protos is added here, and in the same word."""
    words = {name.removeprefix(prefix) for name in names} - {"UNSPECIFIED"} | {"UNKNOWN"}
    assert set(own.__members__) == words
    assert {each.value.upper() for each in own} == words


def test_a_word_of_a_newer_server_is_unknown() -> None:
    """A list is read all the same."""
    grant = wallet_service_pb2.Grant()
    grant.MergeFromString(wallet_service_pb2.Grant(grant_id="g").SerializeToString() + b"\x10\x63\x50\x63")
    assert (grant_of(grant).kind, grant_of(grant).status) == (GrantKind.UNKNOWN, GrantStatus.UNKNOWN)
    line = wallet_service_pb2.Transaction.FromString(b"\x08\x63")
    assert transaction_of(line).type is TransactionType.UNKNOWN
