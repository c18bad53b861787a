"""A server that sells agents' work, and customers with credits for those who call it from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import grpc

from ledger.admin.v1.admin_service_pb2 import CreateCustomerRequest, Customer, IssueGrantRequest
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PROMO
from tests.serving import Server

CARD = """
card: work
credit: credit
credit_price_usd: "0.01"
rules:
  - name: models
    title: Model
    match: {tokens: "openai/*"}
    price: {per_million: {input: "100", cache_read: "10", output: "1000", reasoning: "1000"}}
  - name: models in the price of an issue
    title: Conversation
    match: {tokens: "anthropic/*"}
    price: {per_million: {input: "0", output: "0"}}
  - name: sandboxes
    title: Sandbox
    match: {compute: sandbox}
    price: {per_hour: "60"}
  - name: machines
    title: H100
    match: {compute: h100}
    price: {per_hour: "4"}
  - name: issues
    title: Issue resolved
    match: {outcome: issue.resolved}
    price: {outcome: {resolved: "2"}}
"""
PLANS = "plans:\n  standard: {card: work}\n"
COSTS = 'tokens: {catalog: genai-prices}\ncompute: {sandbox: {per_hour: "0.12"}, h100: {per_hour: "2.49"}}\n'

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Shop:
    """Where it is called, and its customers."""

    server: Server

    @property
    def target(self) -> str:
        return self.server.public

    def customer(self, amount: int, customer_id: str | None = None) -> str:
        """A new customer with so many credits; answers with its id."""
        customer_id = customer_id or f"customer-{next(_numbers)}"
        with self._back_office() as admin:
            customer = Customer(customer_id=customer_id, plan="standard")
            admin.CreateCustomer(CreateCustomerRequest(request_id="create", customer=customer))
            admin.IssueGrant(
                IssueGrantRequest(
                    request_id="grant",
                    customer_id=customer_id,
                    amount_micros=amount * 1_000_000,
                    kind=GRANT_KIND_PROMO,
                )
            )
        return customer_id

    @contextmanager
    def _back_office(self) -> Iterator[AdminServiceStub]:
        with grpc.insecure_channel(self.server.back_office) as channel:
            yield AdminServiceStub(channel)
