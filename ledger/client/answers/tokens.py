"""Tokens for a customer's front end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ledger.client.answers.fields import instant_of
from ledger.v1 import credit_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class CustomerToken:
    """Lets a front end read one customer's wallet, sent as a key is."""

    token: str = field(repr=False)
    expires_at: datetime


def customer_token_of(message: pb.CreateCustomerTokenResponse) -> CustomerToken:
    return CustomerToken(message.token, instant_of(message.expires_at))
